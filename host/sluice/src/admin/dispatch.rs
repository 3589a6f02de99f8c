//! From a request to its endpoint: who asks, whether they may, and what came with it, within limits.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{RequestPartsExt, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prometheus_client::metrics::counter::Counter;
use sluice_pipeline::Metrics;
use tracing::warn;

use super::Api;
use super::auth::{self, Claim, Denied};
use super::places::Place;
use super::route::{Access, Call, Refusal, Route, SMALL_BODY};
use super::routes::routes;
use super::server::Peer;
use super::tokens::{Role, Who};

/// How long the body of a request may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Large bodies on their way at once: of one who asks, and of all. Those who sign are one together: a body has to be there before
/// its signature can be looked at.
pub(super) const LARGE_OF_ONE: usize = 2;
pub(super) const LARGE_OF_ALL: usize = 8;
/// Time between two lines of the log about refused requests.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts what was refused, and says so in the log without flooding it.
pub(crate) struct Refused {
    unauthenticated: Counter,
    forbidden: Counter,
    busy: Counter,
    /// When the last line was logged, and how many were not since.
    said: Mutex<Option<(Instant, u64)>>,
}

impl Refused {
    pub(crate) fn new(metrics: &Metrics) -> Refused {
        let counter = |reason: &str| {
            let help = "Requests and connections that the admin port refused, by reason.";
            metrics.counter("sluice_admin_refused", help, vec![("reason", reason.to_owned())])
        };
        Refused {
            unauthenticated: counter("unauthenticated"),
            forbidden: counter("forbidden"),
            busy: counter("busy"),
            said: Mutex::default(),
        }
    }

    /// Counts a connection for which there was no room.
    pub(crate) fn busy(&self) {
        self.busy.inc();
    }

    fn note(&self, peer: Option<SocketAddr>, why: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let more = match &mut *said {
            Some((since, more)) if since.elapsed() < LOG_INTERVAL => {
                *more += 1;
                return;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        *said = Some((Instant::now(), 0));
        let peer = peer.map_or_else(String::new, |peer| peer.to_string());
        warn!(peer, more, "admin request refused: {why}");
    }
}

/// The router of all endpoints.
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let filter = MethodFilter::try_from(route.method.clone()).expect("routes have common methods");
        let (path, route, api) = (route.path, Arc::new(route), Arc::clone(api));
        let answer = move |request: Request| dispatch(Arc::clone(&api), Arc::clone(&route), request);
        router = router.route(path, on(filter, answer));
    }
    let nowhere = {
        let api = Arc::clone(api);
        move || {
            let error = if api.tokens.is_some() { "no such endpoint; /v1/openapi.json lists them" } else { NO_TOKENS };
            std::future::ready(Refusal::new(StatusCode::NOT_FOUND, error))
        }
    };
    let other_method = || std::future::ready(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here"));
    router.fallback(nowhere).method_not_allowed_fallback(other_method)
}

/// What there is to do when there is no API.
const NO_TOKENS: &str = "there is no API without tokens: make one with `sluice token`, and name its file in the configuration, \
                         `[admin]` `tokens = \"tokens.toml\"`";

async fn dispatch(api: Arc<Api>, route: Arc<Route>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    match answer(&api, &route, &mut parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(api: &Arc<Api>, route: &Route, parts: &mut Parts, body: Body) -> Result<Response, Refusal> {
    let who = match route.access {
        Access::Public => None,
        Access::Anyone | Access::Tenant | Access::Operator => Some(claim(api, route, parts)?),
    };
    let mut large = match &who {
        _ if route.max_body <= SMALL_BODY => None,
        Some(Claim::Proven(who)) => Some(place(api, &who.name)?),
        Some(Claim::Signed(_)) | None => Some(place(api, "")?),
    };
    let body = read(body, route.max_body).await?;
    let who = match who {
        Some(Claim::Signed(signed)) => {
            let who = signed.prove(parts, &body, &api.nonces).map_err(|denied| refuse(api, parts, denied))?;
            let who = permit(api, route, parts, who)?;
            if large.is_some() {
                // From here on it has a place of its own.
                large = Some(place(api, &who.name)?);
            }
            Some(who)
        }
        Some(Claim::Proven(who)) => Some(who),
        None => None,
    };
    let path = parts.extract::<RawPathParams>().await;
    let path = path.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let answer = (route.run)(Call { api: Arc::clone(api), who, path, body }, &parts.uri).await;
    drop(large);
    answer
}

/// A place for a large body of `who`.
fn place(api: &Api, who: &str) -> Result<Place, Refusal> {
    api.large.take(who).ok_or_else(|| {
        api.refused.busy();
        let error = "too many large bodies are on their way; send one after another, with a token rather than signed";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
    })
}

/// Looks at who asks, as far as that can be known before the body is there.
fn claim(api: &Api, route: &Route, parts: &Parts) -> Result<Claim, Refusal> {
    let tokens = api.tokens.as_ref().ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, NO_TOKENS))?;
    match auth::claim(tokens, &parts.headers) {
        Ok(Claim::Proven(who)) => permit(api, route, parts, who).map(Claim::Proven),
        Ok(signed) => Ok(signed),
        Err(denied) => Err(refuse(api, parts, denied)),
    }
}

fn permit(api: &Api, route: &Route, parts: &Parts, who: Arc<Who>) -> Result<Arc<Who>, Refusal> {
    if route.access == Access::Operator && who.role != Role::Operator {
        api.refused.forbidden.inc();
        api.refused.note(peer(parts), &format!("`{}` is no operator", who.name));
        return Err(Refusal::new(StatusCode::FORBIDDEN, "for operators only"));
    }
    Ok(who)
}

fn refuse(api: &Api, parts: &Parts, denied: Denied) -> Refusal {
    match denied {
        Denied::Unauthenticated(why) => {
            api.refused.unauthenticated.inc();
            api.refused.note(peer(parts), why);
            let error = "this needs a token, or a signature that is right, recent and not used before";
            Refusal::new(StatusCode::UNAUTHORIZED, error)
        }
        Denied::Full => {
            api.refused.busy();
            api.refused.note(peer(parts), "no room for more nonces");
            let error = format!("too many signed requests within {} s; ask again later", 2 * auth::WINDOW_S);
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
        }
    }
}

fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0)
}

/// Reads what came with a request.
async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await;
    let too_slow = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_TIME:?}"));
    match collected.map_err(too_slow)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have {most} bytes")))
        }
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))),
    }
}
