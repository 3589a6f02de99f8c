//! `sluice tenant ...`: what a tenant does with its plugins.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use sluice_plugin::signature_of;

use super::client::{Method, escaped};
use super::{AskArgs, get, post, send, show};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Show a tenant: its plugins, the CPU time they used, their books, and files that are not taken up.
    #[command(after_help = "Example: sluice tenant show acme")]
    Show {
        /// Name of the tenant.
        tenant: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Send a component, with its signature if FILE.sig is there. The first of a name runs at once; another runs as a candidate
    /// beside it, without effect, until it is promoted. The exit code is 1 if it is refused; nothing then changed.
    #[command(after_help = "Example: sluice tenant upload acme web build/web.wasm")]
    Upload {
        /// Name of the tenant.
        tenant: String,
        /// Name of the plugin.
        plugin: String,
        /// The component.
        file: PathBuf,
        /// A candidate gets every so many batches of each instance.
        #[arg(long, value_name = "N", default_value_t = 10)]
        every: u32,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Show what the candidate beside a plugin does differently.
    #[command(after_help = "Example: sluice tenant shadow acme web")]
    Shadow {
        /// Name of the tenant.
        tenant: String,
        /// Name of the plugin.
        plugin: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Make the candidate the plugin. What ran is kept as NAME.wasm.previous.
    #[command(after_help = "Example: sluice tenant promote acme web")]
    Promote {
        /// Name of the tenant.
        tenant: String,
        /// Name of the plugin.
        plugin: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Put back what ran before a plugin was exchanged, within a minute.
    #[command(after_help = "Example: sluice tenant rollback acme web")]
    Rollback {
        /// Name of the tenant.
        tenant: String,
        /// Name of the plugin.
        plugin: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Take a plugin away. Its file is kept as NAME.wasm.previous.
    #[command(after_help = "Example: sluice tenant remove acme web")]
    Remove {
        /// Name of the tenant.
        tenant: String,
        /// Name of the plugin.
        plugin: String,
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// Runs one of the commands.
pub(super) fn tenant(command: TenantCommand) -> Result<(), Failure> {
    match command {
        TenantCommand::Show { tenant, ask } => get(&ask, &format!("/v1/tenants/{}", escaped(&tenant)), show::tenant),
        TenantCommand::Upload { tenant, plugin, file, every, ask } => {
            let unread = |error| Failure::running(file.display().to_string(), error);
            let component = fs::read(&file).map_err(unread)?;
            let signature = signature_of(&file).map_err(|error| Failure::failed(error.to_string()))?;
            let signature = signature.map_or_else(String::new, |text| format!("&signature={}", escaped(&text)));
            let path = format!("{}?every={every}{signature}", of(&tenant, &plugin));
            send(&ask, Method::Put, &path, &component, show::tenant)
        }
        TenantCommand::Shadow { tenant, plugin, ask } => {
            get(&ask, &format!("{}/shadow", of(&tenant, &plugin)), show::shadow)
        }
        TenantCommand::Promote { tenant, plugin, ask } => {
            post(&ask, &format!("{}/promote", of(&tenant, &plugin)), show::tenant)
        }
        TenantCommand::Rollback { tenant, plugin, ask } => {
            post(&ask, &format!("{}/rollback", of(&tenant, &plugin)), show::tenant)
        }
        TenantCommand::Remove { tenant, plugin, ask } => {
            send(&ask, Method::Delete, &of(&tenant, &plugin), b"", show::tenant)
        }
    }
}

fn of(tenant: &str, plugin: &str) -> String {
    format!("/v1/tenants/{}/plugins/{}", escaped(tenant), escaped(plugin))
}
