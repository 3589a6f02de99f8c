//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::author::bench::BenchArgs;
use crate::author::check::CheckArgs;
use crate::author::new;
use crate::author::replay::ReplayArgs;
use crate::remote::{PluginRemote, RemoteCommand};
use crate::token::TokenArgs;

/// A flow collector whose processing is done by WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log, e.g. `debug` or `warn,sluice_endpoints=debug`.
    #[arg(long, global = true, default_value = "info", env = "SLUICE_LOG", value_name = "FILTER")]
    pub(crate) log: String,
    /// Log JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the pipelines of FILE until SIGINT or SIGTERM; a second one ends at once, and SIGHUP looks
    /// for changed plugins and tables.
    #[command(after_help = "Example: sluice run examples/enrich.toml")]
    Run {
        /// The configuration.
        config: PathBuf,
    },
    /// Read FILE, load its plugins and tables and print the pipelines; open no socket and write nothing.
    #[command(after_help = "Example: sluice check examples/enrich.toml")]
    Check {
        /// The configuration.
        config: PathBuf,
    },
    /// Write `sluice.lock` beside FILE: which component each stage runs, with digest, version and signer. With
    /// `plugins.locked = true`, no other runs. Loads the plugins as `check` does.
    #[command(after_help = "Example: sluice lock edge.toml")]
    Lock {
        /// The configuration.
        config: PathBuf,
        /// Write nothing; exit 1 if the lock is not current.
        #[arg(long)]
        check: bool,
    },
    /// Print the flow records of capture files (pcap, pcapng, or raw datagrams one a file) on stdout,
    /// and what could not be decoded on stderr; exit 1 if nothing could be decoded.
    #[command(after_help = "Example: sluice decode --format flowdump router.pcap")]
    Decode {
        /// Captures, in the order to read them: templates first. A directory means its files by name.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How a record is written.
        #[arg(long, value_enum, default_value_t = DecodeFormat::Json)]
        format: DecodeFormat,
    },
    /// Send flow records of made-up traffic to a collector. Sends to no one unless told where.
    #[command(
        after_help = "Example: sluice generate --to 127.0.0.1:2055 --version-set v9,ipfix --rate 10000 --for 30s"
    )]
    Generate(GenerateArgs),
    /// Show sluice at work: a made-up network with an attack on it, through enricher, DoS detector,
    /// reducer and splitter to this terminal. Needs nothing but the loopback interface.
    #[command(after_help = "Example: sluice demo --for 10s")]
    Demo {
        /// Stop after this long, e.g. `10s`; without it, at Ctrl-C.
        #[arg(long = "for", value_parser = duration, value_name = "TIME")]
        time: Option<Duration>,
        /// Flow records a second.
        #[arg(long, default_value_t = 2000)]
        rate: u64,
        /// Write the demo's configuration and tables to this directory and stop.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Make, build and look at plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Make a token for the API of a collector: print it, this once, and add what proves it to a file.
    #[command(after_help = "Example: sluice token laptop --role operator --file tokens.toml")]
    Token(TokenArgs),
    /// What the collector starts for itself: compiles components for it.
    #[command(name = PLUGIN_PROCESS, hide = true)]
    PluginProcess,
}

