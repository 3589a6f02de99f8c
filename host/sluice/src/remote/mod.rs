//! Commands that ask a running collector, over its API.

mod client;
mod show;
mod tail;
mod tenant;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::client::{Client, Method, escaped};
use crate::admin::shapes;
use crate::author::print;
use crate::failure::Failure;

/// Where the collector is, and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoteArgs {
    /// Admin port of the collector.
    #[arg(long, env = "SLUICE_ADMIN", default_value = "http://127.0.0.1:9188", value_name = "URL")]
    admin: String,
    /// File with the token. Default: the token in the environment, `SLUICE_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What is in the file is the key of NAME: sign with it, and do not send it.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RemoteFormat {
    /// For people.
    Text,
    /// The answer as it came.
    Json,
}

/// A question without more to it.
#[derive(Clone, Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = RemoteFormat::Text)]
    format: RemoteFormat,
}

/// Which exporters.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExporterArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Only those of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those of this address.
    #[arg(long, value_name = "ADDR")]
    exporter: Option<std::net::IpAddr>,
    /// Only those of this observation domain.
    #[arg(long, value_name = "N")]
    domain: Option<u32>,
    /// How many at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Ask a running collector who feeds whom, and what rows were dropped.
    #[command(after_help = "Example: sluice status")]
    Status(AskArgs),
    /// List the tables of a running collector, or make it read one again.
    #[command(after_help = "Example: sluice tables reload customers", args_conflicts_with_subcommands = true)]
    Tables {
        #[command(flatten)]
        ask: AskArgs,
        #[command(subcommand)]
        command: Option<TablesCommand>,
    },
    /// List the exporters that a running collector knows.
    #[command(after_help = "Example: sluice exporters --source edge")]
    Exporters(ExporterArgs),
    /// List the templates that a running collector knows, with their fields.
    #[command(after_help = "Example: sluice templates --exporter 192.0.2.1")]
    Templates(ExporterArgs),
    /// Print the books of a running collector: rows in, out and dropped of every component.
    #[command(after_help = "Example: sluice balance")]
    Balance(AskArgs),
    /// Print rows as they leave a source or stage or come into a sink of a running collector. Slows nothing down: rows that
    /// it cannot keep up with are skipped, and counted on stderr.
    #[command(after_help = "Example: sluice tail enrich --rows 10 --match dst_port=443,src_addr=192.0.2.0/24")]
    Tail(tail::TailArgs),
    /// Make a running collector read its configuration again, and look for changed plugins, tables and tokens, as SIGHUP
    /// does. The exit code is 1 if the configuration is refused; everything then runs on as it did.
    #[command(after_help = "Example: sluice reload")]
    Reload(AskArgs),
    /// What a tenant does with its plugins in a running collector, with its own token; operators may too.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TablesCommand {
    /// Read the file of a table again, if it changed, and exchange the table. `sluice tables` lists them.
    #[command(after_help = "Example: sluice tables reload customers")]
    Reload {
        /// Name of the table.
        name: String,
        #[command(flatten)]
        ask: AskArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginRemote {
    /// List the plugins of a running collector: version, calls, traps, memory.
    #[command(after_help = "Example: sluice plugin list")]
    List(AskArgs),
    /// Make a running collector read the file of a stage's plugin now, and exchange the plugin if it is another one. The
    /// exit code is 1 if the new one is refused; the old one then runs on.
    #[command(after_help = "Example: sluice plugin swap tenants")]
    Swap {
        /// Name of the stage.
        stage: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Show what the candidate beside a stage's plugin does differently; with --plugin, begin to run one, without effect, on
    /// copies of its batches; with --end, let it go.
    #[command(after_help = "Example: sluice plugin shadow tenants --plugin tenants-2.wasm --every 10")]
    Shadow {
        /// Name of the stage.
        stage: String,
        /// Path of the candidate on the collector's machine, relative to its configuration, or a built-in plugin.
        #[arg(long, value_name = "FILE")]
        plugin: Option<String>,
        /// It gets every so many batches of each instance.
        #[arg(long, value_name = "N", default_value_t = 10, requires = "plugin")]
        every: u32,
        /// Let the candidate go.
        #[arg(long, conflicts_with = "plugin")]
        end: bool,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Make the candidate beside a stage's plugin the plugin: its file takes the place of the plugin's, which is kept as
    /// NAME.previous.
    #[command(after_help = "Example: sluice plugin promote tenants")]
    Promote {
        /// Name of the stage.
        stage: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Put back the version of a stage's plugin that ran before, within its `rollback_window_ms`.
    #[command(after_help = "Example: sluice plugin rollback tenants")]
    Rollback {
        /// Name of the stage.
        stage: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Have the plugin of a stage not called any more, until it is released or exchanged: its rows go by `on_error`.
    #[command(after_help = "Example: sluice plugin quarantine tenants")]
    Quarantine {
        /// Name of the stage.
        stage: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// End the quarantine of a stage's plugin.
    #[command(after_help = "Example: sluice plugin release tenants")]
    Release {
        /// Name of the stage.
        stage: String,
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// Runs one of the commands.
pub(crate) fn remote(command: RemoteCommand) -> Result<(), Failure> {
    match command {
        RemoteCommand::Status(ask) => status(&ask),
        RemoteCommand::Tables { ask, command: None } => get(&ask, "/v1/tables", show::tables),
        RemoteCommand::Tables { command: Some(TablesCommand::Reload { name, ask }), .. } => {
            post(&ask, &format!("/v1/tables/{}/reload", escaped(&name)), show::table_reload)
        }
        RemoteCommand::Exporters(args) => get(&args.ask, &args.path("/v1/exporters"), show::exporters),
        RemoteCommand::Templates(args) => get(&args.ask, &args.path("/v1/templates"), show::templates),
        RemoteCommand::Balance(ask) => get(&ask, "/v1/balance", show::balance),
        RemoteCommand::Tail(args) => tail::tail(&args),
        RemoteCommand::Tenant(command) => tenant::tenant(command),
        RemoteCommand::Reload(ask) => post(&ask, "/v1/reload", show::changed),
    }
}

/// Runs one of the commands about plugins.
pub(crate) fn plugin(command: PluginRemote) -> Result<(), Failure> {
    match command {
        PluginRemote::List(ask) => get(&ask, "/v1/plugins", show::plugins),
        PluginRemote::Swap { stage, ask } => post(&ask, &of(&stage, "swap"), show::swap),
        PluginRemote::Shadow { stage, plugin: Some(plugin), every, ask, .. } => {
            let query = format!("?plugin={}&every={every}", escaped(&plugin));
            post(&ask, &format!("{}{query}", of(&stage, "shadow")), show::shadow)
        }
        PluginRemote::Shadow { stage, end: true, ask, .. } => {
            call(&ask, Method::Delete, &of(&stage, "shadow"), show::shadow)
        }
        PluginRemote::Shadow { stage, ask, .. } => get(&ask, &of(&stage, "shadow"), show::shadow),
        PluginRemote::Promote { stage, ask } => post(&ask, &of(&stage, "promote"), show::exchange),
        PluginRemote::Rollback { stage, ask } => post(&ask, &of(&stage, "rollback"), show::exchange),
        PluginRemote::Quarantine { stage, ask } => post(&ask, &of(&stage, "quarantine"), show::quarantine),
        PluginRemote::Release { stage, ask } => post(&ask, &of(&stage, "release"), show::quarantine),
    }
}

/// What can be done with the plugin of a stage.
fn of(stage: &str, act: &str) -> String {
    format!("/v1/plugins/{}/{act}", escaped(stage))
}

impl ExporterArgs {
    /// The endpoint with the query.
    fn path(&self, endpoint: &str) -> String {
        let mut query = Vec::new();
        query.extend(self.source.as_ref().map(|source| format!("source={}", escaped(source))));
        query.extend(self.exporter.map(|addr| format!("exporter={}", escaped(&addr.to_string()))));
        query.extend(self.domain.map(|domain| format!("domain={domain}")));
        query.extend(self.limit.map(|limit| format!("limit={limit}")));
        if query.is_empty() { endpoint.to_owned() } else { format!("{endpoint}?{}", query.join("&")) }
    }
}

fn get<A: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    path: &str,
    show: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    call(ask, Method::Get, path, show)
}

fn post<A: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    path: &str,
    show: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    call(ask, Method::Post, path, show)
}

fn call<A: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    method: Method,
    path: &str,
    show: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    send(ask, method, path, b"", show)
}

fn send<A: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    method: Method,
    path: &str,
    body: &[u8],
    show: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    let text = Client::new(&ask.remote)?.text(method, path, body)?;
    match ask.format {
        RemoteFormat::Json => print(&format!("{}\n", text.trim_end())),
        RemoteFormat::Text => print(&show(&client::parsed(&text)?)),
    }
}

/// Pipeline and books in one.
fn status(ask: &AskArgs) -> Result<(), Failure> {
    let client = Client::new(&ask.remote)?;
    let pipeline = client.text(Method::Get, "/v1/pipeline", b"")?;
    if ask.format == RemoteFormat::Json {
        return print(&format!("{}\n", pipeline.trim_end()));
    }
    let balances: shapes::Balances = client::parsed(&client.text(Method::Get, "/v1/balance", b"")?)?;
    print(&show::status(&client::parsed(&pipeline)?, &balances))
}
