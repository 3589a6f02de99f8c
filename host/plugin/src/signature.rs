//! Keys that sign components, and signatures beside them: what they look like and whether they hold.
//!
//! A signature is Ed25519ph (RFC 8032, section 5.1) over the bytes of the file, with a context of our own: a
//! signature that the same key made for something else is none of a plugin. Keys and signatures are
//! files of three short lines; a signature of `x.wasm` is in `x.wasm.sig`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Digest as _, Sha512, Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::hex;

/// What a signature is for (RFC 8032, section 8.3).
const CONTEXT: &[u8] = b"sluice plugin v1";
const SECRET: &str = "sluice secret key v1";
const PUBLIC: &str = "sluice public key v1";
const SIGNATURE: &str = "sluice signature v1";
/// Bytes that a file of a key or a signature may have.
const MAX_FILE_BYTES: u64 = 1024;
/// What a signature is called in an error.
const SIGNATURE_WHAT: &str = "signature of a plugin";
/// Bytes of the name of a key: it is a label value.
const MAX_NAME_BYTES: usize = 64;

/// Why a key or a signature is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not; its text is part of this error's.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no {what}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Whoever reads the key can sign with it.
    #[error("{} can be read by others (mode {mode:o}): chmod 600, and make a new key if they may have", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A name that is no label value.
    #[error("`{0}` is no name for a key: use 1 to 64 letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// There is no signature.
    #[error("{} is not signed: there is no {}.sig", file.display(), file.display())]
    NotSigned {
        /// The file that should be signed.
        file: PathBuf,
    },
    /// None of the keys made the signature.
    #[error("{} is signed by key {key}, which is none of those that are trusted", file.display())]
    OtherKey {
        /// The file that is signed.
        file: PathBuf,
        /// Id of the key, as the signature says.
        key: KeyId,
    },
    /// The signature is of other bytes.
    #[error("{} is not what {signer} signed: one of it and its .sig was changed", file.display())]
    Changed {
        /// The file that is signed.
        file: PathBuf,
        /// Who should have signed it.
        signer: Signer,
    },
}

/// Eight bytes that tell keys apart. They only help to find the key: what counts is that it verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &VerifyingKey) -> KeyId {
        let digest = Sha256::new().chain_update(b"sluice key id v1\0").chain_update(key.as_bytes()).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        KeyId(id)
    }

    fn parse(text: &str) -> Option<KeyId> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(KeyId(id.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Whose signature holds: the name of a key, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Name of the key, as its public file has it.
    pub name: String,
    /// Id of the key.
    pub key: KeyId,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.key)
    }
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads `NAME.pub`.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<PublicKey, SignatureError> {
        let file = |error| SignatureError::File { path: path.to_owned(), error };
        let text = open(path).and_then(read_small).map_err(file)?;
        let malformed = |problem| SignatureError::Malformed {
            path: path.to_owned(),
            what: "public key of `plugin keygen`",
            problem,
        };
        let (name, bytes) = lines::<32>(&text, PUBLIC, "name").map_err(malformed)?;
        let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
        let key = key.ok_or_else(|| malformed("nothing can be checked with it"))?;
        Ok(PublicKey { name: checked_name(name)?, key })
    }

    /// Its name and id.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer { name: self.name.clone(), key: KeyId::of(&self.key) }
    }
}

/// A key that signs. Nothing prints it.
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.name)
    }
}

impl SecretKey {
    /// Makes a key from the system's randomness, called `name`.
    ///
    /// # Errors
    /// If the name is no label value, or the system has no randomness.
    pub fn generate(name: &str) -> Result<SecretKey, SignatureError> {
        let name = checked_name(name)?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|error| SignatureError::File {
            path: "randomness".into(),
            error: std::io::Error::other(error.to_string()),
        })?;
        Ok(SecretKey { name, key: SigningKey::from_bytes(&seed) })
    }

    /// Reads `NAME.key`.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or it is something else.
    pub fn read(path: &Path) -> Result<SecretKey, SignatureError> {
        let failed = |error| SignatureError::File { path: path.to_owned(), error };
        let file = open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SignatureError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(read_small(file).map_err(failed)?);
        let malformed = |problem| SignatureError::Malformed {
            path: path.to_owned(),
            what: "secret key of `plugin keygen`",
            problem,
        };
        let (name, seed) = lines::<32>(&text, SECRET, "name").map_err(malformed)?;
        let seed = Zeroizing::new(seed);
        Ok(SecretKey { name: checked_name(name)?, key: SigningKey::from_bytes(&seed) })
    }

    /// Writes the key, for its owner only, and the public one. Neither file may be there.
    ///
    /// # Errors
    /// If one is there or cannot be written; then nothing is left behind.
    pub fn write(&self, secret: &Path, public: &Path) -> Result<(), SignatureError> {
        let text = |what: &str, key: &[u8; 32]| format!("{what}\nname {}\ned25519 {}\n", self.name, encode(key));
        create(secret, 0o600, &Zeroizing::new(text(SECRET, self.key.as_bytes())))?;
        let written = create(public, 0o644, &text(PUBLIC, self.key.verifying_key().as_bytes()));
        if written.is_err() {
            // A secret key without its public one is of no use, and stands in the way of the next attempt.
            std::fs::remove_file(secret).unwrap_or_default();
        }
        written
    }

    /// Its name and id.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer { name: self.name.clone(), key: KeyId::of(&self.key.verifying_key()) }
    }

    /// What belongs into the `.sig` of a file that holds `bytes`.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        let prehashed = Sha512::new().chain_update(bytes);
        let signature = self.key.sign_prehashed(prehashed, Some(CONTEXT)).expect("the context is shorter than 256");
        format!(
            "{SIGNATURE}\nkey {}\ned25519 {}\n",
            KeyId::of(&self.key.verifying_key()),
            encode(&signature.to_bytes())
        )
    }
}

