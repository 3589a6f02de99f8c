//! Reaching the brokers: addresses, TLS, SASL, and every other setting of librdkafka.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;
use tracing::warn;

use super::context::{Events, Trouble};
use crate::Invalid;

/// Time that a start waits for an answer of the brokers before it goes on without one.
const PROBE: Duration = Duration::from_secs(10);
/// Time in which brokers that are down may turn out to have refused us.
const AWAY: Duration = Duration::from_secs(2);

/// `tls` of a Kafka source or sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificates of the authorities that brokers' certificates are checked against,
    /// e.g. `"ca.pem"`. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate, for brokers that ask for one.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// File with the private key's password; a newline at its end does not count.
    pub key_password_file: Option<PathBuf>,
    /// Whether brokers' certificates and names are checked, e.g. `false` for a test. Default true.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

/// `sasl` of a Kafka source or sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// `"plain"`, `"scram-sha-256"` or `"scram-sha-512"`. Required.
    pub mechanism: Mechanism,
    /// The user. Required.
    pub username: String,
    /// The password; better in a file or in the environment.
    pub password: Option<Secret>,
    /// File with the password; a newline at its end does not count.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password, e.g. `"KAFKA_SASL_PASS"`.
    pub password_env: Option<String>,
}

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The password itself: only with TLS is it safe.
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// A text that is not printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The value of a setting of librdkafka.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text, a number, true or false")]
pub enum Setting {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A number.
    Float(f64),
    /// A switch.
    Switch(bool),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Text(text) => text.fmt(f),
            Setting::Number(number) => number.fmt(f),
            Setting::Float(number) => number.fmt(f),
            Setting::Switch(switch) => switch.fmt(f),
        }
    }
}

/// Why a Kafka source or sink could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The configuration cannot work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A file with a certificate, key or password.
    #[error("{path} cannot be read", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An environment variable that is not there.
    #[error("the environment variable {name}, which holds the password, is not set")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// librdkafka refuses the settings.
    #[error("librdkafka refuses the settings")]
    Settings(#[source] rdkafka::error::KafkaError),
    /// The brokers refuse the client, or the client the brokers.
    #[error("no access to the Kafka brokers {brokers}: {reason}; {remedy}")]
    Refused {
        /// The brokers asked.
        brokers: String,
        /// What librdkafka says.
        reason: String,
        /// What to look at.
        remedy: &'static str,
    },
    /// The topic for dead letters cannot take any.
    #[error("the topic {topic} of `dead_letter` on the Kafka brokers {brokers} {remedy}")]
    NoTopic {
        /// Its name.
        topic: String,
        /// The brokers asked.
        brokers: String,
        /// What it lacks, and what to do.
        remedy: &'static str,
    },
    /// A file of dead letters or a disk buffer.
    #[error("{what} {path} cannot be opened", path = path.display())]
    Open {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What happened.
        source: sluice_pipeline::BoxError,
    },
}

/// How to reach the brokers: the keys that sources and sinks share.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// `brokers`.
    pub brokers: &'a [String],
    /// `tls`.
    pub tls: Option<&'a TlsConfig>,
    /// `sasl`.
    pub sasl: Option<&'a SaslConfig>,
    /// `librdkafka`.
    pub settings: &'a BTreeMap<String, Setting>,
}

