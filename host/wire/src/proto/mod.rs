//! Rows to and from protobuf flow messages, in the three numberings that are in use on Kafka.
//!
//! An [`Encoder`] writes the rows of a batch and a [`Decoder`] reads messages into a builder, both straight
//! between bytes and columns. A [`Dialect`] says which number means what (`table`; the page
//! `docs/reference/dialects.md`), a [`Framing`] how messages follow one another; [`detect()`] guesses
//! both from a few values. Fields that no column takes pass through unchanged if the source keeps
//! them ([`sluice_flow::Unknown`]) and the sink writes the same dialect.
//!
//! Operators' own columns have no protobuf number and are not written.

#![warn(clippy::indexing_slicing)]

mod block;
mod decode;
mod detect;
mod encode;
mod raw;
mod table;
mod varint;

pub use decode::Decoder;
pub use detect::detect;
pub use encode::{Encoder, Rows};
pub use table::{Dialect, Framing};

/// Bytes of a message at most; a real one has 150 to 500.
pub const MAX_MESSAGE: usize = 1 << 16;

/// Messages in a value at most: a value of a few bytes a message would else become many times its size.
pub const MAX_VALUE_ROWS: usize = 1 << 16;

/// Why a message could not be read. Nothing of it is in the batch then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// Not protobuf, or cut short.
    #[error("no protobuf field at offset {offset} of the message")]
    Malformed {
        /// Where in the message.
        offset: usize,
    },
    /// A field that ends beyond the message.
    #[error("field {number} has {length} bytes, {left} left")]
    Truncated {
        /// Number of the field, 0 for the message itself.
        number: u32,
        /// Bytes that it announces.
        length: u64,
        /// Bytes that there are.
        left: usize,
    },
    /// A message beyond [`MAX_MESSAGE`].
    #[error("the message has {length} bytes, more than {MAX_MESSAGE}")]
    TooLong {
        /// Bytes that it has or announces.
        length: u64,
    },
    /// A value of more than [`MAX_VALUE_ROWS`] messages.
    #[error("the value has more than {MAX_VALUE_ROWS} messages")]
    TooManyRows,
    /// A known field of another wire type: a message of another dialect or of no dialect.
    #[error("field {number} has wire type {found}")]
    WrongType {
        /// Number of the field.
        number: u32,
        /// Wire type that was found (protobuf encoding, "message structure").
        found: u8,
    },
    /// An address that has neither 4 nor 16 bytes.
    #[error("field {number} holds an address of {length} bytes")]
    BadAddress {
        /// Number of the field.
        number: u32,
        /// Bytes of the address.
        length: usize,
    },
    /// Text that is not UTF-8.
    #[error("field {number} holds text that is not UTF-8")]
    BadText {
        /// Number of the field.
        number: u32,
    },
}

impl ProtoError {
    /// Every reason that [`reason`](Self::reason) gives.
    pub const REASONS: [&'static str; 7] =
        ["malformed", "truncated", "too_long", "too_many_rows", "wrong_type", "bad_address", "bad_text"];

    /// The reason under which the error is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ProtoError::Malformed { .. } => "malformed",
            ProtoError::Truncated { .. } => "truncated",
            ProtoError::TooLong { .. } => "too_long",
            ProtoError::TooManyRows => "too_many_rows",
            ProtoError::WrongType { .. } => "wrong_type",
            ProtoError::BadAddress { .. } => "bad_address",
            ProtoError::BadText { .. } => "bad_text",
        }
    }
}

/// Why a value was not read. None of its rows is in the batch, also not those before the bad message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} of the value is bad")]
pub struct BadValue {
    /// Which message it was, the first being 0.
    pub message: usize,
    /// What is wrong with it.
    #[source]
    pub error: ProtoError,
}

impl BadValue {
    /// The reason under which the value is counted: one of [`ProtoError::REASONS`].
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.error.reason()
    }
}

#[cfg(test)]
mod tests;
