//! One endpoint: what it is called by, who may call it, what it answers, and how. Router and OpenAPI document are made of
//! the same [`Route`]s, so they cannot differ.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::shapes::Problem;
use super::tokens::Who;

/// Bytes of a request's body where nothing is expected in it.
pub(super) const SMALL_BODY: usize = 64 << 10;

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, without a token.
    Public,
    /// Whoever has a token.
    Anyone,
    /// Operators, and the tenant that it is about.
    Tenant,
    /// Operators.
    Operator,
}

/// A call of an endpoint.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    /// Who calls; nobody at an endpoint that is public.
    pub(crate) who: Option<Arc<Who>>,
    /// Names and values of the parts of the path.
    pub(crate) path: Vec<(String, String)>,
    /// What came with it.
    pub(crate) body: Bytes,
}

impl Call {
    /// The tenant that calls; none for an operator.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.who.as_ref().and_then(|who| who.tenant.as_deref())
    }

    /// The part of the path that is called `{name}`.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(part, _)| part == name).map_or("", |(_, value)| value)
    }
}

/// Why a call is answered with something else than what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Display) -> Refusal {
        Refusal { status, error: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Problem { error: self.error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let schemes = header::HeaderValue::from_static("Bearer, SLUICE-HMAC-SHA256");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
        }
        response
    }
}

/// An endpoint without parameters in its query.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}

type Running = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send>>;
type Run = Box<dyn Fn(Call, &axum::http::Uri) -> Running + Send + Sync>;

/// An endpoint.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With `{NAME}` for the parts that a call chooses.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// Name of the operation.
    pub(crate) id: &'static str,
    /// What it does, as a sentence.
    pub(crate) summary: &'static str,
    /// Bytes that the body of a call may have.
    pub(crate) max_body: usize,
    /// Schema of the query.
    pub(crate) query: fn(&mut SchemaGenerator) -> Schema,
    /// Media type and schema of the answer.
    pub(crate) media: &'static str,
    pub(crate) answer: fn(&mut SchemaGenerator) -> Schema,
    /// What else it may answer, beyond what every endpoint may.
    pub(crate) refusals: &'static [(u16, &'static str)],
    pub(crate) run: Run,
}

/// What an endpoint is called by: method, path, who may call it, name and summary.
pub(crate) type About = (Method, &'static str, Access, &'static str, &'static str);

impl Route {
    /// An endpoint that answers an `A` as JSON, given a query `Q`.
    pub(crate) fn json<Q, A, F, W>(about: About, refusals: &'static [(u16, &'static str)], work: W) -> Route
    where
        Q: DeserializeOwned + JsonSchema,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, Refusal>> + Send + 'static,
        W: Fn(Call, Q) -> F + Send + Sync + 'static,
    {
        Route::raw::<Q, A, _, _>(about, "application/json", refusals, move |call, query| {
            let answer = work(call, query);
            async move { Ok(Json(answer.await?).into_response()) }
        })
    }

    /// An endpoint that makes its answer itself, of type `media` and, line for line or in whole, of schema `A`.
    pub(crate) fn raw<Q, A, F, W>(
        (method, path, access, id, summary): About,
        media: &'static str,
        refusals: &'static [(u16, &'static str)],
        work: W,
    ) -> Route
    where
        Q: DeserializeOwned + JsonSchema,
        A: JsonSchema,
        F: Future<Output = Result<Response, Refusal>> + Send + 'static,
        W: Fn(Call, Q) -> F + Send + Sync + 'static,
    {
        let run: Run = Box::new(move |call, uri| match Query::<Q>::try_from_uri(uri) {
            Ok(Query(query)) => Box::pin(work(call, query)),
            Err(error) => {
                let error = format!("query: {}", sluice_pipeline::chain(&error));
                Box::pin(async { Err(Refusal::new(StatusCode::BAD_REQUEST, error)) })
            }
        });
        Route {
            method,
            path,
            access,
            id,
            summary,
            max_body: SMALL_BODY,
            query: |generator| Q::json_schema(generator),
            media,
            answer: |generator| generator.subschema_for::<A>(),
            refusals,
            run,
        }
    }

    /// The same, with a body of so many bytes at most.
    pub(crate) fn taking(self, max_body: usize) -> Route {
        Route { max_body, ..self }
    }
}

/// A header with the type of what follows.
pub(crate) fn content_type(media: &'static str) -> [(HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, media)]
}
