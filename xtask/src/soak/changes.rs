//! What changes under a collector that runs: plugins, configurations and tables, good and bad, by files and by command.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::asks::{Asks, Must, Outcomes, Who};
use super::collector::{Collector, get};
use super::folder::{Folder, MODES, SHAPES};
use super::metrics::exchanges;

/// Everything that is changed, and how often it was.
pub(super) struct Changes {
    folder: Folder,
    /// None: nothing is asked for, only files change.
    asks: Option<Asks>,
    random: u64,
    made: BTreeMap<&'static str, u64>,
}

/// Versions of the plugin that work.
const GOOD: [u8; 2] = [1, 2];
/// One that refuses its configuration.
const REFUSES: u8 = 5;
/// One that traps after two batches.
const TRAPS: u8 = 9;
/// How long an exchange may take, with whatever else the machine does, until the next one is made all the same.
const EXCHANGE_TIME: Duration = Duration::from_secs(2);
/// How often the collector is asked whether it is done.
const LOOK: Duration = Duration::from_millis(10);

impl Changes {
    /// Writes the first configuration.
    pub(super) fn new(folder: &Path, plugin: &[u8], seed: u64, asks: Option<Asks>) -> Result<Changes, String> {
        let folder = Folder::new(folder, plugin, asks.is_some())?;
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Ok(Changes { folder, asks, random, made: BTreeMap::new() })
    }

    /// How many changes there were.
    pub(super) fn made(&self) -> u64 {
        let asked: u64 = self.outcomes().values().map(|outcomes| outcomes.done + outcomes.refused).sum();
        self.made.values().sum::<u64>() + asked
    }

