//! Batches of ordinary traffic, as an exporter sends it and the decoder reads it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_flow::{Batch, BatchBuilder, Column, ColumnSet, Pool, Schema, Texts, Width};
use sluice_wire::export::{Datagrams, Encoder, EncoderSettings, Flow, Traffic, TrafficSettings, Version};
use sluice_wire::{Decoder, Limits};

use super::Random;

/// N of "1 in N packets" that the exporter says.
const SAMPLING_RATE: u32 = 100;

/// The exporter's address.
const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));

/// An IPFIX exporter and the decoder that reads it.
pub(crate) struct Ordinary {
    traffic: Traffic,
    encoder: Encoder,
    decoder: Decoder,
    builder: BatchBuilder,
    /// Columns that no exporter sends, and that the plugin reads: another plugin would have filled them.
    made_up: Vec<(u16, Width)>,
    random: Random,
    flows: Vec<Flow>,
    datagrams: Datagrams,
}

impl Ordinary {
    /// Traffic for a plugin that reads `reads`.
    pub(crate) fn new(seed: u64, schema: &Arc<Schema>, reads: ColumnSet) -> Ordinary {
        let settings = TrafficSettings { seed, sampling_rate: SAMPLING_RATE, ..TrafficSettings::default() };
        let mut ordinary = Ordinary {
            traffic: Traffic::new(settings),
            encoder: Encoder::new(EncoderSettings::new(Version::Ipfix, 1, SAMPLING_RATE, EXPORTER)),
            decoder: Decoder::new(Arc::clone(schema), ColumnSet::ALL, Limits::default()),
            builder: BatchBuilder::new(Arc::clone(schema), ColumnSet::ALL, Pool::default()),
            made_up: Vec::new(),
            random: Random::new(seed),
            flows: Vec::new(),
            datagrams: Datagrams::default(),
        };
        let probe = ordinary.batch(16, 0, 1_700_000_000_000);
        let missing = reads.iter().filter(|column| !probe.has(*column));
        ordinary.made_up = missing.filter_map(|column| Some((column, schema.width(column)?))).collect();
        ordinary
    }

    /// The next `rows` flows, which end about `now_ms`.
    pub(crate) fn batch(&mut self, rows: usize, id: u64, now_ms: u64) -> Batch {
        self.builder.truncate(0);
        while self.builder.rows() < rows {
            self.traffic.fill(now_ms, rows - self.builder.rows(), &mut self.flows);
            self.datagrams.clear();
            self.encoder.encode(&self.flows, now_ms, &mut self.datagrams);
            let before = self.builder.rows();
            for datagram in self.datagrams.iter() {
                self.decoder.decode(EXPORTER, now_ms.saturating_mul(1_000_000), datagram, &mut self.builder);
            }
            assert!(self.builder.rows() > before, "the exporter's datagrams decode");
        }
        let mut batch = self.builder.finish(id, now_ms);
        for (column, width) in &self.made_up {
            let column_of_rows = made_up(*width, rows, &mut self.random);
            batch.set(*column, column_of_rows).expect("it was made for this column");
        }
        batch
    }
}

/// A few values, each in many rows, as customers, countries and interfaces are.
fn made_up(width: Width, rows: usize, random: &mut Random) -> Column {
    let mut small = || random.below(16);
    match width {
        Width::U8 => Column::U8(Arc::new((0..rows).map(|_| small() as u8).collect())),
        Width::U16 => Column::U16(Arc::new((0..rows).map(|_| small() as u16).collect())),
        Width::U32 => Column::U32(Arc::new((0..rows).map(|_| small() as u32).collect())),
        Width::U64 => Column::U64(Arc::new((0..rows).map(|_| small()).collect())),
        Width::Text => {
            let words = ["", "DE", "FR", "US", "CH", "NL", "JP", "BR"].map(Arc::from).to_vec();
            let codes = (0..rows).map(|_| small() as u32 / 2).collect();
            Column::Text(Arc::new(Texts { words, codes }))
        }
        Width::Lists => {
            let mut lists = sluice_flow::Lists::default();
            (0..rows).for_each(|_| lists.push(&[16 + small() as u32, 64496]));
            Column::Lists(Arc::new(lists))
        }
    }
}
