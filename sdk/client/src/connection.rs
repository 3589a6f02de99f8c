//! Reaching the brokers: addresses, TLS, SASL.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

/// How long [`connect`](crate::ConsumerBuilder::connect) waits for the brokers.
const PATIENCE: Duration = Duration::from_secs(15);

/// Encryption of the connection. Certificates of brokers and their names are always checked.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// TLS with the certificate authorities of the system.
    #[must_use]
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts the authorities in this PEM file instead.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Tls {
        self.ca = Some(path.into());
        self
    }

    /// Shows a certificate to the brokers: two PEM files, the certificate and its private key.
    #[must_use]
    pub fn client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        self.client = Some((certificate.into(), key.into()));
        self
    }
}

/// Who the client is.
#[derive(Clone)]
pub struct Sasl {
    mechanism: &'static str,
    user: String,
    password: String,
}

impl Sasl {
    /// The password itself goes to the brokers: only with [`Tls`] is that safe.
    #[must_use]
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        Sasl { mechanism: "PLAIN", user: user.into(), password: password.into() }
    }

    /// RFC 5802 with SHA-256.
    #[must_use]
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        Sasl { mechanism: "SCRAM-SHA-256", user: user.into(), password: password.into() }
    }

    /// RFC 5802 with SHA-512.
    #[must_use]
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        Sasl { mechanism: "SCRAM-SHA-512", user: user.into(), password: password.into() }
    }
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a consumer or producer did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Something that there is no default for.
    #[error("no {what} given: call `{what}` of the builder")]
    Missing {
        /// `brokers`, `topic` or `group`.
        what: &'static str,
    },
    /// A file with a certificate or key.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// librdkafka refuses the settings.
    #[error("librdkafka refuses the settings")]
    Settings(#[source] KafkaError),
    /// The brokers do not answer, or do not let the client in.
    #[error("no access to the Kafka brokers {brokers}: {reason}")]
    Brokers {
        /// The brokers asked.
        brokers: String,
        /// What librdkafka said last.
        reason: String,
    },
    /// The topic is not there, or not for this user.
    #[error("no access to the topic {topic}")]
    Topic {
        /// The topic asked for.
        topic: String,
        /// The brokers' answer.
        source: RDKafkaErrorCode,
    },
}

/// What consumers and producers have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) settings: Vec<(String, String)>,
}

impl Connection {
    /// The settings of a client: `own`, then what was given.
    pub(crate) fn config(&self, own: &[(&str, &str)]) -> Result<ClientConfig, ConnectError> {
        for (what, value) in [("brokers", &self.brokers), ("topic", &self.topic)] {
            if value.is_empty() {
                return Err(ConnectError::Missing { what });
            }
        }
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in own {
            config.set(*name, *value);
        }
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(Tls { ca, client }) = &self.tls {
            let client = client.as_ref();
            let files = [
                ("ssl.ca.location", ca.as_deref()),
                ("ssl.certificate.location", client.map(|(certificate, _)| certificate.as_path())),
                ("ssl.key.location", client.map(|(_, key)| key.as_path())),
            ];
            for (name, path) in files.iter().filter_map(|(name, path)| Some((*name, (*path)?))) {
                config.set(name, readable(path)?);
            }
        }
        if let Some(Sasl { mechanism, user, password }) = &self.sasl {
            config.set("sasl.mechanism", *mechanism).set("sasl.username", user).set("sasl.password", password);
        }
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        Ok(config)
    }

    /// Asks for the topic until there is an answer. `ask` waits at most as long as it is told to.
    pub(crate) fn probe(
        &self,
        troubles: &Troubles,
        ask: impl Fn(Duration) -> Result<Metadata, KafkaError>,
    ) -> Result<(), ConnectError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = ask(Duration::from_millis(500));
            let refused = match answer {
                Ok(metadata) => {
                    let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
                    let error = topic.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from);
                    let no_leader = Some(RDKafkaErrorCode::LeaderNotAvailable);
                    match error {
                        None => return Ok(()),
                        // It has only just been made.
                        error if error == no_leader && Instant::now() < end => continue,
                        Some(source) => return Err(ConnectError::Topic { topic: self.topic.clone(), source }),
                    }
                }
                Err(error) => error,
            };
            let (reason, is_final) = troubles.last();
            if is_final || Instant::now() >= end {
                let reason = reason.unwrap_or_else(|| refused.to_string());
                return Err(ConnectError::Brokers { brokers: self.brokers.clone(), reason });
            }
        }
    }
}

/// The path for librdkafka, whose own message does not say which file it is that cannot be read.
fn readable(path: &Path) -> Result<String, ConnectError> {
    File::open(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
    Ok(path.to_string_lossy().into_owned())
}

/// What librdkafka complained about last. It goes on trying, whatever it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(Arc<Mutex<Option<(String, bool)>>>);

impl Troubles {
    /// Notes a message of librdkafka. Being refused does not change by waiting.
    pub(crate) fn note(&self, error: &KafkaError, text: &str) {
        let refusals = [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::SSL];
        let is_final = error.rdkafka_error_code().is_some_and(|code| refusals.contains(&code));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_final || !matches!(*last, Some((_, true))) {
            *last = Some((text.to_owned(), is_final));
        }
    }

    fn last(&self) -> (Option<String>, bool) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or((None, false), |(text, is_final)| (Some(text), is_final))
    }
}

/// The methods of the builders that are the same for both.
macro_rules! connection_methods {
    () => {
        /// Addresses to begin with, `HOST:PORT` with commas between them. Required.
        #[must_use]
        pub fn brokers(mut self, brokers: impl Into<String>) -> Self {
            self.connection.brokers = brokers.into();
            self
        }

        /// The topic. Required.
        #[must_use]
        pub fn topic(mut self, topic: impl Into<String>) -> Self {
            self.connection.topic = topic.into();
            self
        }

        /// Which numbers the fields have. Default [`Format::Goflow2`].
        #[must_use]
        pub fn format(mut self, format: Format) -> Self {
            self.format = format;
            self
        }

        /// How messages follow one another in a value. Default [`Framing::Delimited`].
        #[must_use]
        pub fn framing(mut self, framing: Framing) -> Self {
            self.framing = framing;
            self
        }

        /// Encrypts the connection. Default: it is not.
        #[must_use]
        pub fn tls(mut self, tls: Tls) -> Self {
            self.connection.tls = Some(tls);
            self
        }

        /// Says who the client is. Default: nobody.
        #[must_use]
        pub fn sasl(mut self, sasl: Sasl) -> Self {
            self.connection.sasl = Some(sasl);
            self
        }

        /// Any other setting of librdkafka, e.g. `("client.id", "billing")`. Wins over what this crate sets.
        #[must_use]
        pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.connection.settings.push((name.into(), value.into()));
            self
        }
    };
}
pub(crate) use connection_methods;
