//! Endpoints about tenants, for the tenant itself and for operators. To anybody else there is no such tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_plugin::{Loaded, grant_names};

use super::components::{about, balance_of, blocking};
use super::operate::{refusal, report};
use super::route::{Call, NoQuery, Refusal};
use super::shapes::{Shadow, Tenant, TenantPlugin};
use crate::collector::Collector;
use crate::config::tenants::parts;
use crate::operate::Refused;
use crate::tenancy::{Component, Sent, Tenancy};

/// How a component that is sent is tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendQuery {
    /// It gets a copy of every so many batches of each instance. Default 10.
    every: Option<u32>,
    /// Its detached signature: the text of the `.sig` that `sluice plugin sign` writes beside the component. It is kept beside the
    /// component. Default: none.
    signature: Option<String>,
}

/// The collector and the tenant of the path, if whoever calls may know of it.
fn tenant_of(call: &Call) -> Result<(Arc<Collector>, String), Refusal> {
    let (collector, name) = (Arc::clone(call.api.collector()?), call.part("tenant").to_owned());
    let is_own = call.tenant().is_none_or(|own| own == name);
    // The same words for what is not there and what is of others.
    if !is_own || Tenancy::of(&collector, &name).is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no tenant `{name}`")));
    }
    Ok((collector, name))
}

/// Does something with the tenant of the path, and its plugin if there is one of that name, on a thread that may wait.
async fn act<T: Send + 'static>(
    call: &Call,
    act: impl FnOnce(&Tenancy<'_>, &str, Option<Arc<Loaded>>) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refusal> {
    let (collector, name) = tenant_of(call)?;
    let plugin = call.part("plugin").to_owned();
    let acted = blocking(move || {
        let Some(tenant) = Tenancy::of(&collector, &name) else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no tenant `{name}`")));
        };
        act(&tenant, &plugin, tenant.plugin(&plugin)).map_err(|refused| refusal(&plugin, refused))
    });
    acted.await?
}

fn there(call: &Call) -> Result<Arc<Loaded>, Refusal> {
    let (collector, name) = tenant_of(call)?;
    let plugin = call.part("plugin");
    let loaded = Tenancy::of(&collector, &name).and_then(|tenant| tenant.plugin(plugin));
    loaded.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("`{name}` has no plugin `{plugin}`")))
}

pub(super) async fn tenant(call: Call, _: NoQuery) -> Result<Tenant, Refusal> {
    let (collector, name) = tenant_of(&call)?;
    let running = collector.running();
    let own = running.config.tenant(&name);
    let own = own.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("there is no tenant `{name}`")))?;
    let is_own = |stage: &str| parts(stage).is_some_and(|(tenant, _)| tenant == name);
    let plugin = |plugin: &str| {
        let stage = running.stage(&crate::config::tenants::stage_of(&name, plugin))?;
        // Where its file is, is nothing to the tenant.
        let about = super::shapes::Plugin { origin: format!("{plugin}.wasm"), ..about(&running, &stage.loaded) };
        Some(TenantPlugin { plugin: plugin.to_owned(), about })
    };
    let plugins: Vec<TenantPlugin> = own.value.in_order().into_iter().filter_map(plugin).collect();
    let grant = match &own.value.grant {
        Some(grant) => {
            sluice_kit::lent::columns(&running.config.doc, &running.config.schema, "", &grant.get_ref().read)
                .map(|columns| grant_names(&running.config.schema, columns))
                .unwrap_or_default()
        }
        None => Vec::new(),
    };
    let balances = call.api.metrics.balances().into_iter();
    Ok(Tenant {
        reads: grant,
        cpu_ms_per_s: running.budgets.get(&name).map(|budget| budget.cpu_ms_per_s()),
        cpu_ns: plugins.iter().map(|plugin| plugin.about.cpu_ns).sum(),
        refused: own.value.files.refused.clone().into_iter().collect::<BTreeMap<_, _>>(),
        stages: balances.filter(|balance| is_own(&balance.name)).map(balance_of).collect(),
        plugins,
        name,
    })
}

pub(super) async fn send(call: Call, query: SendQuery) -> Result<Tenant, Refusal> {
    let every = query.every.unwrap_or(10);
    if every == 0 {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "every: 0 is none; use 1 or more"));
    }
    let (bytes, signature) = (call.body.clone(), query.signature);
    let who = call.who.as_ref().map_or(String::new(), |who| who.name.clone());
    let sent = act(&call, move |tenant, plugin, _| {
        let component = Component { bytes: &bytes, signature: signature.as_deref() };
        let sent = tenant.send(plugin, &component, every)?;
        let as_what = if matches!(sent, Sent::Beside) { "candidate" } else { "plugin" };
        tracing::info!(who, plugin, as_what, "component of a tenant taken");
        Ok(())
    });
    sent.await?;
    tenant(call, NoQuery {}).await
}

pub(super) async fn shadow(call: Call, _: NoQuery) -> Result<Shadow, Refusal> {
    report(&*there(&call)?)
}

pub(super) async fn promote(call: Call, _: NoQuery) -> Result<Tenant, Refusal> {
    let loaded = there(&call)?;
    act(&call, move |tenant, plugin, _| tenant.promote(plugin, &loaded)).await?;
    tenant(call, NoQuery {}).await
}

pub(super) async fn roll_back(call: Call, _: NoQuery) -> Result<Tenant, Refusal> {
    let loaded = there(&call)?;
    act(&call, move |tenant, _, _| tenant.roll_back(&loaded)).await?;
    tenant(call, NoQuery {}).await
}

pub(super) async fn remove(call: Call, _: NoQuery) -> Result<Tenant, Refusal> {
    there(&call)?;
    act(&call, move |tenant, plugin, _| tenant.remove(plugin)).await?;
    tenant(call, NoQuery {}).await
}