/// Name of the command with which the program starts itself.
pub(crate) const PLUGIN_PROCESS: &str = "plugin-process";

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Make a project for a plugin: an example filter with its tests and the language's SDK. Fetches nothing.
    #[command(after_help = "Example: sluice plugin new tenant-filter --lang rust")]
    New {
        /// Name of the plugin: lower-case letters, digits and `-`.
        name: String,
        /// Language to write it in.
        #[arg(long, value_name = "LANGUAGE", value_parser = new::languages())]
        lang: String,
        /// Folder to make. Default: NAME.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Run the commands of DIR/plugin.toml, make a component of what they write, as DIR/build/NAME.wasm, and try
    /// whether the collector takes it. Installs nothing.
    #[command(after_help = "Example: sluice plugin build")]
    Build {
        /// Folder of the project.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Run the cases in tests/*.toml against a plugin, in the host that runs it in production, and compare what comes
    /// out. Opens no socket. Exit 1: a case failed; 2: they could not be run.
    #[command(after_help = "Example: sluice plugin test --junit report.xml")]
    Test(TestArgs),
    /// Look for what breaks a plugin: made-up batches of every kind, and rules that hold for every plugin, whatever it does.
    /// Exit 1 if one is broken; a case that shows it is written for `plugin test`.
    #[command(after_help = "Example: sluice plugin check build/tenant-filter.wasm --config '{\"customer_id\": 7}'")]
    Check(CheckArgs),
    /// Measure what a plugin costs: nanoseconds and fuel a row at several sizes of batches, memory, and what of it is copying,
    /// beside a plugin that does nothing; and what another version costs in comparison.
    #[command(
        after_help = "Example: sluice plugin bench old.wasm build/tenant-filter.wasm --config '{\"customer_id\": 7}'"
    )]
    Bench(BenchArgs),
    /// Make a recorded call of a plugin again, and say whether it ends as it did (exit 0) or not (1).
    #[command(after_help = "Example: sluice plugin replay recordings/tenants.trap-0123456789ab.recording")]
    Replay(ReplayArgs),
    /// Print what the plugin in FILE is and who signed it, what it imports, reads and writes, and what it costs: to load, and a
    /// row of ordinary traffic.
    #[command(after_help = "Example: sluice plugin inspect build/tenant-filter.wasm --config '{\"customer_id\": 7}'")]
    Inspect(InspectArgs),
    /// Make a key pair: NAME.key, which signs and which only you can read, and NAME.pub, which checks. Neither may be there.
    #[command(after_help = "Example: sluice plugin keygen operator")]
    Keygen {
        /// Name of the key: it is in metrics and in what `verify` says. May have folders before it.
        name: PathBuf,
    },
    /// Write FILE.sig: a signature of the bytes of FILE.
    #[command(after_help = "Example: sluice plugin sign build/tenant-filter.wasm --key operator.key")]
    Sign {
        /// The component or core module.
        file: PathBuf,
        /// Secret key of `keygen`.
        #[arg(long, value_name = "NAME.key")]
        key: PathBuf,
    },
    /// Say whose signature FILE.sig is. Exit 1 if there is none, it is of another key, or FILE was changed.
    #[command(after_help = "Example: sluice plugin verify build/tenant-filter.wasm --key operator.pub")]
    Verify {
        /// The component or core module.
        file: PathBuf,
        /// Public keys of `keygen`; one of them has to be the signer's.
        #[arg(long, value_name = "NAME.pub", num_args = 1.., required = true)]
        key: Vec<PathBuf>,
    },
    /// Make a component of the core module CORE, as compilers write it: embeds the contract, and adapts what was built
    /// for WASI preview 1.
    #[command(after_help = "Example: sluice plugin pack build/core.wasm -o build/tenant-filter.wasm")]
    Pack {
        /// The core module.
        core: PathBuf,
        /// Where to write the component. Default: beside CORE, as NAME.component.wasm.
        #[arg(short, long)]
        out: Option<PathBuf>,
        /// Exchange the name of an export, or of an import (`MODULE.NAME`), first: for compilers that cannot spell
        /// `sluice:plugin/stage@0.1.0#init`. May be given several times.
        #[arg(long, value_name = "FROM=TO", value_parser = rename)]
        rename: Vec<(String, String)>,
    },
    #[command(flatten)]
    Remote(PluginRemote),
}

