//! What changes under a collector that runs: plugins, configurations and tables, good and bad.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Collector;
use super::load::POISON;

/// What the plugin's version begins with, in its data.
const VERSION: &[u8] = b"1.0.0-guest-version";

/// Everything that is changed, and how often it was.
pub(super) struct Changes {
    folder: PathBuf,
    plugin: Vec<u8>,
    random: u64,
    made: BTreeMap<&'static str, u64>,
    /// So that no component is the same as one before.
    number: u32,
    shape: usize,
    mode: usize,
}

/// What the plugin is told to do: number its rows, let them pass, trap on poisonous ones.
const MODES: [(&str, u32); 3] = [("count", 0), ("pass", 0), ("trap", POISON)];

impl Changes {
    /// Writes the first configuration.
    pub(super) fn new(folder: &Path, plugin: &[u8], seed: u64) -> Result<Changes, String> {
        let mut changes = Changes {
            folder: folder.to_owned(),
            plugin: plugin.to_vec(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            made: BTreeMap::new(),
            number: 0,
            shape: 0,
            mode: 0,
        };
        // The plugin imports all there is, so all has to be granted.
        changes.write("secret.key", "5a".repeat(32).as_bytes())?;
        changes.write("names.txt", b"no names")?;
        changes.install(1)?;
        changes.table()?;
        changes.configure()?;
        Ok(changes)
    }

    pub(super) fn made(&self) -> u64 {
        self.made.values().sum()
    }

    pub(super) fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        self.made.clone()
    }

    /// Makes a change, and waits for a moment.
    pub(super) fn make_one(&mut self, collector: &Collector, only_swaps: bool, pace: u64) -> Result<(), String> {
        let kind = match self.below(if only_swaps { 25 } else { 100 }) {
            0..25 => {
                let version = 1 + self.below(2) as u8;
                self.install(version)?;
                "plugin exchanged for a good one"
            }
            25..35 => {
                self.install(9)?;
                "plugin exchanged for one that traps after two batches"
            }
            35..42 => {
                // Refuses the state, traps on it, does not know it, refuses its configuration.
                let version = [3, 4, 7, 5][self.below(4) as usize];
                self.install(version)?;
                "plugin exchanged for one that does not start or refuses the state"
            }
            42..48 => {
                self.write("guest.wasm", b"no component")?;
                "plugin file broken"
            }
            48..60 => {
                self.table()?;
                "table exchanged"
            }
            60..63 => {
                self.write("customers.csv", b"no prefix,at all\n")?;
                "table file broken"
            }
            63..82 => {
                self.shape = self.below(6) as usize;
                self.configure()?;
                "stages added, removed or reordered"
            }
            82..93 => {
                self.mode = self.below(MODES.len() as u64) as usize;
                self.configure()?;
                "configuration of the plugin changed"
            }
            _ => {
                self.write("sluice.toml", b"[sources.edge\n")?;
                "configuration broken"
            }
        };
        *self.made.entry(kind).or_insert(0) += 1;
        if self.below(4) > 0 {
            collector.signal("HUP");
        }
        thread::sleep(Duration::from_millis(20 + self.below(pace)));
        Ok(())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Written beside and renamed, as an operator does.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let beside = self.folder.join("new");
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, self.folder.join(name)));
        written.map_err(|error| format!("{name}: {error}"))
    }

    /// Puts a version of the plugin in place.
    fn install(&mut self, version: u8) -> Result<(), String> {
        let mut bytes = self.plugin.clone();
        let places: Vec<usize> =
            bytes.windows(VERSION.len()).enumerate().filter(|(_, at)| *at == VERSION).map(|(at, _)| at).collect();
        for at in places {
            bytes[at] = b'0' + version;
        }
        // A custom section, so that it is another component each time; a few hundred kinds, for the cache has as many.
        self.number += 1;
        let section = [7, b'n', b'u', b'm', b'b', b'e', b'r', b'0', (self.number % 64) as u8];
        bytes.extend([0, section.len() as u8]);
        bytes.extend(section);
        self.write("guest.wasm", &bytes)
    }

    fn table(&mut self) -> Result<(), String> {
        let customer = 1 + self.below(1000);
        self.write("customers.csv", format!("192.0.2.0/24,{customer}\n198.18.0.0/15,7\n").as_bytes())
    }

    /// Writes a configuration of the shape and mode there are now. Every row ends at the one sink, whatever its way.
    fn configure(&mut self) -> Result<(), String> {
        let (mode, arg) = MODES[self.mode];
        let guest = |input: &str| {
            format!(
                "[stages.guest]\ninputs = [\"{input}\"]\nplugin = \"./guest.wasm\"\n\
                 grant = {{ read = [\"src_addr\", \"bytes\", \"src_as\"], write = [\"src_as\", \"customer_id\"], events = true, tables = [\"customers\"], keys = [\"secret\"], assets = [\"names\"] }}\nprivate = false\n\
                 config = {{ mode = \"{mode}\", arg = {arg} }}\ninstances = \"one\"\n"
            )
        };
        let enrich = |input: &str| {
            format!(
                "[stages.enrich]\ninputs = [\"{input}\"]\nplugin = \"enricher\"\n\
                 config = {{ customers = {{ table = \"customers\" }}, proto_name = true }}\n"
            )
        };
        let split = |input: &str, name: &str| {
            format!("[stages.split]\ninputs = [\"{input}\"]\nplugin = \"splitter\"\nconfig = {{ name = \"{name}\" }}\n")
        };
        let (stages, last) = match self.shape {
            0 => (guest("edge"), "guest"),
            1 => (format!("{}{}", guest("edge"), enrich("guest")), "enrich"),
            2 => (format!("{}{}", enrich("edge"), guest("enrich")), "guest"),
            3 => (format!("{}{}", guest("edge"), split("guest", "port-{dst_port}")), "split.*"),
            4 => (format!("{}{}", split("edge", "proto-{proto}"), guest("split.*")), "guest"),
            _ => (enrich("edge"), "enrich"),
        };
        let text = format!(
            "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [sources.edge]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\nbatch_rows = 256\nbatch_delay_ms = 20\nqueue = 256\n\
             [tables.customers]\ntype = \"prefix\"\npath = \"customers.csv\"\n\
             [keys.secret]\npath = \"secret.key\"\n[assets.names]\npath = \"names.txt\"\n\
             {stages}[sinks.out]\ntype = \"stdout\"\nformat = \"json\"\nfields = [\"sequence_num\", \"dst_addr\"]\ninputs = [\"{last}\"]\n"
        );
        self.write("sluice.toml", text.as_bytes())
    }
}
