//! The enricher: customers, direction, countries, autonomous systems, protocol names, scaled counters, interfaces, and
//! names for any number.
//!
//! Lookups are the host's, a column at a time; this side maps codes to numbers and words. What the
//! batch lacks is left out: a column is written only if what it is made of is there.

mod config;
mod direction;
mod memo;
mod names;
mod proto;

use sluice_sdk::kernels::{self, Cmp};
use sluice_sdk::{
    Address, Batch, Bitmap, Column, Denied, Failure, KeyColumns, Manifest, Others, Plugin, Table, Text, columns,
    metrics, rows,
};

pub use config::{AutonomousSystem, Config, Country, Customers, Direction, DirectionMode, Interfaces, Name, Scale};
use direction::{Decider, REMOTE_DESTINATION, REMOTE_SOURCE, SideCodes, Sides};
use memo::{ADDRESS, Numbers};
use names::Named;

/// The plugin.
#[derive(Debug, Default)]
pub struct Enricher {
    direction: Option<(Decider, Drops)>,
    customers: Option<(Numbers, Drops)>,
    /// The table of customers is that of local prefixes too: what was looked up in it serves both.
    is_one_table: bool,
    country: Option<(Table, Drops)>,
    as_numbers: Option<Table>,
    /// Whether numbers of the table replace the exporter's.
    as_overwrite: bool,
    as_names: Option<Table>,
    proto_names: Option<proto::Names>,
    /// Sampling rate of rows that come without one.
    scale: Option<u64>,
    /// Columns from tables of values, by columns that the others may have written.
    names: Vec<Named>,
}

/// Whether rows without a match are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Drops(bool);

impl Plugin for Enricher {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        let config: Config = sluice_sdk::config::parse(config)?;
        config.validate()?;
        *self = Enricher::default();
        if let Some(direction) = &config.direction {
            let decider = Decider::open(direction.mode, direction.table.as_deref())?;
            match decider {
                Decider::Exported(_) => manifest.read(columns::FLOW_DIRECTION),
                Decider::Local(_) => manifest.read(columns::SRC_ADDR).read(columns::DST_ADDR),
            };
            manifest.write(columns::DIRECTION).write(columns::REMOTE_SIDE);
            self.direction = Some((decider, Drops(direction.drop_unmatched)));
        }
        if let Some(customers) = &config.customers {
            let local = config.direction.as_ref().filter(|direction| direction.mode == DirectionMode::Prefixes);
            self.is_one_table = local.is_some_and(|direction| direction.table.as_ref() == Some(&customers.table));
            self.customers =
                Some((Numbers::open("customers.table", &customers.table, ADDRESS)?, Drops(customers.drop_unmatched)));
            manifest.read(columns::SRC_ADDR).read(columns::DST_ADDR).write(columns::CUSTOMER_ID);
            manifest.write(columns::SRC_CUSTOMER_ID).write(columns::DST_CUSTOMER_ID);
        }
        if let Some(country) = &config.country {
            self.country = Some((memo::open("country.table", &country.table, ADDRESS)?, Drops(country.drop_unmatched)));
            manifest.read(columns::SRC_ADDR).read(columns::DST_ADDR).write(columns::REMOTE_COUNTRY);
            manifest.write(columns::SRC_COUNTRY).write(columns::DST_COUNTRY);
        }
        if config.direction.is_none() && (config.customers.is_some() || config.country.is_some()) {
            // An earlier stage may have found out which side is remote.
            manifest.read(columns::REMOTE_SIDE);
        }
        if let Some(system) = &config.autonomous_system {
            manifest.read(columns::SRC_ADDR).read(columns::DST_ADDR);
            if let Some(table) = &system.table {
                self.as_numbers = Some(memo::open("as.table", table, ADDRESS)?);
                self.as_overwrite = system.overwrite;
                manifest.read(columns::SRC_AS).read(columns::DST_AS).write(columns::SRC_AS).write(columns::DST_AS);
            }
            if let Some(names) = &system.names {
                self.as_names = Some(memo::open("as.names", names, ADDRESS)?);
                manifest.write(columns::SRC_AS_NAME).write(columns::DST_AS_NAME);
            }
        }
        if config.proto_name {
            self.proto_names = Some(proto::Names::default());
            manifest.read(columns::PROTO).write(columns::PROTO_NAME);
        }
        if let Some(scale) = &config.scale {
            self.scale = Some(scale.fallback_rate);
            manifest.read(columns::BYTES).read(columns::PACKETS).read(columns::SAMPLING_RATE).read(columns::NORMALIZED);
            manifest.write(columns::SCALED_BYTES).write(columns::SCALED_PACKETS);
        }
        self.names = names::open(&config, manifest)?;
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut keep = None;
        let (remote, codes) = self.direction(batch, &mut keep)?;
        self.customers(batch, remote.as_deref(), codes, &mut keep)?;
        self.country(batch, remote.as_deref(), &mut keep)?;
        self.as_numbers(batch)?;
        self.as_names(batch)?;
        if let Some(names) = &self.proto_names
            && let Some(protos) = batch.find(columns::PROTO)?
        {
            let (words, codes) = names.of(&protos);
            batch.set_texts(columns::PROTO_NAME, &words, &codes)?;
        }
        if let Some(fallback) = self.scale {
            scale(batch, fallback)?;
        }
        for named in &mut self.names {
            named.write(batch)?;
        }
        if let Some(keep) = keep {
            metrics::count("unmatched", (keep.rows() - keep.count()) as u32);
            batch.keep(&keep)?;
        }
        Ok(())
    }
}

