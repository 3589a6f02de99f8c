//! Who asks: bearer tokens and signed requests. What a refused client is told does not say which part was wrong; the log
//! does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tokens::{Tokens, Who, hex, unhex};

/// Name of the scheme of signed requests.
const SCHEME: &str = "SLUICE-HMAC-SHA256";
/// Seconds that the timestamp of a signed request may be away from now, either way.
pub(crate) const WINDOW_S: u64 = 60;
/// How long a nonce is remembered: as long as its timestamp can be within the window.
const REMEMBERED: Duration = Duration::from_secs(2 * WINDOW_S);
/// Nonces of a key that are remembered; while so many are, no request with that key is taken.
const MOST_NONCES: usize = 1 << 14;
/// Hexadecimal digits of a nonce: 8 bytes at least.
const NONCE_DIGITS: std::ops::RangeInclusive<usize> = 16..=64;
/// Bytes of an `Authorization` header that are looked at.
const MAX_HEADER: usize = 1024;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It does not prove who it is from; for the log, why.
    Unauthenticated(&'static str),
    /// There is no room to remember its nonce.
    Full,
}

/// Who a request says it is from.
pub(crate) enum Claim {
    /// It has a token, and that is all there is to prove.
    Proven(Arc<Who>),
    /// It is signed; the body has to be seen to know whether it is right.
    Signed(Box<Signed>),
}

/// A signed request before its signature was looked at.
pub(crate) struct Signed {
    /// Nobody has a key of the name that it gives: said no sooner than that a signature is wrong.
    known: Option<(Arc<Who>, Zeroizing<Vec<u8>>)>,
    timestamp: String,
    nonce: String,
    signature: Vec<u8>,
}

/// Nonces of the signed requests that were taken, so that none is taken twice. Each key has its own: one that is used
/// too much takes no room of the others.
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<HashMap<String, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<String>,
    by_age: VecDeque<(Instant, String)>,
}

impl Remembered {
    /// Forgets those whose requests are too old by now.
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.by_age.front()
            && now.saturating_duration_since(*since) > REMEMBERED
            && let Some((_, old)) = self.by_age.pop_front()
        {
            self.known.remove(&old);
        }
    }
}

impl Nonces {
    /// Takes a nonce of `name`, once.
    fn take(&self, name: &str, nonce: &str, now: Instant) -> Result<(), Denied> {
        let mut of_keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !of_keys.contains_key(name) {
            // Keys that are not used any more, or not there.
            of_keys.retain(|_, remembered| {
                remembered.forget(now);
                !remembered.known.is_empty()
            });
        }
        let remembered = of_keys.entry(name.to_owned()).or_default();
        remembered.forget(now);
        if remembered.known.contains(nonce) {
            return Err(Denied::Unauthenticated("nonce used before"));
        }
        if remembered.known.len() >= MOST_NONCES {
            return Err(Denied::Full);
        }
        remembered.known.insert(nonce.to_owned());
        remembered.by_age.push_back((now, nonce.to_owned()));
        Ok(())
    }
}

/// Looks at the header of a request.
pub(crate) fn claim(tokens: &Tokens, headers: &HeaderMap) -> Result<Claim, Denied> {
    let no = |why| Err(Denied::Unauthenticated(why));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return no("no Authorization header, or several") };
    let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER) else {
        return no("Authorization header too long or not text");
    };
    let Some((scheme, rest)) = text.split_once(' ') else { return no("no known scheme") };
    if scheme.eq_ignore_ascii_case("Bearer") {
        let who = tokens.of_bearer(rest.trim().as_bytes());
        return who.map(Claim::Proven).ok_or(Denied::Unauthenticated("unknown token"));
    }
    if scheme == SCHEME {
        signed(tokens, rest).map(|signed| Claim::Signed(Box::new(signed)))
    } else {
        no("no known scheme")
    }
}

