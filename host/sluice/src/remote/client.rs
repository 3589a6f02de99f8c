//! The HTTP client: one request, and what went wrong in words that help.

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use super::RemoteArgs;
use crate::admin::shapes::Problem;
use crate::admin::sign;
use crate::admin::tokens::key_of;
use crate::failure::Failure;

/// How long the collector may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long it may take to answer: it may have a plugin to compile.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 20;

/// What is done with what a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// Who asks.
enum Proof {
    None,
    Token(Zeroizing<String>),
    Key(String, Zeroizing<Vec<u8>>),
}

/// A collector.
pub(super) struct Client {
    agent: Agent,
    base: String,
    proof: Proof,
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A URL or a token that cannot be used.
    pub(super) fn new(args: &RemoteArgs) -> Result<Client, Failure> {
        let base = args.admin.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            let problem = "write http://HOST:PORT (no TLS is spoken: where a proxy does, use `ssh -L` or curl)";
            return Err(Failure::usage(format!("--admin {base}: {problem}")));
        }
        let secret = match &args.token_file {
            Some(file) => {
                let cannot = |error| Failure::running(format!("--token-file {}", file.display()), error);
                Some(Zeroizing::new(std::fs::read_to_string(file).map_err(cannot)?.trim().to_owned()))
            }
            None => std::env::var("SLUICE_TOKEN").ok().map(|token| Zeroizing::new(token.trim().to_owned())),
        };
        let proof = match (secret, &args.key) {
            (Some(key), Some(name)) => {
                let problem = |problem| Failure::usage(format!("--key {name}: {problem}"));
                Proof::Key(name.clone(), key_of(&key).map_err(problem)?)
            }
            (None, Some(name)) => {
                return Err(Failure::usage(format!("--key {name}: give its key with --token-file or in SLUICE_TOKEN")));
            }
            (Some(token), None) => Proof::Token(token),
            (None, None) => Proof::None,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_recv_response(Some(ANSWER_TIME))
            .max_redirects(0)
            .build();
        Ok(Client { agent: agent.into(), base, proof })
    }

    /// Asks, and takes the whole answer.
    ///
    /// # Errors
    /// If nobody answers, or the collector refuses.
    pub(super) fn text(&self, method: Method, path: &str, body: &[u8]) -> Result<String, Failure> {
        let mut response = self.send(method, path, body)?;
        let read = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        read.map_err(|error| Failure::running(format!("{}{path}: no whole answer", self.base), error))
    }

    /// Asks, and gives the answer to be read as it comes.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub(super) fn stream(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let response = self.send(Method::Get, path, b"")?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn send(&self, method: Method, path: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
        let name = match method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        };
        let mut request = Request::builder().method(name).uri(format!("{}{path}", self.base));
        if let Some(authorization) = self.authorization(name, path, body)? {
            request = request.header("Authorization", &*authorization);
        }
        let bad = |error| Failure::usage(format!("--admin {}: {error}", self.base));
        let sent = match method {
            Method::Get | Method::Delete => self.agent.run(request.body(()).map_err(bad)?),
            Method::Post | Method::Put => self.agent.run(request.body(body).map_err(bad)?),
        };
        let mut response = sent.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
        let problem = serde_json::from_str(&text).map_or_else(|_| format!("HTTP {status}"), |Problem { error }| error);
        Err(Failure::failed(match (status, &self.proof) {
            (401, Proof::None) => {
                format!(
                    "{}: this needs a token; set SLUICE_TOKEN, or use --token-file (`sluice token` makes one)",
                    self.base
                )
            }
            (401, Proof::Token(_)) => {
                format!("{}: the collector does not know the token; look at SLUICE_TOKEN or --token-file", self.base)
            }
            (401, Proof::Key(name, _)) => {
                format!(
                    "{}: the collector does not take the signature; look at the key of `{name}` and the clock",
                    self.base
                )
            }
            (403, _) => format!("{}: {problem}; the token is of a tenant", self.base),
            _ => problem,
        }))
    }

    fn authorization(&self, method: &str, path: &str, body: &[u8]) -> Result<Option<Zeroizing<String>>, Failure> {
        Ok(match &self.proof {
            Proof::None => None,
            Proof::Token(token) => Some(Zeroizing::new(format!("Bearer {}", **token))),
            Proof::Key(name, key) => {
                let mut nonce = [0; 16];
                let no_nonce = |error: getrandom::Error| Failure::running("no random numbers", error.to_string());
                getrandom::fill(&mut nonce).map_err(no_nonce)?;
                Some(Zeroizing::new(sign(name, key, (method, path, body), &nonce)))
            }
        })
    }

    fn unreachable(&self, error: ureq::Error) -> Failure {
        let way_out = "is sluice running there, with `[admin]` in its configuration? Else give --admin URL";
        Failure::running(format!("{} does not answer ({way_out})", self.base), error)
    }
}

/// An answer of the shape that is due.
///
/// # Errors
/// If it has another one.
pub(super) fn parsed<A: DeserializeOwned>(text: &str) -> Result<A, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::running("the answer is none of a collector of this version", error))
}

/// `text` as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            write!(out, "%{byte:02X}").expect("a string grows");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_means_something_in_a_url_is_escaped() {
        assert_eq!(escaped("a-b_1.x~"), "a-b_1.x~");
        assert_eq!(escaped("src_addr=::1/64,a b&c?"), "src_addr%3D%3A%3A1%2F64%2Ca%20b%26c%3F");
    }
}
