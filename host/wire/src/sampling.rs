//! Sampling rates that exporters announce in options data.

use crate::element::{
    INGRESS_INTERFACE, PACKET_INTERVAL, PACKET_SPACE, PHYSICAL_INTERFACE, SAMPLER_ID, SAMPLER_INTERVAL,
    SAMPLING_INTERVAL, SAMPLING_POPULATION, SAMPLING_PROBABILITY, SAMPLING_SIZE, SELECTOR_ID, SYSTEM_INIT_TIME,
};
use crate::source::{one_in, one_in_probability};

/// Samplers, and interfaces, of which one exporter's rates are kept.
pub(crate) const MAX_RATES: usize = 1_024;

/// A field of an options record. A NetFlow v9 scope "interface" is one of element 10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionField {
    /// Whether it says what the record is about, rather than something about it.
    pub(crate) is_scope: bool,
    /// Number of the element, IANA's only.
    pub(crate) id: u16,
    /// Its bytes as a number.
    pub(crate) number: u64,
    /// Its first eight bytes, for those that are no numbers.
    pub(crate) bytes: ([u8; 8], u8),
}

impl OptionField {
    /// A field with these bytes.
    pub(crate) fn new(is_scope: bool, id: u16, bytes: &[u8]) -> OptionField {
        let mut first = [0; 8];
        let len = bytes.len().min(8);
        first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        OptionField { is_scope, id, number: crate::bytes::number(bytes), bytes: (first, len as u8) }
    }
}

/// What one exporter (address, protocol and observation domain) said in options data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sampling {
    default: Option<u64>,
    samplers: Vec<(u32, u64)>,
    interfaces: Vec<(u32, u64)>,
    /// Element 160: when the exporter started, in milliseconds since the Unix epoch, or 0.
    pub(crate) init_ms: u64,
}

/// What became of an options record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// It says nothing that is used here.
    Nothing,
    /// What it says is in force.
    Something,
    /// There was no room for the rate it gives.
    NoRoom,
}

impl Sampling {
    /// The rates that were given: what of, its number, and the rate.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&'static str, u32, u64)> + '_ {
        let default = self.default.map(|rate| ("exporter", 0, rate));
        let samplers = self.samplers.iter().map(|(id, rate)| ("sampler", *id, *rate));
        let interfaces = self.interfaces.iter().map(|(id, rate)| ("interface", *id, *rate));
        default.into_iter().chain(samplers).chain(interfaces)
    }

    /// Nothing was said.
    pub(crate) const NONE: Sampling =
        Sampling { default: None, samplers: Vec::new(), interfaces: Vec::new(), init_ms: 0 };

    /// Takes in one record of options data.
    ///
    /// A rate is that of the sampler it names (elements 48 and 302, in the scope or not), else of
    /// the interface that is its scope, else of all flows of the observation domain.
    pub(crate) fn learn(&mut self, record: &[OptionField]) -> Learned {
        let mut learned = Learned::Nothing;
        if let Some(init) = find(record, SYSTEM_INIT_TIME) {
            self.init_ms = init.number;
            learned = Learned::Something;
        }
        let Some(rate) = rate(record) else { return learned };
        let sampler = find(record, SELECTOR_ID).or(find(record, SAMPLER_ID));
        let interface =
            record.iter().find(|field| field.is_scope && [INGRESS_INTERFACE, PHYSICAL_INTERFACE].contains(&field.id));
        let kept = match (sampler, interface) {
            (Some(sampler), _) => put(&mut self.samplers, sampler.number as u32, rate),
            (None, Some(interface)) => put(&mut self.interfaces, interface.number as u32, rate),
            (None, None) => {
                self.default = Some(rate);
                true
            }
        };
        if kept { Learned::Something } else { Learned::NoRoom }
    }

    /// The rate of a row with this sampler and input interface, if options data gave one for them.
    pub(crate) fn rate(&self, sampler: Option<u32>, interface: Option<u32>) -> Option<u64> {
        let of = |rates: &[(u32, u64)], key: Option<u32>| {
            let at = rates.binary_search_by_key(&key?, |(key, _)| *key).ok()?;
            rates.get(at).map(|(_, rate)| *rate)
        };
        of(&self.samplers, sampler).or_else(|| of(&self.interfaces, interface))
    }

    /// The rate of rows that name no sampler: the one given for the whole domain, or that of the only
    /// sampler there is.
    pub(crate) fn default_rate(&self) -> Option<u64> {
        self.default.or(match self.samplers.as_slice() {
            [(_, rate)] => Some(*rate),
            _ => None,
        })
    }

    /// Whether rates by sampler are known.
    pub(crate) fn has_samplers(&self) -> bool {
        !self.samplers.is_empty()
    }

    /// Whether rates by interface are known.
    pub(crate) fn has_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
    }
}

