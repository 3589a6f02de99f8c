//! The admin port: metrics and health for anybody who reaches it, and the API for those who have a token.
//!
//! It has a thread of its own: whatever clients do, the tasks that write to sinks do not wait for it.

mod auth;
mod components;
mod dispatch;
mod exporters;
mod filter;
mod graph;
mod openapi;
mod operate;
mod places;
mod route;
mod routes;
mod server;
pub(crate) mod shapes;
mod tail;
mod tenants;
pub(crate) mod tokens;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use axum::http::StatusCode;
use sluice_pipeline::{Metrics, Stop};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::collector::Collector;
use crate::failure::Failure;
use crate::signals::Reload;

pub(crate) use auth::sign;

use self::auth::Nonces;
use self::dispatch::{LARGE_OF_ALL, LARGE_OF_ONE, Refused};
use self::places::Places;
use self::route::Refusal;
use self::tail::{MOST_OF_A_TENANT, MOST_OF_TENANTS};
use self::tokens::Tokens;

/// What the endpoints know.
pub(crate) struct Api {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: Stop,
    /// None: there is no API, only metrics and health.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// What runs, once it does.
    collector: OnceLock<Arc<Collector>>,
    pub(crate) since: Instant,
    /// What a SIGHUP does.
    pub(crate) reload: Reload,
    nonces: Nonces,
    /// Places for large bodies on their way, and for tails of tenants.
    large: Arc<Places>,
    tails: Arc<Places>,
    refused: Refused,
}

impl Api {
    pub(crate) fn new(metrics: &Arc<Metrics>, stop: &Stop, tokens: Option<Arc<Tokens>>, reload: Reload) -> Arc<Api> {
        Arc::new(Api {
            metrics: Arc::clone(metrics),
            stop: stop.clone(),
            tokens,
            collector: OnceLock::new(),
            since: Instant::now(),
            reload,
            nonces: Nonces::default(),
            large: Places::new(LARGE_OF_ONE, LARGE_OF_ALL),
            tails: Places::new(MOST_OF_A_TENANT, MOST_OF_TENANTS),
            refused: Refused::new(metrics),
        })
    }

    /// Lets the endpoints see what runs.
    pub(crate) fn started(&self, collector: &Arc<Collector>) {
        self.collector.get_or_init(|| Arc::clone(collector));
    }

    /// What runs.
    pub(crate) fn collector(&self) -> Result<&Arc<Collector>, Refusal> {
        let starting = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the collector starts; ask again in a moment");
        self.collector.get().ok_or_else(starting)
    }
}

/// An HTTP listener that is not served yet.
pub(crate) struct Admin {
    listener: std::net::TcpListener,
}

impl Admin {
    /// Opens the port.
    pub(crate) fn bind(listen: SocketAddr, has_api: bool) -> Result<Admin, Failure> {
        let listener = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| Failure::running(format!("admin: cannot listen on {listen}"), error))?;
        let addr = listener.local_addr().map_err(|error| Failure::running("admin", error))?;
        info!("metrics on http://{addr}/metrics");
        if !addr.ip().is_loopback() {
            let tokens = if has_api { ", and bearer tokens can be read on the way; sign requests" } else { "" };
            warn!(
                "the admin port can be reached from other machines and is not encrypted{tokens}: put a TLS proxy in front, or \
                 listen on 127.0.0.1"
            );
        }
        Ok(Admin { listener })
    }

    /// Answers, on a thread of its own, until the process ends; the pipeline does not wait for it.
    pub(crate) fn serve(self, api: Arc<Api>) -> Result<(), Failure> {
        let no_thread = |error| Failure::running("admin: no thread", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let serve = move || {
            let served =
                runtime.block_on(async move { server::serve(TcpListener::from_std(self.listener)?, api).await });
            if let Err(error) = served {
                error!(%error, "admin port closed");
            }
        };
        thread::Builder::new().name("admin".into()).spawn(serve).map_err(no_thread)?;
        Ok(())
    }
}
