//! Metrics and health over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use sluice_pipeline::{Metrics, Stop};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::failure::Failure;

/// What OpenMetrics text is called; Prometheus reads it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the handlers know.
#[derive(Clone)]
struct Known {
    metrics: Arc<Metrics>,
    stop: Stop,
}

/// An HTTP listener that is not served yet.
pub(crate) struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Opens the port.
    pub(crate) async fn bind(listen: SocketAddr) -> Result<Admin, Failure> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| Failure::running(format!("admin: cannot listen on {listen}"), error))?;
        let addr = listener.local_addr().map_err(|error| Failure::running("admin", error))?;
        info!("metrics on http://{addr}/metrics");
        Ok(Admin { listener })
    }

    /// Answers `/metrics` and `/healthz` until the process ends; the pipeline does not wait for it.
    pub(crate) async fn serve(self, metrics: Arc<Metrics>, stop: Stop) {
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(healthz))
            .with_state(Known { metrics, stop });
        if let Err(error) = axum::serve(self.listener, router).await {
            error!(%error, "admin port closed");
        }
    }
}

async fn metrics_text(State(known): State<Known>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], known.metrics.encode())
}

/// 200 while running, 503 while draining: a load balancer then sends no more.
async fn healthz(State(known): State<Known>) -> impl IntoResponse {
    if known.stop.is_cancelled() { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") } else { (StatusCode::OK, "ok\n") }
}