impl Connection<'_> {
    /// Checks what can be checked without a file and without a broker. `own` are settings that the
    /// component makes itself, with the key to use instead.
    ///
    /// # Errors
    /// What cannot work.
    pub(crate) fn validate(&self, own: &[(&str, &'static str)]) -> Result<(), Invalid> {
        if self.brokers.is_empty() || self.brokers.iter().any(|broker| broker.trim().is_empty()) {
            return Err(Invalid::new("brokers", "there is none", "name at least one, e.g. [\"kafka:9092\"]"));
        }
        if let Some(sasl) = self.sasl {
            let given = [sasl.password.is_some(), sasl.password_file.is_some(), sasl.password_env.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                let remedy = "give one of `password_file`, `password_env` and `password`";
                return Err(Invalid::new("sasl", "the password is in no place or in several", remedy));
            }
        }
        if let Some(tls) = self.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            let remedy = "give both `certificate` and `key`, or neither";
            return Err(Invalid::new("tls", "a client certificate is of no use without its key", remedy));
        }
        for (name, remedy) in own {
            if self.settings.contains_key(*name) {
                return Err(Invalid::new("librdkafka", format!("`{name}` is made by sluice"), *remedy));
            }
        }
        // Names and values; nothing is opened.
        let mut settings = ClientConfig::new();
        for (name, value) in self.settings {
            settings.set(name, value.to_string());
        }
        settings.create_native_config().map(drop).map_err(|error| {
            let problem = match error {
                rdkafka::error::KafkaError::ClientConfig(_, description, _, _) => description,
                other => other.to_string(),
            };
            Invalid::new("librdkafka", problem, "see librdkafka's CONFIGURATION.md for names and values")
        })
    }

    /// Paths relative to `base` become absolute; see [`TlsConfig`] and [`SaslConfig`].
    pub(crate) fn resolve(base: &Path, tls: &mut Option<TlsConfig>, sasl: &mut Option<SaslConfig>) {
        let tls = tls
            .iter_mut()
            .flat_map(|tls| [&mut tls.ca, &mut tls.certificate, &mut tls.key, &mut tls.key_password_file]);
        let sasl = sasl.iter_mut().map(|sasl| &mut sasl.password_file);
        tls.chain(sasl).flatten().for_each(|path| *path = base.join(&*path));
    }

    /// The settings for a client: `defaults`, then those of the keys, then those of `librdkafka`.
    ///
    /// # Errors
    /// A file or variable with a secret that cannot be read.
    pub(crate) fn client_config(&self, defaults: &[(&str, String)]) -> Result<ClientConfig, KafkaError> {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("client.id", "sluice");
        for (name, value) in defaults {
            config.set(*name, value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        let protocol = match (self.tls.is_some(), self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.certificate),
                ("ssl.key.location", &tls.key),
            ];
            for (name, path) in files.iter().filter_map(|(name, path)| path.as_ref().map(|path| (name, path))) {
                // librdkafka's own message does not say which file.
                fs::File::open(path).map_err(|source| KafkaError::File { path: path.clone(), source })?;
                config.set(*name, path.to_string_lossy());
            }
            if let Some(path) = &tls.key_password_file {
                config.set("ssl.key.password", secret_in(path)?);
            }
            if !tls.verify {
                config.set("enable.ssl.certificate.verification", "false");
                config.set("ssl.endpoint.identification.algorithm", "none");
            }
        }
        if let Some(sasl) = self.sasl {
            let mechanism = match sasl.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", &sasl.username);
            config.set("sasl.password", password(sasl)?);
        }
        for (name, value) in self.settings {
            config.set(name, value.to_string());
        }
        Ok(config)
    }
}

fn password(sasl: &SaslConfig) -> Result<String, KafkaError> {
    if let Some(path) = &sasl.password_file {
        return secret_in(path);
    }
    if let Some(name) = &sasl.password_env {
        return env::var(name).map_err(|_| KafkaError::NoVariable { name: name.clone() });
    }
    Ok(sasl.password.as_ref().map(|Secret(text)| text.clone()).unwrap_or_default())
}

fn secret_in(path: &Path) -> Result<String, KafkaError> {
    let text = fs::read_to_string(path).map_err(|source| KafkaError::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks the brokers for an answer: `ask` is tried with a timeout until it succeeds. Brokers that are away are a warning,
/// since they may come back; to be refused is an error, since that does not change by itself.
///
/// # Errors
/// [`KafkaError::Refused`].
pub(crate) fn probe(
    name: &str,
    brokers: &[String],
    events: &Events,
    mut ask: impl FnMut(Duration) -> Result<(), rdkafka::error::KafkaError>,
) -> Result<(), KafkaError> {
    let end = Instant::now() + PROBE;
    let brokers = || brokers.join(",");
    let mut away_since = None;
    loop {
        let answer = ask(Duration::from_millis(500));
        match (answer, events.trouble()) {
            (Ok(()), _) => return Ok(()),
            (Err(_), Some(Trouble::Refused { reason, remedy })) => {
                return Err(KafkaError::Refused { brokers: brokers(), reason, remedy });
            }
            // That they are down may be told before why.
            (Err(_), Some(Trouble::Away)) if away_since.get_or_insert_with(Instant::now).elapsed() < AWAY => {}
            (Err(error), Some(Trouble::Away)) => {
                warn!(component = name, brokers = brokers(), %error, "Kafka brokers are away, going on until they are back");
                return Ok(());
            }
            (Err(error), None) if Instant::now() >= end => {
                warn!(component = name, brokers = brokers(), %error, "Kafka brokers do not answer, going on until they do");
                return Ok(());
            }
            (Err(_), None) => {}
        }
    }
}
