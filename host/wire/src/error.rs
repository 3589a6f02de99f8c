//! Why a datagram, or a part of one, could not be decoded.

/// Why a datagram could not be decoded, in whole or in part.
///
/// This is a fact about an exporter, not a fault of the collector: it is counted under
/// [`reason`](Self::reason) and the next set, message or datagram is decoded. Offsets are from the
/// start of the datagram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The datagram ends inside a structure it announces.
    #[error("{what} at offset {offset} needs {needed} bytes, {left} left")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// Bytes that it announces.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// None of NetFlow v5, NetFlow v9, IPFIX and sFlow v5.
    #[error("version {version} is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5")]
    UnknownVersion {
        /// The first two bytes of the datagram.
        version: u16,
    },
    /// A header of NetFlow v1, v5 or v7 announces no record or more than a datagram may have (30).
    #[error("{count} records, 1 to 30 are possible")]
    BadCount {
        /// Records announced.
        count: u16,
    },
    /// A length that is shorter than the header it is part of. What follows cannot be found.
    #[error("{what} at offset {offset} says it is {length} bytes long")]
    BadLength {
        /// The structure.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// The length it gives.
        length: usize,
    },
    /// A data set precedes its template, as UDP allows (RFC 7011, section 8). It is held for a while.
    #[error("no template {template_id} in observation domain {domain}")]
    NoTemplate {
        /// Observation domain of the message.
        domain: u32,
        /// Template that the set asks for.
        template_id: u16,
    },
    /// A template that no record can follow. An earlier one of the same number is forgotten.
    #[error("template {template_id} in observation domain {domain}: {why}")]
    BadTemplate {
        /// Observation domain of the message.
        domain: u32,
        /// The template's number.
        template_id: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A set with a number that is reserved (RFC 7011, section 3.3.2; RFC 3954, section 5).
    #[error("set {set_id} at offset {offset} is of a reserved kind")]
    ReservedSet {
        /// Number of the set.
        set_id: u16,
        /// Where it begins.
        offset: usize,
    },
    /// Records that do not end where their template says: the rest of the set is lost.
    #[error("record of template {template_id} at offset {offset} does not end within its set")]
    BadRecord {
        /// The template.
        template_id: u16,
        /// Where the record begins.
        offset: usize,
    },
    /// An sFlow structure says something that its format rules out.
    #[error("{what} at offset {offset} is malformed")]
    Malformed {
        /// The structure.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
}

/// Every [`DecodeError::reason`]: the label values under which errors are counted.
pub const REASONS: &[&str] = &[
    "truncated",
    "unknown_version",
    "bad_count",
    "bad_length",
    "no_template",
    "bad_template",
    "reserved_set",
    "bad_record",
    "malformed",
];

impl DecodeError {
    /// Place of the reason in [`REASONS`].
    pub(crate) fn index(&self) -> usize {
        match self {
            DecodeError::Truncated { .. } => 0,
            DecodeError::UnknownVersion { .. } => 1,
            DecodeError::BadCount { .. } => 2,
            DecodeError::BadLength { .. } => 3,
            DecodeError::NoTemplate { .. } => 4,
            DecodeError::BadTemplate { .. } => 5,
            DecodeError::ReservedSet { .. } => 6,
            DecodeError::BadRecord { .. } => 7,
            DecodeError::Malformed { .. } => 8,
        }
    }

    /// The reason under which the error is counted, one of [`REASONS`].
    #[must_use]
    pub fn reason(&self) -> &'static str {
        REASONS.get(self.index()).copied().expect("every variant has its reason")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_the_reason_that_is_its_name() {
        let errors = [
            DecodeError::Truncated { what: "set", offset: 0, needed: 4, left: 1 },
            DecodeError::UnknownVersion { version: 8 },
            DecodeError::BadCount { count: 31 },
            DecodeError::BadLength { what: "set", offset: 0, length: 3 },
            DecodeError::NoTemplate { domain: 1, template_id: 256 },
            DecodeError::BadTemplate { domain: 1, template_id: 256, why: "empty" },
            DecodeError::ReservedSet { set_id: 4, offset: 16 },
            DecodeError::BadRecord { template_id: 256, offset: 20 },
            DecodeError::Malformed { what: "sample", offset: 28 },
        ];
        let reasons: Vec<_> = errors.iter().map(DecodeError::reason).collect();
        assert_eq!(reasons, REASONS);
    }
}