fn find(record: &[OptionField], id: u16) -> Option<&OptionField> {
    record.iter().find(|field| field.id == id)
}

/// N of "one in N", if the record says one.
fn rate(record: &[OptionField]) -> Option<u64> {
    let number = |id: u16| find(record, id).map(|field| field.number);
    if let Some(rate) = number(SAMPLING_INTERVAL).or(number(SAMPLER_INTERVAL)) {
        return Some(rate);
    }
    if let Some(interval) = number(PACKET_INTERVAL) {
        return Some(match number(PACKET_SPACE) {
            Some(space) => one_in(interval.saturating_add(space), interval),
            None => interval,
        });
    }
    if let (Some(size), Some(population)) = (number(SAMPLING_SIZE), number(SAMPLING_POPULATION)) {
        return Some(one_in(population, size));
    }
    let (bytes, len) = find(record, SAMPLING_PROBABILITY)?.bytes;
    bytes.get(..usize::from(len)).map(one_in_probability)
}

/// Puts a rate in its place by key; false if there is no room.
fn put(rates: &mut Vec<(u32, u64)>, key: u32, rate: u64) -> bool {
    match rates.binary_search_by_key(&key, |(key, _)| *key) {
        Ok(at) => {
            if let Some(slot) = rates.get_mut(at) {
                slot.1 = rate;
            }
            true
        }
        Err(at) if rates.len() < MAX_RATES => {
            rates.insert(at, (key, rate));
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(u16, u64)]) -> Vec<OptionField> {
        fields.iter().map(|(id, number)| OptionField::new(false, *id, &number.to_be_bytes())).collect()
    }

    #[test]
    fn a_rate_belongs_to_the_sampler_it_names_and_others_keep_the_default() {
        let mut sampling = Sampling::default();
        assert_eq!(sampling.learn(&record(&[(SAMPLER_ID, 1), (SAMPLER_INTERVAL, 100)])), Learned::Something);
        assert_eq!(sampling.default_rate(), Some(100), "the only sampler there is");
        sampling.learn(&record(&[(SELECTOR_ID, 2), (PACKET_INTERVAL, 1), (PACKET_SPACE, 999)]));
        assert_eq!(sampling.default_rate(), None, "two samplers leave it open");
        sampling.learn(&record(&[(SAMPLING_INTERVAL, 10)]));
        assert_eq!((sampling.rate(Some(1), None), sampling.rate(Some(2), None)), (Some(100), Some(1000)));
        assert_eq!((sampling.rate(Some(3), None), sampling.default_rate()), (None, Some(10)));
    }

    #[test]
    fn an_interface_as_scope_limits_the_rate_to_it() {
        let mut sampling = Sampling::default();
        let mut fields = record(&[(SAMPLING_INTERVAL, 64)]);
        fields.insert(0, OptionField::new(true, INGRESS_INTERFACE, &[0, 7]));
        sampling.learn(&fields);
        assert_eq!((sampling.rate(None, Some(7)), sampling.rate(None, Some(8))), (Some(64), None));
        assert_eq!(sampling.default_rate(), None);
    }

    #[test]
    fn every_way_to_write_a_rate_is_read() {
        let rates = [
            record(&[(PACKET_INTERVAL, 500)]),
            record(&[(SAMPLING_SIZE, 2), (SAMPLING_POPULATION, 1000)]),
            vec![OptionField::new(false, SAMPLING_PROBABILITY, &0.002_f64.to_be_bytes())],
        ];
        assert_eq!(rates.map(|fields| rate(&fields)), [Some(500); 3]);
        assert_eq!(rate(&record(&[(SAMPLING_SIZE, 0), (SAMPLING_POPULATION, 5)])), Some(0));
    }

    #[test]
    fn an_exporter_cannot_name_samplers_without_end() {
        let mut sampling = Sampling::default();
        for id in 0..MAX_RATES as u64 {
            assert_eq!(sampling.learn(&record(&[(SAMPLER_ID, id), (SAMPLER_INTERVAL, 2)])), Learned::Something);
        }
        assert_eq!(sampling.learn(&record(&[(SAMPLER_ID, 5_000), (SAMPLER_INTERVAL, 2)])), Learned::NoRoom);
        assert_eq!(sampling.learn(&record(&[(SAMPLER_ID, 5), (SAMPLER_INTERVAL, 3)])), Learned::Something);
    }
}