/// Where the signature of `file` stands.
#[must_use]
pub fn signature_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The text of the signature of `file`; none if there is no such file.
///
/// # Errors
/// If it is there and cannot be read.
pub fn signature_of(file: &Path) -> Result<Option<String>, SignatureError> {
    let path = signature_path(file);
    match open(&path).and_then(read_small) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SignatureError::File { path, error }),
    }
}

/// Whose signature `text` is, if it is one of `bytes` and of one of the keys. `file` is what the bytes were read from.
///
/// # Errors
/// If it is no signature, of another key, or of other bytes.
pub fn verify(file: &Path, bytes: &[u8], text: &str, keys: &[PublicKey]) -> Result<Signer, SignatureError> {
    let (id, signature) = parsed(&signature_path(file), text)?;
    let Some(key) = keys.iter().find(|key| KeyId::of(&key.key) == id) else {
        return Err(SignatureError::OtherKey { file: file.to_owned(), key: id });
    };
    let prehashed = Sha512::new().chain_update(bytes);
    let holds = key.key.verify_prehashed_strict(prehashed, Some(CONTEXT), &Signature::from_bytes(&signature));
    match holds {
        Ok(()) => Ok(key.signer()),
        Err(_) => Err(SignatureError::Changed { file: file.to_owned(), signer: key.signer() }),
    }
}

/// Whether `text` looks like what belongs into `path`, a file of a signature, whoever it is of.
///
/// # Errors
/// What it lacks.
pub fn check_signature(path: &Path, text: &str) -> Result<(), SignatureError> {
    if text.len() as u64 > MAX_FILE_BYTES {
        let problem = "it is longer than 1024 bytes";
        return Err(SignatureError::Malformed { path: path.to_owned(), what: SIGNATURE_WHAT, problem });
    }
    parsed(path, text).map(drop)
}

/// Key and signature in a text that belongs into `path`.
fn parsed(path: &Path, text: &str) -> Result<(KeyId, [u8; 64]), SignatureError> {
    let malformed = |problem| SignatureError::Malformed { path: path.to_owned(), what: SIGNATURE_WHAT, problem };
    let (id, signature) = lines::<64>(text, SIGNATURE, "key").map_err(malformed)?;
    let id = KeyId::parse(id).ok_or_else(|| malformed("its key id is not 16 hexadecimal digits"))?;
    Ok((id, signature))
}

fn checked_name(name: &str) -> Result<String, SignatureError> {
    let is_good = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_good { Ok(name.to_owned()) } else { Err(SignatureError::Name(name.to_owned())) }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Opens a file, and nothing that would make its reader wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file")) }
}

/// Reads a file that is short, or too long to be what it should be.
fn read_small(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file that was not there.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), SignatureError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| SignatureError::File { path: path.to_owned(), error })
}