fn signed(tokens: &Tokens, rest: &str) -> Result<Signed, Denied> {
    let no = Denied::Unauthenticated;
    let (mut key, mut timestamp, mut nonce, mut signature) = (None, None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or(no("a part of the signature is no NAME=VALUE"))?;
        let place = match name {
            "key" => &mut key,
            "timestamp" => &mut timestamp,
            "nonce" => &mut nonce,
            "signature" => &mut signature,
            _ => return Err(no("unknown part of a signature")),
        };
        if place.replace(value).is_some() {
            return Err(no("a part of the signature is there twice"));
        }
    }
    let (Some(name), Some(timestamp), Some(nonce), Some(signature)) = (key, timestamp, nonce, signature) else {
        return Err(no("a part of the signature is missing"));
    };
    let said: u64 = timestamp.parse().map_err(|_| no("timestamp is no number"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now.abs_diff(said) > WINDOW_S {
        return Err(no("timestamp outside of the window"));
    }
    if !NONCE_DIGITS.contains(&nonce.len()) || !nonce.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(no("nonce is not 16 to 64 hexadecimal digits"));
    }
    let signature = unhex(signature).ok_or(no("signature is not hexadecimal"))?;
    Ok(Signed { known: tokens.of_key(name), timestamp: timestamp.to_owned(), nonce: nonce.to_owned(), signature })
}

impl Signed {
    /// Whether the signature is that of the request, and the nonce a new one.
    pub(crate) fn prove(self, request: &Parts, body: &[u8], nonces: &Nonces) -> Result<Arc<Who>, Denied> {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let text = signed_text(request.method.as_str(), target, body, &self.timestamp, &self.nonce);
        let (who, key) = self.known.ok_or(Denied::Unauthenticated("unknown key"))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        // Compares in constant time.
        mac.verify_slice(&self.signature).map_err(|_| Denied::Unauthenticated("wrong signature"))?;
        // Only now: what anybody can send must not fill the store.
        nonces.take(&who.name, &self.nonce, Instant::now())?;
        Ok(who)
    }
}

/// What is signed: method, path with query, digest of the body, timestamp and nonce, a line each.
fn signed_text(method: &str, target: &str, body: &[u8], timestamp: &str, nonce: &str) -> String {
    format!("{method}\n{target}\n{}\n{timestamp}\n{nonce}", hex(&Sha256::digest(body)))
}

/// The header of a signed request: what a client sends.
pub(crate) fn sign(name: &str, key: &[u8], (method, target, body): (&str, &str, &[u8]), nonce: &[u8]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string();
    let nonce = hex(nonce);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(signed_text(method, target, body, &now, &nonce).as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    format!("{SCHEME} key={name}, timestamp={now}, nonce={nonce}, signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once_per_key_and_again_when_its_request_is_too_old() {
        let nonces = Nonces::default();
        let start = Instant::now();
        let used = Err(Denied::Unauthenticated("nonce used before"));
        assert_eq!(nonces.take("a", "00", start), Ok(()));
        assert_eq!(nonces.take("b", "00", start), Ok(()));
        assert_eq!(nonces.take("a", "00", start + REMEMBERED), used);
        assert_eq!(nonces.take("a", "00", start + REMEMBERED + Duration::from_millis(1)), Ok(()));
    }

    #[test]
    fn a_full_store_takes_no_request_until_nonces_are_too_old() {
        let nonces = Nonces::default();
        let start = Instant::now();
        for nonce in 0..MOST_NONCES {
            assert_eq!(nonces.take("a", &format!("{nonce:x}"), start), Ok(()));
        }
        assert_eq!(nonces.take("a", "new", start), Err(Denied::Full));
        assert_eq!(nonces.take("b", "new", start), Ok(()), "another key has room of its own");
        assert_eq!(nonces.take("a", "0", start), Err(Denied::Unauthenticated("nonce used before")));
        assert_eq!(nonces.take("a", "new", start + REMEMBERED * 2), Ok(()));
        assert_eq!(nonces.0.lock().unwrap()["a"].known.len(), 1);
        assert_eq!(nonces.take("c", "new", start + REMEMBERED * 4), Ok(()));
        assert_eq!(nonces.0.lock().unwrap().len(), 1, "keys that are not used are forgotten");
    }

    #[test]
    fn what_is_signed_is_what_the_page_says() {
        let text = signed_text("GET", "/v1/tables?x=1", b"", "1700000000", "00ff");
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text, format!("GET\n/v1/tables?x=1\n{digest}\n1700000000\n00ff"));
    }
}
