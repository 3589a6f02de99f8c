//! What librdkafka tells beside the answers to calls: errors, its log, and statistics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, error, warn};

/// Why there is no access to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answers.
    Away,
    /// Somebody answers, and that is all.
    Refused {
        /// What librdkafka says.
        reason: String,
        /// What to look at.
        remedy: &'static str,
    },
}

/// Collects the errors of one client, and passes its log on.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Name in the TOML.
    name: String,
    trouble: Mutex<Option<Trouble>>,
    /// Lines of each kind that were passed on: a broker that is away says so again and again.
    said: Mutex<HashMap<String, u32>>,
}

/// Lines of one kind after which only each so many is passed on.
const SAID_OFTEN: u32 = 3;

impl Events {
    pub(crate) fn new(name: &str) -> Events {
        Events { name: name.to_owned(), ..Events::default() }
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For `ClientContext::error`.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            // Asked for, and no trouble.
            return;
        }
        let found = match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => Some(Trouble::Refused {
                reason: reason.to_owned(),
                remedy: "look at `sasl`: mechanism, username, password",
            }),
            // With TLS 1.3 a client learns that its certificate is missing after it thought that all was well.
            Some(code) if code == Code::SSL || reason.contains("SSL alert number") => {
                Some(Trouble::Refused { reason: reason.to_owned(), remedy: "look at `tls`: ca, certificate, key" })
            }
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => Some(Trouble::Away),
            _ => None,
        };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // To be refused is told once; that all brokers are down follows from it.
        if !matches!(*trouble, Some(Trouble::Refused { .. })) && found.is_some() {
            *trouble = found;
        }
        drop(trouble);
        if self.is_worth_saying(&error.to_string()) {
            warn!(component = self.name, %error, reason, "kafka");
        }
    }

    /// For `ClientContext::log`.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                // These come as errors too.
                if facility != "FAIL" && facility != "ERROR" && self.is_worth_saying(facility) {
                    error!(component = self.name, facility, message, "librdkafka");
                }
            }
            RDKafkaLogLevel::Warning => {
                if self.is_worth_saying(facility) {
                    warn!(component = self.name, facility, message, "librdkafka");
                }
            }
            _ => debug!(component = self.name, facility, message, "librdkafka"),
        }
    }

    fn is_worth_saying(&self, kind: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // Kinds are few; who invents more is cut off.
        if said.len() > 64 {
            said.clear();
        }
        let times = said.entry(kind.to_owned()).or_default();
        *times += 1;
        *times <= SAID_OFTEN || times.is_multiple_of(100)
    }
}
