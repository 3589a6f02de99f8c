//! Values of a topic to flows and back.

use prost::{DecodeError, Message};

use crate::flow::{Flow, proto};

/// Bytes of a message at most; a real one has 150 to 500.
pub const MAX_MESSAGE: usize = 1 << 16;

/// Messages in a value at most.
pub const MAX_VALUE_MESSAGES: usize = 1 << 16;

/// Which numbers the fields have. Nothing in a message tells: the provider says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// goflow2 v2 and v3, and what sluice adds to it.
    #[default]
    Goflow2,
    /// flowpipeline v2.
    Flowpipeline,
    /// goflow v3, bwNetFlow's programs, flowpipeline with `legacy: true`. Times in seconds.
    Bwnetflow,
}

/// How messages follow one another in a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Any number of messages, each after its length as a varint.
    #[default]
    Delimited,
    /// One message and nothing else.
    Bare,
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not protobuf, cut short, or fields of other types: most likely another format or framing.
    #[error("message {message} of the value, at byte {offset}, is no flow in this format and framing")]
    Malformed {
        /// Which message it is, the first being 0.
        message: usize,
        /// Where it begins, with its length.
        offset: usize,
        /// What the decoder says.
        source: DecodeError,
    },
    /// A length beyond the end of the value, or that is none.
    #[error("message {message} of the value, at byte {offset}, ends beyond the value or has no length")]
    Length {
        /// Which message it is, the first being 0.
        message: usize,
        /// Where its length begins.
        offset: usize,
    },
    /// An address that has neither 4 nor 16 bytes: most likely another format or framing.
    #[error("message {message} of the value has an address of {length} bytes")]
    Address {
        /// Which message it is, the first being 0.
        message: usize,
        /// Bytes of the address.
        length: usize,
    },
    /// A message beyond [`MAX_MESSAGE`].
    #[error("message {message} of the value has {length} bytes, more than {MAX_MESSAGE}")]
    TooLong {
        /// Which message it is, the first being 0.
        message: usize,
        /// Bytes that it has.
        length: usize,
    },
    /// More messages than [`MAX_VALUE_MESSAGES`].
    #[error("the value has more than {MAX_VALUE_MESSAGES} messages")]
    TooMany,
}

/// Reads all flows of one value and returns how many were added to `flows`.
///
/// # Errors
/// See [`ValueError`]. `flows` is as before then: a value is read whole or not at all.
pub fn read_value(format: Format, framing: Framing, value: &[u8], flows: &mut Vec<Flow>) -> Result<usize, ValueError> {
    let before = flows.len();
    let read = read_messages(format, framing, value, flows);
    if read.is_err() {
        flows.truncate(before);
    }
    read.map(|()| flows.len() - before)
}

fn read_messages(format: Format, framing: Framing, value: &[u8], flows: &mut Vec<Flow>) -> Result<(), ValueError> {
    if framing == Framing::Bare {
        flows.push(read_message(format, value, 0, 0)?);
        return Ok(());
    }
    let mut left = value;
    for message in 0.. {
        if left.is_empty() {
            break;
        }
        if message == MAX_VALUE_MESSAGES {
            return Err(ValueError::TooMany);
        }
        let offset = value.len() - left.len();
        let length = prost::decode_length_delimiter(&mut left).ok().filter(|length| *length <= left.len());
        let length = length.ok_or(ValueError::Length { message, offset })?;
        let (bytes, rest) = left.split_at(length);
        flows.push(read_message(format, bytes, message, offset)?);
        left = rest;
    }
    Ok(())
}

fn read_message(format: Format, bytes: &[u8], message: usize, offset: usize) -> Result<Flow, ValueError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ValueError::TooLong { message, length: bytes.len() });
    }
    let decoded = match format {
        Format::Goflow2 => Flow::decode(bytes),
        Format::Flowpipeline => proto::flowpipeline::EnrichedFlow::decode(bytes).map(Flow::from),
        Format::Bwnetflow => proto::bwnetflow::FlowMessage::decode(bytes).map(Flow::from),
    };
    let flow = decoded.map_err(|source| ValueError::Malformed { message, offset, source })?;
    // What is read with the wrong format or framing by chance rarely has good addresses.
    for address in [&flow.src_addr, &flow.dst_addr, &flow.sampler_address, &flow.next_hop] {
        if !matches!(address.len(), 0 | 4 | 16) {
            return Err(ValueError::Address { message, length: address.len() });
        }
    }
    Ok(flow)
}

/// Appends one flow to a value. With [`Framing::Bare`] a value is one message: give it an empty `value`.
pub fn write_message(format: Format, framing: Framing, flow: &Flow, value: &mut Vec<u8>) {
    match format {
        Format::Goflow2 => write(framing, flow, value),
        Format::Flowpipeline => write(framing, &proto::flowpipeline::EnrichedFlow::from(flow.clone()), value),
        Format::Bwnetflow => write(framing, &proto::bwnetflow::FlowMessage::from(flow.clone()), value),
    }
}

