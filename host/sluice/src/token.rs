//! `sluice token`: a secret for the API, and its entry in the file of tokens.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::admin::tokens::{Role, check, hex, is_open_to_others};
use crate::failure::Failure;

/// Random bytes of a token or key.
const SECRET_BYTES: usize = 32;

/// `sluice token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// What the token is called in logs: letters, digits, `_` and `-`.
    name: String,
    /// What it allows.
    #[arg(long, value_enum)]
    role: Role,
    /// Whose it is, for the role `tenant`.
    #[arg(long, value_name = "TENANT", required_if_eq("role", "tenant"))]
    tenant: Option<String>,
    /// Make a key that requests are signed with, instead of a token that they carry: nobody on the way learns it.
    #[arg(long)]
    hmac: bool,
    /// The file that `[admin]` `tokens` names; made if it is not there.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

/// Makes a token.
pub(crate) fn token(args: &TokenArgs) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::running(args.file.display().to_string(), error);
    let before = match fs::read_to_string(&args.file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(cannot)?,
    };
    let is_open = fs::metadata(&args.file).is_ok_and(|metadata| is_open_to_others(&metadata));

    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|error| Failure::running("no random numbers", error.to_string()))?;
    let (secret, proof) = if args.hmac {
        let key = Zeroizing::new(STANDARD.encode(*bytes));
        let entry = format!("hmac_key = \"{}\"", *key);
        (key, entry)
    } else {
        let token = Zeroizing::new(format!("sluice_{}", URL_SAFE_NO_PAD.encode(*bytes)));
        let entry = format!("sha256 = \"{}\"", hex(&Sha256::digest(token.as_bytes())));
        (token, entry)
    };
    let role = match args.role {
        Role::Operator => "operator",
        Role::Tenant => "tenant",
    };
    let tenant = args.tenant.as_ref().map(|tenant| format!("tenant = {}\n", toml::Value::String(tenant.clone())));
    let apart = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let line_end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let name = &args.name;
    let entry = format!("{line_end}{apart}[tokens.{name}]\nrole = \"{role}\"\n{}{proof}\n", tenant.unwrap_or_default());
    // What would make the collector refuse the file is found before it is there.
    check(&args.file, before + &entry, is_open)?;

    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(&args.file);
    opened.and_then(|mut file| file.write_all(entry.as_bytes())).map_err(cannot)?;
    crate::author::print(&format!("{}\n", *secret))?;
    let what = if args.hmac { "key" } else { "token" };
    eprintln!(
        "the {what} of `{name}` is shown this once; {} has its entry, which a running collector reads at `sluice reload` or \
         SIGHUP",
        args.file.display()
    );
    Ok(())
}
