//! The file of tokens: who may use the API, as what, and how each proves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use toml::Spanned;
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::config::{ConfigError, Document, LoadError, Table, named};

/// Bytes that the file may have.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Tokens that it may list: a request is compared with each.
const MAX_TOKENS: usize = 1024;
/// Bytes that a name may have.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of an HMAC key: fewer than a digest has make it weaker (RFC 2104, section 3).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=1024;

/// What somebody may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Everything.
    Operator,
    /// What concerns one tenant.
    Tenant,
}

/// Somebody who may use the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) tenant: Option<String>,
}

/// How somebody proves who it is.
enum Proof {
    /// Knows the token with this digest.
    Digest([u8; 32]),
    /// Signs with this key.
    Key(Zeroizing<Vec<u8>>),
}

struct Token {
    who: Arc<Who>,
    proof: Proof,
}

/// The tokens of a file, which can be read again.
pub(crate) struct Tokens {
    file: PathBuf,
    current: ArcSwap<Vec<Token>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({}, {})", self.file.display(), self.current.load().len())
    }
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, others may read the keys in it, or there is a mistake in it.
    pub(crate) fn load(file: &Path) -> Result<Tokens, LoadError> {
        Ok(Tokens { file: file.to_owned(), current: ArcSwap::from_pointee(read(file)?) })
    }

    /// Reads the file again, and says in the log what came of it.
    pub(crate) fn reload_and_say(&self) {
        match self.reload() {
            Ok(tokens) => info!(tokens, "tokens read again"),
            Err(cause) => {
                error!(error = &cause as &dyn std::error::Error, "tokens not read again, the old ones stay in force");
            }
        }
    }

    /// Reads the file again; with an error, the tokens stay as they are.
    fn reload(&self) -> Result<usize, LoadError> {
        let tokens = read(&self.file)?;
        let count = tokens.len();
        self.current.store(Arc::new(tokens));
        Ok(count)
    }

    /// Whose token it is. Takes the same time whoever it is.
    pub(crate) fn of_bearer(&self, token: &[u8]) -> Option<Arc<Who>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for token in &**self.current.load() {
            if let Proof::Digest(of_token) = &token.proof
                && bool::from(of_token.ct_eq(&digest))
            {
                found = Some(Arc::clone(&token.who));
            }
        }
        found
    }

    /// Who signs as `name`, and with which key.
    pub(crate) fn of_key(&self, name: &str) -> Option<(Arc<Who>, Zeroizing<Vec<u8>>)> {
        self.current.load().iter().find_map(|token| match &token.proof {
            Proof::Key(key) if token.who.name == name => Some((Arc::clone(&token.who), key.clone())),
            _ => None,
        })
    }
}

fn read(file: &Path) -> Result<Vec<Token>, LoadError> {
    let unreadable = |cause| LoadError::Read { file: file.to_owned(), cause };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if metadata.len() > MAX_FILE_BYTES {
        let problem = format!("{} bytes, a file of tokens may have {MAX_FILE_BYTES}", metadata.len());
        return Err(unreadable(std::io::Error::other(problem)));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    Ok(parse(&Document::new(file, text), is_open_to_others(&metadata))?)
}

/// Checks what a file of tokens would hold.
///
/// # Errors
/// As [`Tokens::load`].
pub(crate) fn check(file: &Path, text: String, is_open_to_others: bool) -> Result<(), ConfigError> {
    parse(&Document::new(file, text), is_open_to_others).map(drop)
}

fn parse(doc: &Document, is_open_to_others: bool) -> Result<Vec<Token>, ConfigError> {
    let mut top = doc.parse()?;
    let tokens = named(doc, &mut top, "tokens", token)?;
    top.finish(doc, &["tokens"])?;
    if tokens.len() > MAX_TOKENS {
        let problem = format!("{} tokens, there may be {MAX_TOKENS}", tokens.len());
        return Err(doc.error(0..0, "tokens", problem));
    }
    let mut known: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let path = format!("tokens.{}", token.name);
        if token.name.len() > MAX_NAME_BYTES {
            return Err(doc.error(token.span, &path, format!("the name has more than {MAX_NAME_BYTES} bytes")));
        }
        let (role, tenant, proof) = token.value;
        let same = |other: &Token| match (&other.proof, &proof) {
            (Proof::Digest(a), Proof::Digest(b)) => a == b,
            (Proof::Key(a), Proof::Key(b)) => a == b,
            _ => false,
        };
        if let Some(other) = known.iter().find(|other| same(other)) {
            let problem = format!("is the same as that of `{}`; give each its own", other.who.name);
            return Err(doc.error(token.span, &path, problem));
        }
        known.push(Token { who: Arc::new(Who { name: token.name, role, tenant }), proof });
    }
    let holds_keys = known.iter().any(|token| matches!(token.proof, Proof::Key(_)));
    if holds_keys && is_open_to_others {
        let problem = format!("others may read the keys in it; run `chmod 600 {}`", doc.file.display());
        return Err(doc.error(0..0, "", problem));
    }
    Ok(known)
}

