//! The files of the collector that is changed: its configuration, plugins and tables.

use std::fs;
use std::path::{Path, PathBuf};

use super::load::{POISON, TENANTS_PREFIX};

/// What the plugin's version begins with, in its data.
const VERSION: &[u8] = b"1.0.0-guest-version";
/// Where the rows of the tenant go, a named pipe.
pub(super) const TENANTS_ROWS: &str = "acme.json";
/// What the plugin is told to do: number its rows, let them pass, trap on poisonous ones.
pub(super) const MODES: [(&str, u32); 3] = [("count", 0), ("pass", 0), ("trap", POISON)];
/// Ways that the stages can be put together.
pub(super) const SHAPES: u64 = 8;
/// The plugin imports all there is, so all has to be granted.
const GRANT: &str = "grant = { read = [\"src_addr\", \"bytes\", \"src_as\"], write = [\"src_as\", \"customer_id\"], \
                     events = true, tables = [\"customers\"], keys = [\"secret\"], assets = [\"names\"] }\n";

/// Kinds of each version: with a few versions some hundreds of components, for the cache of compiled ones has as many.
const KINDS: u32 = 64;
/// The same where exchanges are to cost little, next to the flows: what is put in place is compiled already, most times.
const FEW_KINDS: u32 = 3;

/// The folder, with what is in it by turns.
pub(super) struct Folder {
    path: PathBuf,
    plugin: Vec<u8>,
    /// Where in the plugin its version stands.
    versions: Vec<usize>,
    /// So that no component is the same as one before.
    number: u32,
    /// How many kinds of a version there are, by turns: another digest each.
    kinds: u32,
    /// Whether there are tokens and a tenant.
    has_tenant: bool,
    pub(super) shape: usize,
    pub(super) mode: usize,
    /// Which fields the file of the tenant's rows has first.
    pub(super) is_turned: bool,
}

impl Folder {
    /// Writes everything that there is at first.
    pub(super) fn new(path: &Path, plugin: &[u8], has_tenant: bool) -> Result<Folder, String> {
        let mut folder = Folder {
            path: path.to_owned(),
            plugin: plugin.to_vec(),
            versions: versions(plugin),
            number: 0,
            kinds: if has_tenant { KINDS } else { FEW_KINDS },
            has_tenant,
            shape: 0,
            mode: 0,
            is_turned: false,
        };
        folder.write("secret.key", "5a".repeat(32).as_bytes())?;
        folder.write("names.txt", b"no names")?;
        fs::create_dir(path.join("acme")).map_err(|error| error.to_string())?;
        folder.install("guest.wasm", 1)?;
        folder.install("apart.wasm", 1)?;
        folder.customers(1)?;
        folder.services(1)?;
        folder.configure()?;
        Ok(folder)
    }