/// Second word of the second line, which begins with `key`, and bytes of the third, of a text that begins with `first`.
fn lines<'t, const N: usize>(text: &'t str, first: &str, key: &str) -> Result<(&'t str, [u8; N]), &'static str> {
    let mut lines = text.lines();
    if lines.next() != Some(first) {
        return Err("it does not begin like one");
    }
    let mut value = |key: &str| lines.next().and_then(|line| line.split_once(' ')).filter(|(found, _)| *found == key);
    let (_, word) = value(key).ok_or("its second line is not as it should be")?;
    let (_, encoded) = value("ed25519").ok_or("its third line is not as it should be")?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| "its third line is not base64")?);
    if lines.next().is_some() {
        return Err("it has more than three lines");
    }
    let bytes: [u8; N] = bytes.as_slice().try_into().map_err(|_| "its third line is too short or too long")?;
    Ok((word, bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    /// A folder with `NAME.key` and `NAME.pub`, and the keys.
    fn keys(dir: &Path, name: &str) -> (SecretKey, PublicKey) {
        let secret = SecretKey::generate(name).unwrap();
        let (key, public) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.pub")));
        secret.write(&key, &public).unwrap();
        (SecretKey::read(&key).unwrap(), PublicKey::read(&public).unwrap())
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = keys(dir.path(), "operator");
        let (_, other) = keys(dir.path(), "other");
        let file = Path::new("x.wasm");
        let signature = secret.sign(b"code");
        assert_eq!(verify(file, b"code", &signature, &[other.clone(), public.clone()]).unwrap(), secret.signer());
        let error = verify(file, b"cod", &signature, std::slice::from_ref(&public)).unwrap_err().to_string();
        let signer = secret.signer();
        assert_eq!(error, format!("x.wasm is not what {signer} signed: one of it and its .sig was changed"));
        let error = verify(file, b"code", &signature, &[other]).unwrap_err().to_string();
        assert_eq!(error, format!("x.wasm is signed by key {}, which is none of those that are trusted", signer.key));

        // Whoever signs other things with the same key signs no plugin.
        let elsewhere = secret.key.sign_prehashed(Sha512::new().chain_update(b"code"), Some(b"other")).unwrap();
        let forged = format!("{SIGNATURE}\nkey {}\ned25519 {}\n", signer.key, encode(&elsewhere.to_bytes()));
        assert!(matches!(verify(file, b"code", &forged, &[public]), Err(SignatureError::Changed { .. })));
    }

    proptest! {
        /// A folder of plugins is anybody's who may put one there.
        #[test]
        fn any_text_beside_a_file_is_no_signature_of_it(text in "(sluice signature v1\n)?(key [0-9a-f]{16}\n)?(ed25519 )?\\PC{0,120}\n?") {
            let secret = SecretKey { name: "x".to_owned(), key: SigningKey::from_bytes(&[7; 32]) };
            let public = PublicKey { name: "x".to_owned(), key: secret.key.verifying_key() };
            prop_assert!(verify(Path::new("x.wasm"), b"code", &text, std::slice::from_ref(&public)).is_err());
            let bytes = [7; 64];
            let forged = format!("{SIGNATURE}\nkey {}\ned25519 {}\n", secret.signer().key, encode(&bytes));
            prop_assert!(verify(Path::new("x.wasm"), b"code", &forged, &[public]).is_err());
        }
    }

    #[test]
    fn keys_are_never_overwritten_and_not_taken_if_others_may_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, _) = keys(dir.path(), "operator");
        let (key, public) = (dir.path().join("operator.key"), dir.path().join("operator.pub"));
        assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        let before = std::fs::read(&key).unwrap();
        assert!(matches!(secret.write(&key, &public), Err(SignatureError::File { .. })));
        assert_eq!(std::fs::read(&key).unwrap(), before);
        // Only the public one is there: no secret one is left behind.
        let moved = dir.path().join("moved.key");
        assert!(matches!(secret.write(&moved, &public), Err(SignatureError::File { .. })));
        assert!(!moved.exists());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = SecretKey::read(&key).unwrap_err().to_string();
        assert!(error.ends_with("can be read by others (mode 640): chmod 600, and make a new key if they may have"));
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let (secret, public) = keys(dir.path(), "operator");
        for (text, problem) in [
            ("", "it does not begin like one"),
            ("sluice public key v2\n", "it does not begin like one"),
            ("sluice public key v1\nowner x\n", "its second line is not as it should be"),
            ("sluice public key v1\nname x\nrsa x\n", "its third line is not as it should be"),
            ("sluice public key v1\nname x\ned25519 !\n", "its third line is not base64"),
            ("sluice public key v1\nname x\ned25519 AAAA\n", "its third line is too short or too long"),
            ("sluice public key v1\nname x\ned25519 AAAA\nx\n", "it has more than three lines"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = PublicKey::read(&path).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{text}: {error}");
        }
        // The neutral element: everything verifies under it.
        let neutral = format!("{PUBLIC}\nname x\ned25519 AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        std::fs::write(&path, neutral).unwrap();
        assert!(PublicKey::read(&path).unwrap_err().to_string().ends_with("nothing can be checked with it"));
        let folder = dir.path().join("folder.sig");
        std::fs::create_dir(&folder).unwrap();
        assert!(PublicKey::read(&folder).unwrap_err().to_string().ends_with("folder.sig: not a file"));
        assert!(matches!(SecretKey::generate("a b"), Err(SignatureError::Name(_))));
        let signature = secret.sign(b"code").replace("key ", "key x");
        let error = verify(Path::new("x.wasm"), b"code", &signature, &[public]).unwrap_err().to_string();
        assert_eq!(error, "x.wasm.sig is no signature of a plugin: its key id is not 16 hexadecimal digits");
        assert_eq!(format!("{secret:?}"), "SecretKey(operator)");
    }
}
