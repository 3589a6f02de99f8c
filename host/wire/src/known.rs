//! What a decoder knows of each exporter, for people to look at: a copy, made when somebody asks.

#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use netflow_parser::variable_versions::ipfix::lookup::{IANAIPFixField, ReverseInformationElement};

use crate::Decoder;
use crate::bytes::{u16_at, u32_at};
use crate::element::{REVERSE_PEN, of_netflow9};
use crate::exporter::Exporter;
use crate::sequence::Seen;
use crate::stats::Protocol;
use crate::template::Template;

/// Sampling rates of one exporter that are copied; there may be more, of as many interfaces.
const MOST_RATES: usize = 32;

/// What is known of one exporter: source address (sFlow: agent), protocol and observation domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownExporter {
    /// Its address.
    pub addr: IpAddr,
    /// `netflow1`, `netflow5`, `netflow7`, `netflow9`, `ipfix` or `sflow`.
    pub protocol: &'static str,
    /// Observation domain; engine type and id of NetFlow v5, sub-agent of sFlow.
    pub domain: u32,
    /// Datagrams (IPFIX: messages) that came.
    pub datagrams: u64,
    /// Flow records decoded.
    pub records: u64,
    /// What sequence numbers say was sent and did not come: datagrams of NetFlow v9 and sFlow, records of NetFlow v5,
    /// v7 and IPFIX.
    pub missing: u64,
    /// Places in the sequence where something is missing.
    pub gaps: u64,
    /// Datagrams that came after later ones.
    pub late: u64,
    /// Jumps of the sequence that can only be a restart.
    pub resets: u64,
    /// When the last datagram came, in nanoseconds since the Unix epoch.
    pub last_ns: u64,
    /// Sampling rates that it announced, 32 at most.
    pub rates: Vec<KnownRate>,
    /// Its templates, by number.
    pub templates: Vec<KnownTemplate>,
}

/// A sampling rate, N of "1 in N packets", and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRate {
    /// `exporter`, `sampler` or `interface`.
    pub of: &'static str,
    /// Number of the sampler or interface; 0 of the exporter as a whole.
    pub id: u32,
    /// The rate.
    pub rate: u64,
}

/// A template in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTemplate {
    /// Its number.
    pub id: u16,
    /// Whether it describes options data.
    pub is_options: bool,
    /// When it was defined, in nanoseconds since the Unix epoch. Repetitions do not count.
    pub learned_ns: u64,
    is_ipfix: bool,
    record: Box<[u8]>,
}

/// A field of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownField {
    /// Private enterprise number; 0 for IANA's elements.
    pub enterprise: u32,
    /// Number of the information element; for a scope of NetFlow v9, of the kind of scope.
    pub element: u16,
    /// Bytes; 65535: each record gives its own number.
    pub length: u16,
    /// Whether it is a scope of options data.
    pub is_scope: bool,
    /// Name of the element, where it is one of IANA's or the reverse of one.
    pub name: Option<String>,
}

impl Decoder {
    /// A copy of what is known of the exporters that sent last, `most` at most, and how many are left out. Takes time and
    /// memory in proportion.
    #[must_use]
    pub fn known(&self, most: usize) -> (Vec<KnownExporter>, usize) {
        let of_sflow = self
            .sflow
            .sequences
            .iter()
            .map(|((agent, sub_agent), sequence)| of_counts(*agent, Protocol::Sflow, *sub_agent, &sequence.seen));
        let by_recency = self.exporters.by_recency().map(|(key, exporter)| {
            let known = of_counts(key.addr, key.protocol, key.domain, &exporter.sequence.seen);
            with_memory(known, exporter, key.protocol)
        });
        let all =
            usize::try_from(self.stats.exporters).unwrap_or(usize::MAX).saturating_add(self.sflow.sequences.len());
        let known: Vec<KnownExporter> = by_recency.chain(of_sflow).take(most).collect();
        let left_out = all.saturating_sub(known.len());
        (known, left_out)
    }
}

