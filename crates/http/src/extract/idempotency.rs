//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a POST that is repeated has
//! its effect once, and the same answer each time.
//!
//! The key is a quoted string, as the draft has it (`"8e03978e-40d5"`), or, since many clients
//! send it so, the same characters without quotes: 1 to 255 of visible ASCII. Both forms of one
//! text are one key. The first answer is stored in the transaction of its effect; until that is
//! done, a repetition in the same process gets 409, and in another process waits for the store.
//!
//! What is secret in an answer is not stored: a repetition gets the answer without it, and where
//! nothing of worth would be left (sign-in, refresh) the key is refused.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use inkstone_core::access::Caller;
use inkstone_core::idempotency::{Idempotency, Render, StoredAnswer, Written};
use inkstone_core::{Code, FaultCode};
use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use super::call::Call;
use crate::app::Edge;
use crate::problem::{Problem, Result};

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The most characters of a key.
pub const MAX_KEY_CHARS: usize = 255;

/// The keys whose first request is in work in this process.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashSet<(String, String)>>);

/// Holds a key until the first request is answered.
#[derive(Debug)]
struct Held {
    keys: Arc<InFlight>,
    key: (String, String),
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A write that may carry an idempotency key. Keep it until the answer is made.
pub struct Once<T> {
    render: Render<T>,
    idempotency: Option<Idempotency<T>>,
    _held: Option<Held>,
}

impl<T: Clone> Once<T> {
    /// What the service takes.
    pub fn idempotency(&self) -> Option<Idempotency<T>> {
        self.idempotency.clone()
    }

    /// The answer: made now, or as it was given the first time.
    ///
    /// # Errors
    /// When the answer cannot be made.
    pub fn answer(self, written: Written<T>) -> Result<Response> {
        match written {
            Written::Done(thing) => Ok(respond((self.render)(&thing)?)),
            Written::Replayed(answer) => {
                let mut response = respond(answer);
                response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
                Ok(response)
            }
        }
    }
}

impl Call {
    /// Prepares a POST whose body has `fingerprint` ([`super::body::ObjectReader::fingerprint`]).
    /// `render` makes the answer; it may run inside the store's transaction.
    ///
    /// # Errors
    /// [`Code::BadHeader`] for a key that is none; [`Code::IdempotencyInProgress`].
    pub fn once<T>(&self, edge: &Edge, fingerprint: [u8; 32], render: Render<T>) -> Result<Once<T>> {
        let Some(key) = key(&self.headers)? else {
            return Ok(Once { render, idempotency: None, _held: None });
        };
        let scope = scope(&self.ctx.caller, self);
        let held = hold(&edge.in_flight, (scope.clone(), key.clone()))?;
        let ttl = SignedDuration::try_from(edge.settings().idempotency_ttl).map_err(Problem::internal)?;
        let expires_at = edge.clock().now().checked_add(ttl).map_err(Problem::internal)?;
        let fingerprint = of_request(self, &fingerprint);
        let idempotency = Idempotency { scope, key, fingerprint, expires_at, render: Arc::clone(&render) };
        Ok(Once { render, idempotency: Some(idempotency), _held: Some(held) })
    }
}

/// Two callers may use one key for different things; the anonymous are told apart by address.
fn scope(caller: &Caller, call: &Call) -> String {
    match caller {
        Caller::User(signed_in) => format!("user:{}", signed_in.user),
        Caller::Operator => "operator".to_owned(),
        Caller::Anonymous => format!("address:{}", call.info.client),
    }
}

fn hold(keys: &Arc<InFlight>, key: (String, String)) -> Result<Held> {
    let is_new = keys.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    if !is_new {
        return Err(Problem::new(Code::IdempotencyInProgress, "The first request with this key is still in work.")
            .retry_after(Duration::from_secs(1)));
    }
    Ok(Held { keys: Arc::clone(keys), key })
}

fn of_request(call: &Call, body: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(call.method.as_str());
    hash.update(b" ");
    hash.update(&call.path);
    hash.update(b"\n");
    hash.update(body);
    hash.finalize().into()
}

/// Refuses a key where it could not keep what it promises, so that nobody counts on it: the answer
/// holds tokens, which are not stored, not even to be given again.
///
/// # Errors
/// [`Code::BadHeader`].
pub fn refuse_key(headers: &HeaderMap) -> Result<()> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(());
    }
    Err(Problem::with_fault(
        Code::BadHeader,
        IDEMPOTENCY_KEY.as_str(),
        FaultCode::NotAllowed,
        "The answer holds tokens, which are never stored, so that it cannot be given again. Leave this header out.",
    ))
}

/// The key of the request, if it has one.
///
/// # Errors
/// [`Code::BadHeader`].
pub fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let key = match lines.next() {
        None => line.to_str().ok().and_then(|line| parse_key(line.trim())),
        Some(_) => None,
    };
    key.map(Some).ok_or_else(|| {
        Problem::with_fault(
            Code::BadHeader,
            IDEMPOTENCY_KEY.as_str(),
            FaultCode::BadFormat,
            format!("A quoted string of 1 to {MAX_KEY_CHARS} visible ASCII characters."),
        )
    })
}

/// A quoted string of structured fields (RFC 9651 §3.3.3), or the bare characters.
fn parse_key(text: &str) -> Option<String> {
    let key = match text.strip_prefix('"') {
        Some(rest) => unescape(rest.strip_suffix('"')?)?,
        None if text.contains(['"', '\\', ',', ';']) => return None,
        None => text.to_owned(),
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=MAX_KEY_CHARS).contains(&key.len())).then_some(key)
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => plain.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            plain_one => plain.push(plain_one),
        }
    }
    Some(plain)
}

/// Bytes that were stored, or are like it, become an answer.
pub(crate) fn respond(answer: StoredAnswer) -> Response {
    let StoredAnswer { status, headers, body } = answer;
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_strings_or_bare_words() {
        assert_eq!(parse_key(r#""8e03978e-40d5""#).as_deref(), Some("8e03978e-40d5"));
        assert_eq!(parse_key("8e03978e-40d5").as_deref(), Some("8e03978e-40d5"));
        assert_eq!(parse_key(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(parse_key(&"k".repeat(255)).map(|key| key.len()), Some(255));
        for bad in ["", r#""""#, r#"""#, r#""a"#, r#""a\n""#, r#""a";p=1"#, "a b", "a,b", "a;b=1", r#""a b""#, "ä"] {
            assert_eq!(parse_key(bad), None, "{bad}");
        }
        assert_eq!(parse_key(&"k".repeat(256)), None);
    }
}