    pub(super) fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        self.made.clone()
    }

    /// What came of each kind of command.
    pub(super) fn outcomes(&self) -> BTreeMap<&'static str, Outcomes> {
        self.asks.as_ref().map(Asks::outcomes).unwrap_or_default()
    }

    /// What did not come as it must.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.asks.as_ref().map(Asks::wrong).unwrap_or_default()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Exchanges the plugin for another good one, waits until the collector has counted it, and for a moment. Returns how many it
    /// has counted by now.
    pub(super) fn swap(&mut self, collector: &Collector, pace: u64) -> Result<u64, String> {
        let began = Instant::now();
        let counted = || get(collector.admin, "/metrics").map(|page| exchanges(&page));
        let before = counted()?;
        let made = self.made.entry("plugin exchanged for a good one").or_insert(0);
        *made += 1;
        self.folder.install("guest.wasm", GOOD[*made as usize % GOOD.len()])?;
        collector.signal(Signal::HUP);
        let mut now = before;
        while now == before && began.elapsed() < EXCHANGE_TIME {
            thread::sleep(LOOK);
            now = counted()?;
        }
        let next = Duration::from_millis(20 + self.below(pace));
        thread::sleep(next.saturating_sub(began.elapsed()));
        Ok(now)
    }

    /// Makes a change, and waits for a moment.
    pub(super) fn make_one(&mut self, collector: &Collector, pace: u64) -> Result<(), String> {
        match self.asks.take() {
            Some(mut asks) if self.below(2) == 0 => {
                let made = self.by_command(collector, &mut asks);
                self.asks = Some(asks);
                made?;
            }
            asks => {
                self.asks = asks;
                let kind = self.by_file()?;
                *self.made.entry(kind).or_insert(0) += 1;
                if self.below(4) > 0 {
                    collector.signal(Signal::HUP);
                }
            }
        }
        thread::sleep(Duration::from_millis(20 + self.below(pace)));
        Ok(())
    }

    /// Changes a file that the collector looks at.
    fn by_file(&mut self) -> Result<&'static str, String> {
        let file = self.one_of(&["guest.wasm", "apart.wasm"]);
        Ok(match self.below(100) {
            0..25 => {
                let version = self.one_of(&GOOD);
                self.folder.install(file, version)?;
                "plugin exchanged for a good one"
            }
            25..35 => {
                self.folder.install(file, TRAPS)?;
                "plugin exchanged for one that traps after two batches"
            }
            35..42 => {
                // Refuses the state, traps on it, does not know it, refuses its configuration.
                let version = self.one_of(&[3, 4, 7, REFUSES]);
                self.folder.install(file, version)?;
                "plugin exchanged for one that does not start or refuses the state"
            }
            42..48 => {
                self.folder.write(file, b"no component")?;
                "plugin file broken"
            }
            48..58 => {
                let number = 1 + self.below(1000);
                if self.below(2) == 0 {
                    self.folder.customers(number)?;
                } else {
                    self.folder.services(number)?;
                }
                "table exchanged"
            }
            58..61 => {
                if self.below(2) == 0 {
                    self.folder.write("customers.csv", b"no prefix,at all\n")?;
                } else {
                    self.folder.write("services.csv", b"443,twice\n443,the same\n")?;
                }
                "table file broken"
            }
            61..79 => {
                self.folder.shape = self.below(SHAPES) as usize;
                self.folder.configure()?;
                "stages added, removed or reordered"
            }
            79..87 => {
                self.folder.mode = self.below(MODES.len() as u64) as usize;
                self.folder.configure()?;
                "configuration of the plugin changed"
            }
            87..94 => {
                self.folder.is_turned = !self.folder.is_turned;
                self.folder.configure()?;
                "file sink changed"
            }
            _ => {
                self.folder.write("sluice.toml", b"[sources.edge\n")?;
                "configuration broken"
            }
        })
    }

    /// Does something with a command, as an operator or the tenant does.
    fn by_command(&mut self, collector: &Collector, asks: &mut Asks) -> Result<(), String> {
        let operator = (Who::Operator, Must::Either);
        let stage = self.one_of(self.folder.stages());
        match self.below(100) {
            0..9 => {
                let version = self.one_of(&GOOD);
                self.folder.install(&format!("{stage}.wasm"), version)?;
                asks.ask(collector, "plugin swap", operator, &["plugin", "swap", stage])?;
            }
            9..20 => {
                let version = self.one_of(&[1, 2, TRAPS, REFUSES]);
                let every = (1 + self.below(10)).to_string();
                self.folder.install("next.wasm", version)?;
                let args = ["plugin", "shadow", stage, "--plugin", "next.wasm", "--every", &every];
                asks.ask(collector, "plugin shadow", operator, &args)?;
            }
            20..29 => asks.ask(collector, "plugin promote", operator, &["plugin", "promote", stage])?,
            29..31 => asks.ask(collector, "plugin shadow --end", operator, &["plugin", "shadow", stage, "--end"])?,
            31..36 => asks.ask(collector, "plugin rollback", operator, &["plugin", "rollback", stage])?,
            36..40 => {
                asks.ask(collector, "plugin quarantine", operator, &["plugin", "quarantine", stage])?;
                thread::sleep(Duration::from_millis(20 + self.below(200)));
                asks.ask(collector, "plugin release", operator, &["plugin", "release", stage])?;
            }
            40..44 => asks.ask(collector, "reload", operator, &["reload"])?,
            44..48 => {
                let customer = 1 + self.below(1000);
                self.folder.customers(customer)?;
                let must = (Who::Operator, Must::BeDone);
                asks.ask(collector, "tables reload", must, &["tables", "reload", "customers"])?;
            }
            48..50 => asks.ask(collector, "status", (Who::Operator, Must::BeDone), &["status"])?,
            50..56 => {
                let node = self.one_of(&["edge", "guest", "apart", "enrich", "out", "acme-rows"]);
                asks.tail(collector, "tail by an operator", Who::Operator, node)?;
            }
            56..60 => {
                let node = self.one_of(&["acme:select", "acme:web"]);
                asks.tail(collector, "tail by the tenant", Who::Tenant, node)?;
            }
            60..65 => {
                if !self.folder.stages().contains(&"apart") {
                    self.folder.shape = 6;
                    self.folder.configure()?;
                }
                asks.ask(collector, "reload", operator, &["reload"])?;
                if collector.kill_process() {
                    *self.made.entry("process for plugins killed").or_insert(0) += 1;
                }
            }
            _ => self.by_tenant(collector, asks)?,
        }
        Ok(())
    }

    /// Does something as the tenant, with its token.
    fn by_tenant(&mut self, collector: &Collector, asks: &mut Asks) -> Result<(), String> {
        let tenant = |must| (Who::Tenant, must);
        let file = self.folder.path("sent.wasm");
        let every = (1 + self.below(10)).to_string();
        let upload = ["tenant", "upload", "acme", "web", &file, "--every", &every];
        match self.below(100) {
            0..30 => {
                let version = self.one_of(&GOOD);
                self.folder.install("sent.wasm", version)?;
                asks.ask(collector, "tenant upload of a good one", tenant(Must::BeDone), &upload)?;
            }
            30..40 => {
                self.folder.install("sent.wasm", TRAPS)?;
                asks.ask(collector, "tenant upload of one that traps", tenant(Must::BeDone), &upload)?;
            }
            40..46 => {
                self.folder.install("sent.wasm", REFUSES)?;
                asks.ask(collector, "tenant upload of a bad one", tenant(Must::BeRefused), &upload)?;
            }
            46..52 => {
                self.folder.write("sent.wasm", b"no component")?;
                asks.ask(collector, "tenant upload of a bad one", tenant(Must::BeRefused), &upload)?;
            }
            52..56 => {
                // A tenant asks for what is the operator's.
                let args = ["plugin", "rollback", "guest"];
                asks.ask(collector, "a tenant as an operator", tenant(Must::BeRefused), &args)?;
            }
            56..80 => {
                asks.ask(collector, "tenant promote", tenant(Must::Either), &["tenant", "promote", "acme", "web"])?;
            }
            80..90 => {
                let args = ["tenant", "rollback", "acme", "web"];
                asks.ask(collector, "tenant rollback", tenant(Must::Either), &args)?;
            }
            90..95 => {
                asks.ask(collector, "tenant remove", tenant(Must::Either), &["tenant", "remove", "acme", "web"])?;
            }
            _ => asks.ask(collector, "tenant show", tenant(Must::BeDone), &["tenant", "show", "acme"])?,
        }
        Ok(())
    }
}
