//! Why a plugin does not load or start, as it crosses from its process: a refusal has the same words and the same kind there.

use serde::{Deserialize, Serialize};

use crate::error::LoadErrorKind;
use crate::shared::printable;

/// Bytes of a text that are kept.
const MAX_TEXT: usize = 4096;

/// A [`LoadErrorKind`] that the plugin is the cause of.
#[derive(Serialize, Deserialize)]
pub(super) enum Refusal {
    Config { message: String },
    Start { error: String, backtrace: Vec<String> },
    Manifest { problem: String },
    NotGranted { access: String, columns: String },
    Other { error: String },
}

impl From<LoadErrorKind> for Refusal {
    fn from(kind: LoadErrorKind) -> Refusal {
        match kind {
            LoadErrorKind::Config { message } => Refusal::Config { message },
            LoadErrorKind::Start { error, backtrace } => Refusal::Start { error, backtrace },
            LoadErrorKind::Manifest { problem } => Refusal::Manifest { problem },
            LoadErrorKind::NotGranted { access, columns, .. } => {
                Refusal::NotGranted { access: access.to_owned(), columns }
            }
            other => Refusal::Other { error: other.to_string() },
        }
    }
}

impl From<String> for Refusal {
    fn from(error: String) -> Refusal {
        Refusal::Other { error }
    }
}

impl Refusal {
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The refusal that a process sent, of which no more is believed than its words.
    pub(super) fn read(bytes: &[u8]) -> LoadErrorKind {
        let text = |text: String| printable(&text, MAX_TEXT);
        match serde_json::from_slice(bytes) {
            Ok(Refusal::Config { message }) => LoadErrorKind::Config { message: text(message) },
            Ok(Refusal::Start { error, backtrace }) => LoadErrorKind::Start {
                error: text(error),
                backtrace: backtrace.into_iter().take(64).map(text).collect(),
            },
            Ok(Refusal::Manifest { problem }) => LoadErrorKind::Manifest { problem: text(problem) },
            Ok(Refusal::NotGranted { access, columns }) => LoadErrorKind::NotGranted {
                access: if access == "write" { "write" } else { "read" },
                them: if columns.contains(',') { "them" } else { "it" },
                columns: text(columns),
            },
            Ok(Refusal::Other { error }) => LoadErrorKind::Outside { error: text(error) },
            Err(_) => LoadErrorKind::Outside { error: text(String::from_utf8_lossy(bytes).into_owned()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_same_words_on_both_sides() {
        for kind in [
            LoadErrorKind::Config { message: "no `threshold`".to_owned() },
            LoadErrorKind::Start { error: "init: unreachable".to_owned(), backtrace: vec!["at init".to_owned()] },
            LoadErrorKind::Manifest { problem: "names column 500, which does not exist".to_owned() },
            LoadErrorKind::NotGranted { access: "write", columns: "columns a, b".to_owned(), them: "them" },
            LoadErrorKind::NotGranted { access: "read", columns: "column a".to_owned(), them: "it" },
            LoadErrorKind::NoStage { component: "x.wasm".to_owned() },
        ] {
            let words = kind.to_string();
            assert_eq!(Refusal::read(&Refusal::from(kind).bytes()).to_string(), words);
        }
        assert_eq!(Refusal::read(b"a\x1b[2J").to_string(), "a\\u{1b}[2J");
    }
}
