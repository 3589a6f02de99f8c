//! How a command fails, and with which exit code.

use crate::config::{ConfigError, LoadError};

type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a command failed: 1 failed while running, 2 wrong usage or configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The world did not let it.
    #[error("{what}")]
    Running {
        what: String,
        #[source]
        cause: Option<BoxError>,
    },
    /// The command line or the configuration is wrong.
    #[error("{what}")]
    Usage {
        what: String,
        #[source]
        cause: Option<BoxError>,
    },
    /// The configuration file is wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Load(LoadError::Config(error))
    }
}

impl Failure {
    pub(crate) fn running(what: impl Into<String>, cause: impl Into<BoxError>) -> Failure {
        Failure::Running { what: what.into(), cause: Some(cause.into()) }
    }

    pub(crate) fn failed(what: impl Into<String>) -> Failure {
        Failure::Running { what: what.into(), cause: None }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Failure {
        Failure::Usage { what: what.into(), cause: None }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Running { .. } => 1,
            Failure::Usage { .. } | Failure::Load(_) => 2,
        }
    }
}