impl Enricher {
    /// Writes `direction` and `remote_side`; returns the remote sides if they are known at all, and what was
    /// looked up for that.
    fn direction(
        &self,
        batch: &mut Batch,
        keep: &mut Option<Bitmap>,
    ) -> Result<(Option<Vec<u8>>, Option<SideCodes>), Denied> {
        let Some((decider, drops)) = &self.direction else {
            let wanted = self.customers.is_some() || self.country.is_some();
            return Ok((if wanted { batch.find(columns::REMOTE_SIDE)? } else { None }, None));
        };
        let Sides { direction, remote, codes } = decider.decide(batch)?;
        batch.set(columns::DIRECTION, &direction)?;
        batch.set(columns::REMOTE_SIDE, &remote)?;
        narrow(keep, *drops, direction.len(), |row| direction.get(row).is_some_and(|direction| *direction != 0));
        Ok((Some(remote), codes))
    }

    /// Writes the customers of both sides and of the local one. `looked_up` is what the table of local prefixes answered.
    fn customers(
        &mut self,
        batch: &mut Batch,
        remote: Option<&[u8]>,
        looked_up: Option<SideCodes>,
        keep: &mut Option<Bitmap>,
    ) -> Result<(), Denied> {
        let Some((numbers, drops)) = &mut self.customers else { return Ok(()) };
        numbers.begin();
        let [src, dst] = looked_up.filter(|_| self.is_one_table).map_or([None, None], |codes| codes.map(Some));
        let mut ids = |known: Option<Vec<u32>>, address: Address, column: Column<u32>, batch: &mut Batch| {
            let found = if known.is_some() { known } else { numbers.table.find_columns(batch, address)? };
            let Some(mut codes) = found else { return Ok(None) };
            numbers.resolve(&mut codes);
            batch.set(column, &codes)?;
            Ok(Some(codes))
        };
        let src = ids(src, columns::SRC_ADDR, columns::SRC_CUSTOMER_ID, batch)?;
        let dst = ids(dst, columns::DST_ADDR, columns::DST_CUSTOMER_ID, batch)?;
        let rows = batch.rows();
        let (mut src, dst) = match (src, dst) {
            (None, None) => {
                narrow(keep, *drops, rows, |_| false);
                return Ok(());
            }
            (src, dst) => (src.unwrap_or_else(|| vec![0; rows]), dst.unwrap_or_else(|| vec![0; rows])),
        };
        narrow(keep, *drops, rows, |row| src.get(row).zip(dst.get(row)).is_some_and(|(src, dst)| src | dst != 0));
        match remote {
            Some(remote) => local_ids(&mut src, &dst, remote),
            None => local_ids(&mut src, &dst, &vec![0; rows]),
        }
        batch.set(columns::CUSTOMER_ID, &src)
    }

    /// Writes the countries of both sides and of the remote one.
    fn country(&self, batch: &mut Batch, remote: Option<&[u8]>, keep: &mut Option<Bitmap>) -> Result<(), Denied> {
        let Some((table, drops)) = &self.country else { return Ok(()) };
        let write = |address: Address, column: Text, batch: &mut Batch| {
            table.lookup_into(batch, KeyColumns::address(address), column.id(), None, Others::Blank)
        };
        let has_src = write(columns::SRC_ADDR, columns::SRC_COUNTRY, batch)?;
        let has_dst = write(columns::DST_ADDR, columns::DST_COUNTRY, batch)?;
        if let Some(remote) = remote {
            let sides = [(columns::SRC_ADDR, REMOTE_SOURCE, has_src), (columns::DST_ADDR, REMOTE_DESTINATION, has_dst)];
            let mut others = Others::Blank;
            for (address, side, _) in sides.into_iter().filter(|(_, _, has_address)| *has_address) {
                let rows: Bitmap = remote.iter().map(|remote| *remote == side).collect();
                let column = columns::REMOTE_COUNTRY.id();
                table.lookup_into(batch, KeyColumns::address(address), column, Some(&rows), others)?;
                // What the first has written stays.
                others = Others::Keep;
            }
        }
        if *drops == Drops(true) {
            let codes = |address| Ok(table.find_columns(batch, address)?.unwrap_or_default());
            let (src, dst) = (codes(columns::SRC_ADDR)?, codes(columns::DST_ADDR)?);
            let is_known = |codes: &[u32], row| codes.get(row).is_some_and(|code| *code != 0);
            narrow(keep, *drops, batch.rows(), |row| is_known(&src, row) || is_known(&dst, row));
        }
        Ok(())
    }