fn of_counts(addr: IpAddr, protocol: Protocol, domain: u32, seen: &Seen) -> KnownExporter {
    let Seen { datagrams, records, missing, gaps, late, resets, last_ns, header_rate } = *seen;
    let rates = match header_rate {
        0 => Vec::new(),
        rate => vec![KnownRate { of: "exporter", id: 0, rate }],
    };
    let protocol = protocol.name();
    let templates = Vec::new();
    KnownExporter { addr, protocol, domain, datagrams, records, missing, gaps, late, resets, last_ns, rates, templates }
}

/// Adds what options data and templates said.
fn with_memory(mut known: KnownExporter, exporter: &Exporter, protocol: Protocol) -> KnownExporter {
    let rates = exporter.sampling.rates().map(|(of, id, rate)| KnownRate { of, id, rate });
    known.rates.extend(rates.take(MOST_RATES));
    let template = |(id, template): &(u16, Template)| KnownTemplate {
        id: *id,
        is_options: template.is_options,
        learned_ns: template.learned_ns,
        is_ipfix: protocol == Protocol::Ipfix,
        record: template.record.clone(),
    };
    known.templates = exporter.templates().iter().map(template).collect();
    known
}

impl KnownTemplate {
    /// Its fields, in the order of the record.
    #[must_use]
    pub fn fields(&self) -> Vec<KnownField> {
        let record = &*self.record;
        let second = usize::from(u16_at(record, 2).unwrap_or(0));
        let third = usize::from(u16_at(record, 4).unwrap_or(0));
        // Number of fields in all, and how many of the first of them are scope.
        let (total, scope) = match (self.is_ipfix, self.is_options) {
            (_, false) => (second, 0),
            (true, true) => (second, third),
            (false, true) => (second / 4 + third / 4, second / 4),
        };
        let mut at = if self.is_options { 6 } else { 4 };
        let mut fields = Vec::new();
        for nth in 0..total {
            let (Some(id), Some(length)) = (u16_at(record, at), u16_at(record, at + 2)) else { break };
            at += 4;
            let is_scope = nth < scope;
            let (element, enterprise) = if self.is_ipfix && id & 0x8000 != 0 {
                at += 4;
                (id & 0x7fff, u32_at(record, at - 4).unwrap_or(0))
            } else {
                (id, 0)
            };
            let name = match (is_scope, self.is_ipfix) {
                (true, false) => scope_name(element).map(str::to_owned),
                (_, true) => name(enterprise, element),
                (_, false) => name(0, of_netflow9(element)),
            };
            fields.push(KnownField { enterprise, element, length, is_scope, name });
        }
        fields
    }
}

/// Kinds of scope of NetFlow v9 (RFC 3954, section 6.1).
fn scope_name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        1 => "system",
        2 => "interface",
        3 => "lineCard",
        4 => "netFlowCache",
        5 => "template",
        _ => return None,
    })
}