fn write(framing: Framing, message: &impl Message, value: &mut Vec<u8>) {
    let written = match framing {
        Framing::Delimited => message.encode_length_delimited(value),
        Framing::Bare => message.encode(value),
    };
    written.expect("a Vec grows as needed");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 3] = [Format::Goflow2, Format::Flowpipeline, Format::Bwnetflow];

    fn flow(number: u32) -> Flow {
        Flow {
            src_addr: vec![192, 0, 2, 1],
            dst_addr: [0x20, 1, 0xd, 0xb8].into_iter().chain([0; 11]).chain([2]).collect(),
            bytes: 1000 + u64::from(number),
            src_port: number,
            cid: 1001,
            src_country: "DE".to_owned(),
            time_received_ns: 1_700_000_000_000_000_000,
            time_flow_start_ns: 1_700_000_000_000_000_000,
            direction: 1,
            ..Flow::default()
        }
    }

    #[test]
    fn several_flows_of_a_value_come_back_in_every_format() {
        for format in FORMATS {
            let mut value = Vec::new();
            let flows: Vec<_> = (1..4).map(flow).collect();
            flows.iter().for_each(|flow| write_message(format, Framing::Delimited, flow, &mut value));
            let mut read = vec![flow(0)];
            assert_eq!(read_value(format, Framing::Delimited, &value, &mut read), Ok(3));
            assert_eq!(read[1..], flows, "{format:?}");

            value.clear();
            write_message(format, Framing::Bare, &flow(7), &mut value);
            read.clear();
            assert_eq!(read_value(format, Framing::Bare, &value, &mut read), Ok(1));
            assert_eq!(read, [flow(7)], "{format:?}");
        }
    }

    #[test]
    fn an_empty_value_is_no_flow_or_an_empty_one() {
        let mut read = Vec::new();
        assert_eq!(read_value(Format::Goflow2, Framing::Delimited, &[], &mut read), Ok(0));
        assert_eq!(read_value(Format::Goflow2, Framing::Bare, &[], &mut read), Ok(1));
        assert_eq!(read, [Flow::default()]);
    }

    fn refused(value: &[u8], expected: &str) {
        let mut read = vec![flow(0)];
        let error = read_value(Format::Goflow2, Framing::Delimited, value, &mut read).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(read.len(), 1, "flows of a bad value are left");
    }

    #[test]
    fn a_bad_value_is_refused_whole_and_says_where() {
        let mut value = Vec::new();
        write_message(Format::Goflow2, Framing::Delimited, &flow(1), &mut value);
        let good = value.len();
        value.extend([3, 0x0f, 0xff, 0xff]);
        refused(&value, &format!("message 1 of the value, at byte {good}, is no flow in this format and framing"));
        value.truncate(good - 1);
        refused(&value, "message 0 of the value, at byte 0, ends beyond the value or has no length");
        refused(b"{\"bytes\": 1}", "message 0 of the value, at byte 0, ends beyond the value or has no length");
        refused(&[3, 0x32, 1, 9], "message 0 of the value has an address of 1 bytes");
        refused(&[0; MAX_VALUE_MESSAGES + 1], "the value has more than 65536 messages");
        let mut long = vec![0x81, 0x80, 0x04];
        long.resize(long.len() + MAX_MESSAGE + 1, 0);
        refused(&long, "message 0 of the value has 65537 bytes, more than 65536");
    }

    #[test]
    fn the_most_precise_time_counts() {
        let message = proto::flowpipeline::EnrichedFlow {
            time_received: 5,
            time_flow_start: 6,
            time_flow_start_ms: 6_001,
            time_flow_end: 7,
            time_flow_end_ms: 7_001,
            time_flow_end_ns: 7_001_002_003,
            src_country_bw: "DE".to_owned(),
            ..Default::default()
        };
        let flow = Flow::from(message);
        let times = [flow.time_received_ns, flow.time_flow_start_ns, flow.time_flow_end_ns];
        assert_eq!(times, [5_000_000_000, 6_001_000_000, 7_001_002_003]);
        assert_eq!(flow.src_country, "DE");
    }

    #[test]
    fn addresses_are_read_in_any_form() {
        assert_eq!(flow(1).src_ip(), Some([192, 0, 2, 1].into()));
        assert_eq!(flow(1).dst_ip(), Some("2001:db8::2".parse().unwrap()));
        let mapped = [0; 10].into_iter().chain([0xff, 0xff, 192, 0, 2, 1]).collect();
        assert_eq!(Flow { src_addr: mapped, ..Flow::default() }.src_ip(), Some([192, 0, 2, 1].into()));
        assert_eq!(Flow::default().sampler_ip(), None);
    }
}