/// `sluice plugin test`.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// A component or core module, the name of a built-in plugin, or the folder of a project, whose build/NAME.wasm it
    /// is then. Default: the project in this folder.
    #[arg(value_name = "FILE|DIR")]
    pub(crate) plugin: Option<PathBuf>,
    /// Files of cases, or folders of them. Default: tests, in the folder of the project or this one.
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub(crate) tests: Vec<PathBuf>,
    /// Run only the cases with this in their name.
    #[arg(long, value_name = "TEXT")]
    pub(crate) case: Option<String>,
    /// Write what comes out into the files, where something else is expected or an `expect` is empty.
    #[arg(long)]
    pub(crate) update: bool,
    /// Write the result as JUnit's XML, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = TestFormat::Text)]
    pub(crate) format: TestFormat,
}

/// How `plugin test` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// `sluice plugin inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// A component or core module.
    pub(crate) file: PathBuf,
    /// Configuration for its `init`; a refusal of it is an error. Default `{}`, and no error.
    #[arg(long, value_name = "JSON")]
    pub(crate) config: Option<String>,
    /// Public keys of `keygen`; a signature of one of them is shown with its name.
    #[arg(long, value_name = "NAME.pub", num_args = 1..)]
    pub(crate) key: Vec<PathBuf>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = InspectFormat::Text)]
    pub(crate) format: InspectFormat,
    /// Milliseconds that `init` may take, as `limits.init_deadline_ms` of a stage.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) init_deadline_ms: u64,
}

/// How `plugin inspect` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How `decode` writes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeFormat {
    /// One JSON object a line, as goflow2 writes it.
    Json,
    /// One readable line a record.
    Flowdump,
    /// Aligned columns.
    Table,
}

/// `sluice generate`.
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// Where to send.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) to: SocketAddr,
    /// Export protocols; exporters take them in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Version::V9])]
    pub(crate) version_set: Vec<Version>,
    /// Flow records a second, of all exporters together; 0 is as fast as possible.
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u64,
    /// Exporters, each with an address of its own where the target is on the loopback interface; without
    /// it, one per protocol.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) exporters: Option<u16>,
    /// Sampling rate that the exporters announce.
    #[arg(long, default_value_t = 100)]
    pub(crate) sampling_rate: u32,
    /// Stop after this long, e.g. `30s`; without it, at Ctrl-C.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub(crate) time: Option<Duration>,
    /// Stop after this many records.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Attack a host from START for LENGTH, e.g. `5s+10s`.
    #[arg(long, value_parser = attack, value_name = "START+LENGTH")]
    pub(crate) attack: Option<(Duration, Duration)>,
    /// Same traffic for the same number.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// An export protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// NetFlow v5.
    V5,
    /// NetFlow v9.
    V9,
    /// IPFIX.
    Ipfix,
    /// sFlow v5 flow samples.
    Sflow,
}

/// A time such as `500ms`, `10s`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no time; write 10s, 500ms, 2m or 1h"))?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => seconds(60).ok_or_else(|| format!("`{text}` is too long")),
        "h" => seconds(3600).ok_or_else(|| format!("`{text}` is too long")),
        _ => Err(format!("`{text}` has no unit; write 10s, 500ms, 2m or 1h")),
    }
}

/// `FROM=TO`.
fn rename(text: &str) -> Result<(String, String), String> {
    let (from, to) =
        text.split_once('=').filter(|(from, to)| !from.is_empty() && !to.is_empty()).ok_or("write FROM=TO")?;
    Ok((from.to_owned(), to.to_owned()))
}

fn attack(text: &str) -> Result<(Duration, Duration), String> {
    let (start, length) = text.split_once('+').ok_or("write START+LENGTH, e.g. 5s+10s")?;
    Ok((duration(start)?, duration(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_overflow_is_refused() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("10").unwrap_err().contains("no unit"));
        assert!(duration("99999999999999999999s").is_err());
        assert!(duration("9999999999999999999h").unwrap_err().contains("too long"));
        assert_eq!(attack("1s+2s"), Ok((Duration::from_secs(1), Duration::from_secs(2))));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