/// Name of an information element, as IANA writes it.
fn name(enterprise: u32, element: u16) -> Option<String> {
    // Of the two lists that netflow_parser has, the one of reverse elements is spelt as IANA does.
    let reverse = match ReverseInformationElement::from(element) {
        ReverseInformationElement::Unknown(_) => None,
        known => Some(format!("{known:?}")),
    };
    let name = match (enterprise, reverse) {
        (REVERSE_PEN, reverse) => reverse?,
        (0, Some(reverse)) => reverse.strip_prefix("Reverse").unwrap_or(&reverse).to_owned(),
        (0, None) => match IANAIPFixField::from(element) {
            IANAIPFixField::Unknown(_) => return None,
            known => format!("{known:?}"),
        },
        _ => return None,
    };
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};

    use super::*;
    use crate::Limits;

    /// Decodes datagrams, each received a second after the one before, and writes what is known then.
    fn check(datagrams: &[Vec<u8>], most: usize, expected: Expect) {
        let schema = Arc::new(Schema::standard());
        let mut decoder = Decoder::new(Arc::clone(&schema), ColumnSet::ALL, Limits::default());
        let mut out = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
        for (seconds, datagram) in (1..).zip(datagrams) {
            decoder.decode([192, 0, 2, 1].into(), seconds * 1_000_000_000, datagram, &mut out);
        }
        let (known, left_out) = decoder.known(most);
        let mut text = String::new();
        for known in &known {
            let KnownExporter { addr, protocol, domain, datagrams, records, .. } = known;
            let KnownExporter { missing, gaps, late, resets, last_ns, rates, templates, .. } = known;
            writeln!(
                text,
                "{addr} {protocol} {domain}: {datagrams} datagrams {records} records, missing {missing} in {gaps}, \
                 late {late}, resets {resets}, last {}s",
                last_ns / 1_000_000_000
            )
            .unwrap();
            for KnownRate { of, id, rate } in rates {
                writeln!(text, "  1 in {rate} of {of} {id}").unwrap();
            }
            for template in templates {
                writeln!(
                    text,
                    "  {} options={} at {}s",
                    template.id,
                    template.is_options,
                    template.learned_ns / 1_000_000_000
                )
                .unwrap();
                for KnownField { enterprise, element, length, is_scope, name } in template.fields() {
                    let name = name.as_deref().unwrap_or("?");
                    writeln!(text, "    {enterprise}/{element} {length} scope={is_scope} {name}").unwrap();
                }
            }
        }
        writeln!(text, "{left_out} left out").unwrap();
        expected.assert_eq(&text);
    }

    /// Two bytes each.
    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// A NetFlow v9 datagram.
    fn v9(sequence: u16, domain: u16, sets: &[u16]) -> Vec<u8> {
        words(&[&[9, 1, 0, 0, 0, 0, 0, sequence, 0, domain], sets].concat())
    }

    #[test]
    fn counts_rates_and_templates_are_those_of_the_exporter() {
        let template = [0, 16, 256, 2, 8, 4, 40_001, 4];
        let options = [1, 20, 257, 4, 4, 1, 4, 34, 4, 0];
        let datagrams = [
            v9(1, 7, &template),
            v9(2, 7, &options),
            v9(3, 7, &[257, 12, 0, 1, 0, 100]),
            // The template again: nothing new.
            v9(9, 7, &template),
            v9(10, 7, &[256, 20, 1, 1, 2, 2, 3, 3, 4, 4]),
        ];
        check(
            &datagrams,
            8,
            expect![[r#"
            192.0.2.1 netflow9 7: 5 datagrams 2 records, missing 5 in 1, late 0, resets 0, last 5s
              1 in 100 of exporter 0
              256 options=false at 1s
                0/8 4 scope=false sourceIPv4Address
                0/40001 4 scope=false postNATSourceIPv4Address
              257 options=true at 2s
                0/1 4 scope=true system
                0/34 4 scope=false samplingInterval
            0 left out
        "#]],
        );
    }

    #[test]
    fn enterprise_and_reverse_elements_of_ipfix_are_told_apart() {
        let set = [2, 28, 256, 3, 8, 4, 0x8001, 8, 0, 29_305, 0x8064, 65_535, 0, 9];
        let length = 16 + 28;
        let message = words(&[&[10, length, 0, 0, 0, 0, 0, 3], &set[..]].concat());
        check(
            &[message],
            8,
            expect![[r#"
            192.0.2.1 ipfix 3: 1 datagrams 0 records, missing 0 in 0, late 0, resets 0, last 1s
              256 options=false at 1s
                0/8 4 scope=false sourceIPv4Address
                29305/1 8 scope=false reverseOctetDeltaCount
                9/100 65535 scope=false ?
            0 left out
        "#]],
        );
    }

    #[test]
    fn the_exporters_that_sent_last_come_first_and_the_others_are_counted() {
        check(
            &[v9(1, 1, &[]), v9(1, 2, &[]), v9(1, 3, &[]), v9(2, 2, &[])],
            2,
            expect![[r#"
            192.0.2.1 netflow9 2: 2 datagrams 0 records, missing 0 in 0, late 0, resets 0, last 4s
            192.0.2.1 netflow9 3: 1 datagrams 0 records, missing 0 in 0, late 0, resets 0, last 3s
            1 left out
        "#]],
        );
    }
}