    fn as_numbers(&self, batch: &mut Batch) -> Result<(), Denied> {
        let Some(table) = &self.as_numbers else { return Ok(()) };
        for (address, column) in [(columns::SRC_ADDR, columns::SRC_AS), (columns::DST_ADDR, columns::DST_AS)] {
            // The exporter's number counts first, where there is one.
            let rows = if self.as_overwrite { None } else { Some(kernels::test(batch, column, Cmp::Eq, 0)?) };
            table.lookup_into(batch, KeyColumns::address(address), column.id(), rows.as_ref(), Others::Keep)?;
        }
        Ok(())
    }

    fn as_names(&self, batch: &mut Batch) -> Result<(), Denied> {
        let Some(table) = &self.as_names else { return Ok(()) };
        let sides = [(columns::SRC_ADDR, columns::SRC_AS_NAME), (columns::DST_ADDR, columns::DST_AS_NAME)];
        for (address, column) in sides {
            table.lookup_into(batch, KeyColumns::address(address), column.id(), None, Others::Blank)?;
        }
        Ok(())
    }
}

// Loops over rows are functions of their own, not inlined: among the variables of a longer function theirs would
// not stay in registers, which in wasm costs more than the work. They choose between values and not between ways on, so
// that several rows fit into one instruction; what the compiler would make a branch of is chosen by masks, in a plain loop.

/// Puts the customer of the local side in place of the source's. Where the sides are not known: of the only side that has one, or of
/// both if it is the same.
#[inline(never)]
fn local_ids(src: &mut [u32], dst: &[u32], remote: &[u8]) {
    let all_bits_if = |is: bool| u32::from(is).wrapping_neg();
    for ((id, dst), remote) in src.iter_mut().zip(dst).zip(remote) {
        let (src, dst) = (*id, *dst);
        // Of two that are the same or of which one is 0 either says it all.
        let is_one = all_bits_if(src == 0) | all_bits_if(dst == 0) | all_bits_if(src == dst);
        let (is_dst, is_src) = (all_bits_if(*remote == REMOTE_SOURCE), all_bits_if(*remote == REMOTE_DESTINATION));
        *id = dst & is_dst | src & is_src | (src | dst) & is_one & !(is_dst | is_src);
    }
}

/// Takes the rows without a match out of `keep`.
fn narrow(keep: &mut Option<Bitmap>, drops: Drops, rows: usize, matched: impl FnMut(usize) -> bool) {
    if drops == Drops(true) {
        let matched = Bitmap::from_fn(rows, matched);
        *keep = Some(keep.take().map_or_else(|| matched.clone(), |keep| keep.and(&matched)));
    }
}

/// Writes the counters times the sampling rate. What cannot be said in 64 bits stays at the largest number.
fn scale(batch: &mut Batch, fallback: u64) -> Result<(), Denied> {
    let mut rate = batch.find(columns::SAMPLING_RATE)?.unwrap_or_else(|| vec![0; batch.rows()]);
    fill_zeros(&mut rate, fallback);
    // Another program has multiplied already.
    rows::each2(&mut rate, &batch.find(columns::NORMALIZED)?.unwrap_or_default(), |rate, normalized| {
        *rate = if *normalized == 1 { 1 } else { *rate };
    });
    for (from, to) in [(columns::BYTES, columns::SCALED_BYTES), (columns::PACKETS, columns::SCALED_PACKETS)] {
        let Some(mut counters) = batch.find(from)? else { continue };
        multiply(&mut counters, &rate);
        batch.set(to, &counters)?;
    }
    Ok(())
}

#[inline(never)]
fn fill_zeros(values: &mut [u64], fallback: u64) {
    rows::each(values, |value| *value = if *value == 0 { fallback } else { *value });
}

#[inline(never)]
fn multiply(counters: &mut [u64], rate: &[u64]) {
    rows::each2(counters, rate, |counter, rate| {
        // wasm has no 128-bit product to check: the usual case gets by without it.
        let is_small = (*counter | *rate) >> 32 == 0;
        *counter = if is_small { counter.wrapping_mul(*rate) } else { counter.saturating_mul(*rate) };
    });
}

sluice_sdk::export!(Enricher);
