//! Certificates for a broker's TLS listener, made anew for each: a CA, the server and one client.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::KafkaError;

/// Files that a client of the TLS listener needs, as PEM. They go with the broker.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Certificate of the CA that signed the broker's and the client's.
    pub ca: PathBuf,
    /// Certificate of a client that the broker lets in.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8, not encrypted).
    pub key: PathBuf,
}

/// Writes `ca.pem`, `server.pem` (key and certificate), `client.pem` and `client.key` to `folder`.
pub(super) fn write(folder: &Path) -> Result<Certificates, KafkaError> {
    let made = make().map_err(|source| KafkaError::Certificates { source })?;
    let file = |name: &str, text: &str| -> Result<PathBuf, KafkaError> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| KafkaError::Io { what: "write a certificate", source })?;
        Ok(path)
    };
    file("server.pem", &made.server)?;
    Ok(Certificates {
        ca: file("ca.pem", &made.ca)?,
        certificate: file("client.pem", &made.client)?,
        key: file("client.key", &made.client_key)?,
    })
}

struct Made {
    ca: String,
    server: String,
    client: String,
    client_key: String,
}

fn make() -> Result<Made, rcgen::Error> {
    let mut params = named("sluice test CA", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let server_key = KeyPair::generate()?;
    let mut params = named("broker", &["127.0.0.1", "localhost"])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = params.signed_by(&server_key, &ca)?;

    let client_key = KeyPair::generate()?;
    let mut params = named("client", &[])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = params.signed_by(&client_key, &ca)?;

    Ok(Made {
        ca: ca.pem(),
        server: server_key.serialize_pem() + &server.pem(),
        client: client.pem(),
        client_key: client_key.serialize_pem(),
    })
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
