//! The flow, and what it is in formats other than its own.

use std::net::{IpAddr, Ipv6Addr};

/// One flow record: `FlowMessage` of `proto/sluice/flow/v1/flow.proto`, which documents every field.
///
/// In short: addresses have 4 or 16 bytes and are empty when absent ([`src_ip`](Self::src_ip) reads them); times are
/// nanoseconds since the Unix epoch, UTC; `bytes` and `packets` are as exported, not multiplied by `sampling_rate`.
/// A zero, an empty text and an empty list mean "absent".
pub type Flow = proto::flow::FlowMessage;

/// The messages as they are in the `.proto` files, for fields that only one format has.
///
/// `Flow::from` converts from the other two, and `From<Flow>` back: times and names are translated, and fields that the
/// other side does not have are lost.
pub mod proto {
    /// sluice and goflow2: `proto/sluice/flow/v1/flow.proto`.
    #[allow(missing_docs, reason = "generated, with the comments that the .proto file has")]
    pub mod flow {
        include!(concat!(env!("OUT_DIR"), "/sluice.flow.v1.rs"));
    }
    /// flowpipeline v2: `proto/flowpipeline/enriched_flow.proto`, and sluice's own fields from 10000.
    #[allow(missing_docs, clippy::all, reason = "generated; see the comments of the .proto file")]
    pub mod flowpipeline {
        include!(concat!(env!("OUT_DIR"), "/flowpb.rs"));
    }
    /// goflow v3 and bwNetFlow: `proto/bwnetflow/flow_message.proto`, and sluice's own fields from 10000.
    #[allow(missing_docs, clippy::all, reason = "generated; see the comments of the .proto file")]
    pub mod bwnetflow {
        include!(concat!(env!("OUT_DIR"), "/flowmessageenriched.rs"));
    }
}

mod shared {
    #![allow(clippy::all, reason = "generated")]
    use super::{Flow, proto};

    include!(concat!(env!("OUT_DIR"), "/shared.rs"));
}

/// Nanoseconds in a second and in a millisecond.
const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

impl Flow {
    /// The source address, `None` if absent. An IPv4 address in IPv6 form (`::ffff:a.b.c.d`) becomes IPv4.
    #[must_use]
    pub fn src_ip(&self) -> Option<IpAddr> {
        ip(&self.src_addr)
    }

    /// The destination address, as [`src_ip`](Self::src_ip).
    #[must_use]
    pub fn dst_ip(&self) -> Option<IpAddr> {
        ip(&self.dst_addr)
    }

    /// The address of the router that exported the flow, as [`src_ip`](Self::src_ip).
    #[must_use]
    pub fn sampler_ip(&self) -> Option<IpAddr> {
        ip(&self.sampler_address)
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(bytes));
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// The most precise of several forms of a time that are there.
fn first_of(times: [u64; 3]) -> u64 {
    times.into_iter().find(|time| *time > 0).unwrap_or(0)
}

impl From<proto::flowpipeline::EnrichedFlow> for Flow {
    fn from(mut from: proto::flowpipeline::EnrichedFlow) -> Flow {
        let mut flow = shared::shared_of_flowpipeline(&mut from);
        let seconds = |time: u64| time.saturating_mul(SECOND);
        let millis = |time: u64| time.saturating_mul(MILLI);
        flow.time_received_ns = first_of([flow.time_received_ns, seconds(from.time_received), 0]);
        flow.time_flow_start_ns =
            first_of([flow.time_flow_start_ns, millis(from.time_flow_start_ms), seconds(from.time_flow_start)]);
        flow.time_flow_end_ns =
            first_of([flow.time_flow_end_ns, millis(from.time_flow_end_ms), seconds(from.time_flow_end)]);
        for (to, bw) in
            [(&mut flow.ingress_vrf_id, from.ingress_vrf_id_bw), (&mut flow.egress_vrf_id, from.egress_vrf_id_bw)]
        {
            if *to == 0 {
                *to = bw;
            }
        }
        for (to, bw) in [(&mut flow.src_country, from.src_country_bw), (&mut flow.dst_country, from.dst_country_bw)] {
            if to.is_empty() {
                *to = bw;
            }
        }
        flow
    }
}

impl From<Flow> for proto::flowpipeline::EnrichedFlow {
    fn from(mut from: Flow) -> proto::flowpipeline::EnrichedFlow {
        let mut flow = shared::flowpipeline_of_shared(&mut from);
        flow.time_received = flow.time_received_ns / SECOND;
        flow.time_flow_start_ms = flow.time_flow_start_ns / MILLI;
        flow.time_flow_start = flow.time_flow_start_ns / SECOND;
        flow.time_flow_end_ms = flow.time_flow_end_ns / MILLI;
        flow.time_flow_end = flow.time_flow_end_ns / SECOND;
        flow.ingress_vrf_id_bw = flow.ingress_vrf_id;
        flow.egress_vrf_id_bw = flow.egress_vrf_id;
        flow.src_country_bw = flow.src_country.clone();
        flow.dst_country_bw = flow.dst_country.clone();
        flow
    }
}

impl From<proto::bwnetflow::FlowMessage> for Flow {
    fn from(mut from: proto::bwnetflow::FlowMessage) -> Flow {
        let mut flow = shared::shared_of_bwnetflow(&mut from);
        flow.time_received_ns = from.time_received.saturating_mul(SECOND);
        flow.time_flow_start_ns = from.time_flow_start.saturating_mul(SECOND);
        flow.time_flow_end_ns = from.time_flow_end.saturating_mul(SECOND);
        flow
    }
}

impl From<Flow> for proto::bwnetflow::FlowMessage {
    fn from(mut from: Flow) -> proto::bwnetflow::FlowMessage {
        let mut flow = shared::bwnetflow_of_shared(&mut from);
        flow.time_received = from.time_received_ns / SECOND;
        flow.time_flow_start = from.time_flow_start_ns / SECOND;
        flow.time_flow_end = from.time_flow_end_ns / SECOND;
        flow
    }
}