    /// Stages of this shape whose plugin is a file; one that is there no more, if there is none.
    pub(super) fn stages(&self) -> &'static [&'static str] {
        match self.shape {
            6 => &["guest", "apart"],
            7 => &["apart"],
            _ => &["guest"],
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Written beside and renamed, as an operator does.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let beside = self.path.join("new");
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, self.path.join(name)));
        written.map_err(|error| format!("{name}: {error}"))
    }

    /// Puts a version of the plugin in place.
    pub(super) fn install(&mut self, file: &str, version: u8) -> Result<(), String> {
        let mut bytes = self.plugin.clone();
        for at in &self.versions {
            bytes[*at] = b'0' + version;
        }
        // A custom section, so that it is another component each time.
        self.number += 1;
        let section = [7, b'n', b'u', b'm', b'b', b'e', b'r', b'0', (self.number % self.kinds) as u8];
        bytes.extend([0, section.len() as u8]);
        bytes.extend(section);
        self.write(file, &bytes)
    }

    /// Writes the table of values with this service in it.
    pub(super) fn services(&self, service: u64) -> Result<(), String> {
        self.write("services.csv", format!("443,service-{service}\n80,http\n").as_bytes())
    }

    /// Writes the table of prefixes with this customer in it.
    pub(super) fn customers(&self, customer: u64) -> Result<(), String> {
        self.write("customers.csv", format!("192.0.2.0/24,{customer}\n198.18.0.0/15,7\n").as_bytes())
    }

    /// Writes a configuration of the shape and mode there are now. Every row ends at the one sink, whatever its way, and a
    /// copy of those of the tenant at the tenant's.
    pub(super) fn configure(&self) -> Result<(), String> {
        let (mode, arg) = MODES[self.mode];
        let guest = |name: &str, input: &str, isolation: &str| {
            format!(
                "[stages.{name}]\ninputs = [\"{input}\"]\nplugin = \"./{name}.wasm\"\nisolation = \"{isolation}\"\n\
                 {GRANT}private = false\nconfig = {{ mode = \"{mode}\", arg = {arg} }}\ninstances = \"one\"\n"
            )
        };
        let here = |input: &str| guest("guest", input, "thread");
        let apart = |input: &str| guest("apart", input, "process");
        let enrich = |input: &str| {
            format!(
                "[stages.enrich]\ninputs = [\"{input}\"]\nplugin = \"enricher\"\n\
                 config = {{ customers = {{ table = \"customers\" }}, proto_name = true, \
                 names = [{{ table = \"services\", key = [\"dst_port\"], column = \"note\" }}] }}\n"
            )
        };
        let split = |input: &str, name: &str| {
            format!("[stages.split]\ninputs = [\"{input}\"]\nplugin = \"splitter\"\nconfig = {{ name = \"{name}\" }}\n")
        };
        let (stages, last) = match self.shape {
            0 => (here("edge"), "guest"),
            1 => (format!("{}{}", here("edge"), enrich("guest")), "enrich"),
            2 => (format!("{}{}", enrich("edge"), here("enrich")), "guest"),
            3 => (format!("{}{}", here("edge"), split("guest", "port-{dst_port}")), "split.*"),
            4 => (format!("{}{}", split("edge", "proto-{proto}"), here("split.*")), "guest"),
            5 => (enrich("edge"), "enrich"),
            6 => (format!("{}{}", here("edge"), apart("guest")), "apart"),
            _ => (apart("edge"), "apart"),
        };
        let (tokens, tenant) =
            if self.has_tenant { ("tokens = \"tokens.toml\"\n", self.tenant()) } else { ("", String::new()) };
        // Small batches, for many changes between them; for a rate, those of a collector that nobody has tuned, and a queue that
        // has room for whatever the sender may be ahead of the reader.
        let batches = if self.has_tenant { "batch_rows = 256\nqueue = 256\n" } else { "queue = 32\n" };
        let text = format!(
            "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n{tokens}\
             [sources.edge]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\nbatch_delay_ms = 20\n{batches}\
             [tables.customers]\ntype = \"prefix\"\npath = \"customers.csv\"\n\
             [tables.services]\ntype = \"values\"\npath = \"services.csv\"\n\
             [keys.secret]\npath = \"secret.key\"\n[assets.names]\npath = \"names.txt\"\n\
             {stages}[sinks.out]\ntype = \"stdout\"\nformat = \"json\"\nfields = [\"packets\"]\n\
             inputs = [\"{last}\"]\n{tenant}"
        );
        self.write("sluice.toml", text.as_bytes())
    }

    /// The tenant, whose plugins it sends itself, and its sink.
    fn tenant(&self) -> String {
        let fields = if self.is_turned { "\"dst_addr\", \"packets\"" } else { "\"packets\", \"dst_addr\"" };
        format!(
            "[tenants.acme]\ninputs = [\"edge\"]\nprefixes = [\"{TENANTS_PREFIX}\"]\nplugins = \"acme\"\n{GRANT}\
             config.web = {{ mode = \"count\" }}\n\
             [sinks.acme-rows]\ntype = \"file\"\npath = \"{TENANTS_ROWS}\"\nfields = [{fields}]\ninputs = [\"acme\"]\n"
        )
    }
}

/// Where in a component its version stands.
fn versions(plugin: &[u8]) -> Vec<usize> {
    plugin.windows(VERSION.len()).enumerate().filter(|(_, at)| *at == VERSION).map(|(at, _)| at).collect()
}