pub(crate) fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

fn token(doc: &Document, table: &mut Table<'_>) -> Result<(Role, Option<String>, Proof), ConfigError> {
    table.only(doc, &["role", "tenant", "sha256", "hmac_key", "hmac_key_file"])?;
    let role: Role = table.need(doc, "role", "\"operator\"")?;
    let tenant: Option<Spanned<String>> = table.take(doc, "tenant")?;
    let tenant = match (role, tenant) {
        (Role::Operator, None) => None,
        (Role::Operator, Some(tenant)) => {
            let problem = "an operator is of no tenant; leave `tenant` out, or use `role = \"tenant\"`";
            return Err(doc.error(tenant.span(), &table.path, problem));
        }
        (Role::Tenant, None) => {
            return Err(doc.error(table.span("role"), &table.path, "no `tenant`; add `tenant = \"NAME\"`"));
        }
        (Role::Tenant, Some(tenant)) if tenant.get_ref().is_empty() => {
            return Err(doc.error(tenant.span(), &table.path, "`tenant` is empty; write its name"));
        }
        (Role::Tenant, Some(tenant)) => Some(tenant.into_inner()),
    };
    let sha256: Option<Spanned<String>> = table.take(doc, "sha256")?;
    let hmac_key: Option<Spanned<String>> = table.take(doc, "hmac_key")?;
    let hmac_key_file: Option<Spanned<PathBuf>> = table.take(doc, "hmac_key_file")?;
    let proof = match (sha256, hmac_key, hmac_key_file) {
        (Some(sha256), None, None) => {
            let digest = unhex(sha256.get_ref()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let problem = "`sha256` must be 64 hexadecimal digits, the SHA-256 of the token";
            Proof::Digest(digest.ok_or_else(|| doc.error(sha256.span(), &table.path, problem))?)
        }
        (None, Some(key), None) => {
            Proof::Key(key_of(key.get_ref()).map_err(|problem| doc.error(key.span(), &table.path, problem))?)
        }
        (None, None, Some(path)) => {
            let base = doc.file.parent().unwrap_or(Path::new(""));
            let key = key_file(&base.join(path.get_ref()));
            Proof::Key(key.map_err(|problem| doc.error(path.span(), &table.path, problem))?)
        }
        (None, None, None) => {
            let problem = "no `sha256`, `hmac_key` or `hmac_key_file`; make one with `sluice token`";
            return Err(doc.error(table.span(""), &table.path, problem));
        }
        _ => {
            let problem = "more than one of `sha256`, `hmac_key` and `hmac_key_file`; keep one";
            return Err(doc.error(table.span(""), &table.path, problem));
        }
    };
    Ok((role, tenant, proof))
}

/// A key as it is written: base64.
pub(crate) fn key_of(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let key = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| "the key is not base64".to_owned())?);
    if !KEY_BYTES.contains(&key.len()) {
        let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
        return Err(format!(
            "a key has {least} to {most} bytes (e.g. `openssl rand -base64 32`), this one has {}",
            key.len()
        ));
    }
    Ok(key)
}

fn key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let metadata = fs::metadata(path).map_err(cannot)?;
    if is_open_to_others(&metadata) {
        return Err(format!("others may read {0}; run `chmod 600 {0}`", path.display()));
    }
    if metadata.len() > 2 * *KEY_BYTES.end() as u64 {
        return Err(format!("{} has {} bytes, which is no key", path.display(), metadata.len()));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(cannot)?);
    key_of(&text).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| (digit as char).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

