//! Reads a JSON object field by field and reports every fault at once.
//!
//! ```text
//! async fn create_post(State(app): State<App>, call: Call, mut body: ObjectReader) -> Result<Response> {
//!     let title = body.required::<Title>("title");
//!     let markdown = body.required::<Markdown>("content");
//!     let tags = body.optional::<Vec<TagName>>("tags");
//!     let draft = body.build(|| Some(PostDraft { title: title?, markdown: markdown?, tags: tags.unwrap_or_default() }))?;
//!     …
//! }
//! ```
//! `build` answers 422 with all faults (missing, of the wrong type, against a rule, unknown) before
//! the closure runs; in the closure every `required` value is there.

use std::pin::pin;

use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use inkstone_core::{Code, Fault, FaultCode};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::fields::FromJson;
use super::json;
use crate::app::Edge;
use crate::load::Slot;
use crate::problem::{MAX_FAULTS, Problem, Result};
use crate::server::BodyError;
use crate::settings::Settings;

/// A JSON object from a request's body, on its way to become a typed value.
#[derive(Debug)]
pub struct ObjectReader {
    members: Map<String, Value>,
    pointer: String,
    faults: Vec<Fault>,
    fingerprint: [u8; 32],
}

impl ObjectReader {
    /// Reads an object out of bytes that have arrived.
    ///
    /// # Errors
    /// [`Code::Malformed`] if it is not strict JSON, [`Code::Invalid`] if it is no object.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let value = json::parse(bytes)?;
        let mut form = Vec::with_capacity(bytes.len());
        json::canonical(&value, &mut form);
        let Value::Object(members) = value else {
            return Err(Problem::with_fault(
                Code::Invalid,
                "",
                FaultCode::WrongType,
                "The body must be a JSON object.",
            ));
        };
        Ok(Self { members, pointer: String::new(), faults: Vec::new(), fingerprint: Sha256::digest(&form).into() })
    }

    /// SHA-256 of the body in canonical form.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// A field that must be there. `None` means that a fault was noted.
    pub fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let value = self.members.remove(name);
        if value.is_none() {
            self.fault(name, Fault::here(FaultCode::Required, "This field is required."));
        }
        self.read(name, value?)
    }

    /// A field that may be absent, but not null. `None` means absent, or that a fault was noted.
    pub fn optional<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let value = self.members.remove(name)?;
        self.read(name, value)
    }

    /// A field that may be absent (`None`) or null (`Some(None)`).
    pub fn nullable<T: FromJson>(&mut self, name: &str) -> Option<Option<T>> {
        match self.members.remove(name)? {
            Value::Null => Some(None),
            value => self.read(name, value).map(Some),
        }
    }

    /// A nested object that must be there.
    pub fn required_object<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if !self.members.contains_key(name) {
            self.fault(name, Fault::here(FaultCode::Required, "This field is required."));
        }
        self.optional_object(name, read)
    }

    /// A nested object that may be absent. `read` reads its fields; unknown ones are faults too.
    pub fn optional_object<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let Value::Object(members) = self.members.remove(name)? else {
            self.fault(name, Fault::here(FaultCode::WrongType, "This must be an object."));
            return None;
        };
        let mut pointer = self.pointer.clone();
        json::push_pointer(&mut pointer, name);
        let mut nested = Self { members, pointer, faults: Vec::new(), fingerprint: self.fingerprint };
        let value = read(&mut nested);
        nested.refuse_unknown();
        self.faults.append(&mut nested.faults);
        value
    }

    /// Notes a fault of a rule that spans fields.
    pub fn fault(&mut self, name: &str, fault: Fault) {
        let mut pointer = self.pointer.clone();
        json::push_pointer(&mut pointer, name);
        self.faults.push(fault.under(&pointer));
    }

    /// Ends the reading of a body without required fields.
    ///
    /// # Errors
    /// [`Code::Invalid`] with every fault.
    pub fn finish(mut self) -> Result<()> {
        self.refuse_unknown();
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::with_faults(Code::Invalid, self.faults)) }
    }

    /// Ends the reading and builds the value out of what was read.
    ///
    /// # Errors
    /// [`Code::Invalid`] with every fault.
    pub fn build<T>(self, value: impl FnOnce() -> Option<T>) -> Result<T> {
        self.finish()?;
        // A field is only missing here if its fault was noted, and then `finish` has answered.
        value().ok_or_else(|| Problem::internal("a required field is missing, but no fault was noted"))
    }

    fn read<T: FromJson>(&mut self, name: &str, value: Value) -> Option<T> {
        let mut pointer = self.pointer.clone();
        json::push_pointer(&mut pointer, name);
        T::from_json(value, &pointer, &mut self.faults)
    }

    fn refuse_unknown(&mut self) {
        let names: Vec<String> = std::mem::take(&mut self.members).into_iter().map(|(name, _)| name).collect();
        for name in names.into_iter().take(MAX_FAULTS) {
            self.fault(&name, Fault::here(FaultCode::UnknownField, "This field is not known, or may not be set here."));
        }
    }
}

impl<S> FromRequest<S> for ObjectReader
where
    S: Send + Sync,
    Edge: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let edge = Edge::from_ref(state);
        check_media_type(request.method(), request.headers())?;
        Self::from_bytes(&collect(&edge, request).await?)
    }
}

/// JSON in UTF-8 and nothing else; a merge patch (RFC 7396) only with PATCH.
fn check_media_type(method: &Method, headers: &HeaderMap) -> Result<()> {
    let refused = |detail| Err(Problem::new(Code::UnsupportedMediaType, detail));
    let coded =
        headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if coded {
        return refused("Request bodies must not be compressed.");
    }
    let expected: &[&str] = match *method {
        Method::PATCH => &["application/merge-patch+json", "application/json"],
        _ => &["application/json"],
    };
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(given)), None) = (given.next().map(http::HeaderValue::to_str), given.next()) else {
        return refused("Content-Type must be application/json.");
    };
    let mut parts = given.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !expected.iter().any(|expected| essence.eq_ignore_ascii_case(expected)) {
        return refused("Content-Type must be application/json.");
    }
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return refused("The charset must be UTF-8.");
        }
    }
    Ok(())
}

/// The whole body, within its size and time. While it is waited for, the request takes no place among those in work.
async fn collect(edge: &Edge, request: Request) -> Result<Bytes> {
    let slot = request.extensions().get::<Slot>().cloned();
    let mut arriving = pin!(arrive(edge.settings(), request));
    // Most bodies come with their head.
    match (arriving.as_mut().now_or_never(), slot) {
        (Some(arrived), _) => arrived,
        (None, Some(slot)) => slot.outside(arriving).await,
        (None, None) => arriving.await,
    }
}

async fn arrive(settings: &Settings, request: Request) -> Result<Bytes> {
    let too_large =
        || Problem::new(Code::TooLarge, format!("The body is larger than {} bytes.", settings.max_body_bytes));
    let too_slow = || Problem::new(Code::RequestTimeout, "The body took too long to arrive.");
    // A declared length is refused before a byte of it is read.
    let declared = http_body::Body::size_hint(request.body()).lower();
    if declared > settings.max_body_bytes as u64 {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), settings.max_body_bytes);
    match tokio::time::timeout(settings.body_deadline, body.collect()).await {
        Err(_) => Err(too_slow()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        // The server watches the client too, and may lose patience first.
        Ok(Err(error)) if BodyError::is_timeout(error.as_ref()) => Err(too_slow()),
        Ok(Err(_)) => Err(Problem::new(Code::BadRequest, "The body broke off.")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}
