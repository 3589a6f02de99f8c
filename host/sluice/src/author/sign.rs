//! `sluice plugin keygen`, `sign` and `verify`: who vouches for a component.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sluice_plugin::{
    ComponentSource, PublicKey, SecretKey, SignatureError, read_component, signature_of, signature_path,
};

use crate::author::{print, write_whole};
use crate::failure::Failure;

/// Makes a key pair.
pub(super) fn keygen(path: &Path) -> Result<(), Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let key = SecretKey::generate(name).map_err(|error| Failure::usage(error.to_string()))?;
    let with = |extension: &str| {
        let mut path = OsString::from(path);
        path.push(extension);
        PathBuf::from(path)
    };
    key.write(&with(".key"), &with(".pub")).map_err(failed)?;
    print(&format!("{}\n", key.signer()))
}

/// Signs a file.
pub(super) fn sign(file: &Path, key: &Path) -> Result<(), Failure> {
    let key = SecretKey::read(key).map_err(failed)?;
    write_whole(&signature_path(file), key.sign(&bytes(file)?).as_bytes())?;
    print(&format!("{}: signed by {}\n", file.display(), key.signer()))
}

/// Says whose signature a file has.
pub(super) fn verify(file: &Path, keys: &[PathBuf]) -> Result<(), Failure> {
    let keys = keys.iter().map(|key| PublicKey::read(key)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let bytes = bytes(file)?;
    let signature = signature_of(file).map_err(failed)?;
    let signature = signature.ok_or_else(|| failed(SignatureError::NotSigned { file: file.to_owned() }))?;
    let signer = sluice_plugin::verify(file, &bytes, &signature, &keys).map_err(failed)?;
    print(&format!("{}: signed by {signer}\n", file.display()))
}

fn failed(error: SignatureError) -> Failure {
    Failure::failed(error.to_string())
}

/// The bytes of a component, as the host reads them.
fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let source = ComponentSource::File { path: file.to_owned(), sha256: None };
    read_component(&source).map_err(|error| Failure::failed(error.to_string()))
}