/// `bytes` as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use expect_test::{Expect, expect};

    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn write(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(folder.path().join("short.key"), "AAAA").unwrap();
        fs::set_permissions(folder.path().join("short.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("open.key"), KEY).unwrap();
        fs::set_permissions(folder.path().join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
        (folder, file)
    }

    /// Reads a file that nobody else may read, and writes the mistake.
    fn check(text: &str, expected: Expect) {
        let (folder, file) = write(text, 0o600);
        let error = Tokens::load(&file).unwrap_err().to_string();
        expected.assert_eq(&error.replace(&folder.path().display().to_string(), ""));
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_the_way_out() {
        check(
            "[token.a]\n",
            expect!["/tokens.toml:1:2: unknown key `token`, expected one of `tokens`; did you mean `tokens`?"],
        );
        check(
            "[tokens.a]\nsha256 = \"00\"\n",
            expect![[r#"/tokens.toml:1:9: tokens.a: no `role`; add `role = "operator"`"#]],
        );
        check(
            "[tokens.a]\nrole = \"owner\"\n",
            expect!["/tokens.toml:2:8: tokens.a.role: unknown value `owner`, expected `operator` or `tenant`"],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\n",
            expect![
                "/tokens.toml:1:9: tokens.a: no `sha256`, `hmac_key` or `hmac_key_file`; make one with `sluice token`"
            ],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\nsha256 = \"00\"\n",
            expect!["/tokens.toml:3:10: tokens.a: `sha256` must be 64 hexadecimal digits, the SHA-256 of the token"],
        );
        check(
            &format!("[tokens.a]\nrole = \"tenant\"\nsha256 = \"{DIGEST}\"\n"),
            expect![[r#"/tokens.toml:2:1: tokens.a: no `tenant`; add `tenant = "NAME"`"#]],
        );
        check(
            &format!("[tokens.a]\nrole = \"operator\"\ntenant = \"x\"\nsha256 = \"{DIGEST}\"\n"),
            expect![[
                r#"/tokens.toml:3:10: tokens.a: an operator is of no tenant; leave `tenant` out, or use `role = "tenant"`"#
            ]],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\nhmac_key = \"AAAA\"\n",
            expect![
                "/tokens.toml:3:12: tokens.a: a key has 32 to 1024 bytes (e.g. `openssl rand -base64 32`), this one has 3"
            ],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\nhmac_key_file = \"short.key\"\n",
            expect![
                "/tokens.toml:3:17: tokens.a: /short.key: a key has 32 to 1024 bytes (e.g. `openssl rand -base64 32`), this one has 3"
            ],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\nhmac_key_file = \"open.key\"\n",
            expect!["/tokens.toml:3:17: tokens.a: others may read /open.key; run `chmod 600 /open.key`"],
        );
        check(
            "[tokens.a]\nrole = \"operator\"\nhmac_key_file = \"no.key\"\n",
            expect!["/tokens.toml:3:17: tokens.a: /no.key cannot be read: No such file or directory (os error 2)"],
        );
        check(
            &format!("[tokens.a]\nrole = \"operator\"\nsha256 = \"{DIGEST}\"\nhmac_key = \"{KEY}\"\n"),
            expect!["/tokens.toml:1:9: tokens.a: more than one of `sha256`, `hmac_key` and `hmac_key_file`; keep one"],
        );
        let twice = format!("role = \"operator\"\nsha256 = \"{DIGEST}\"\n");
        check(
            &format!("[tokens.a]\n{twice}[tokens.b]\n{twice}"),
            expect!["/tokens.toml:4:9: tokens.b: is the same as that of `a`; give each its own"],
        );
    }

    #[test]
    fn a_file_with_keys_is_refused_if_others_may_read_it_and_one_of_digests_is_not() {
        let (_folder, file) = write(&format!("[tokens.a]\nrole = \"operator\"\nhmac_key = \"{KEY}\"\n"), 0o640);
        let error = Tokens::load(&file).unwrap_err().to_string();
        assert!(error.contains(":1:1: others may read the keys in it; run `chmod 600"), "{error}");
        let (_folder, file) = write(&format!("[tokens.a]\nrole = \"operator\"\nsha256 = \"{DIGEST}\"\n"), 0o644);
        assert!(Tokens::load(&file).is_ok());
    }

    #[test]
    fn a_file_with_a_mistake_leaves_the_tokens_as_they_are() {
        let (_folder, file) = write(&format!("[tokens.a]\nrole = \"operator\"\nsha256 = \"{DIGEST}\"\n"), 0o600);
        let tokens = Tokens::load(&file).unwrap();
        fs::write(&file, "[tokens.a]\n").unwrap();
        assert!(tokens.reload().is_err());
        assert_eq!(tokens.of_bearer(b"abc").unwrap().name, "a");
        fs::write(&file, "").unwrap();
        assert_eq!(tokens.reload().unwrap(), 0);
        assert!(tokens.of_bearer(b"abc").is_none());
    }
}
