//! What is wrong with a configuration, in the parts that the binary puts together.

/// A configuration that the types allow and that cannot work.
///
/// Key, problem and remedy are apart, so that the caller can add file, line and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {remedy}")]
pub struct Invalid {
    /// The key in the component's table.
    pub key: &'static str,
    /// What is wrong, with the value.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl Invalid {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Invalid {
        Invalid { key, problem: problem.into(), remedy: remedy.into() }
    }

    /// Refuses a number outside `lowest..=highest`.
    pub(crate) fn unless_within(key: &'static str, value: u64, lowest: u64, highest: u64) -> Result<(), Invalid> {
        if (lowest..=highest).contains(&value) {
            return Ok(());
        }
        Err(Invalid::new(key, format!("{value} is out of range"), format!("use {lowest} to {highest}")))
    }
}
