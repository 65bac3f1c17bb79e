//! The call as handlers see it: who asks, under which id, until when, and on which conditions.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use inkstone_core::access::Caller;
use inkstone_core::precondition::Precondition;
use inkstone_core::{Code, Context};

use super::accept;
use super::conditional::{Conditions, IfMatch, Versioned};
use crate::app::Edge;
use crate::changes;
use crate::middleware::exchange::RequestInfo;
use crate::middleware::rate_limit;
use crate::problem::{Problem, Result};
use crate::representation::Asked;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A call by somebody who has been told apart, of a client that takes JSON.
#[derive(Debug, Clone)]
pub struct Call {
    /// What every service takes.
    pub ctx: Context,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// What is known of the request.
    pub info: Arc<RequestInfo>,
    /// The change that the client knows of: it must be in the answer.
    pub change: Option<i64>,
    wants_timing: bool,
}

impl Call {
    /// The conditions of the request.
    ///
    /// # Errors
    /// [`Code::BadHeader`].
    pub fn conditions(&self) -> Result<Conditions> {
        Conditions::from_headers(&self.headers)
    }

    /// What a write expects of the resource.
    ///
    /// # Errors
    /// [`Code::BadHeader`].
    pub fn precondition<T: Versioned + 'static>(&self, if_match: IfMatch) -> Result<Precondition<T>> {
        Ok(self.conditions()?.for_write(if_match))
    }

    /// Whether nobody in particular asks, so that the answer may be shared.
    pub fn is_anonymous(&self) -> bool {
        self.ctx.caller == Caller::Anonymous
    }

    /// What [`crate::representation::Representation::respond`] needs to know.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            headers: &self.headers,
            wants_timing: self.wants_timing,
            statements: self.ctx.meter.statements(),
        }
    }
}

impl<S> FromRequestParts<S> for Call
where
    S: Send + Sync,
    Edge: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let edge = Edge::from_ref(state);
        let info = RequestInfo::of(&parts.extensions)?;
        accept::check_media_type(&parts.headers, "application/json")?;
        let change = changes::known(&parts.headers)?;
        let mut ctx = info.context(Caller::Anonymous);
        if let Some(token) = bearer(&parts.headers)? {
            ctx.caller = authenticate(&edge, &ctx, token).await?;
            info.note_caller(&ctx.caller);
        }
        rate_limit::check_write(&edge, &info, &parts.method, parts.uri.path(), &ctx.caller).await?;
        Ok(Self {
            ctx,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers.clone(),
            wants_timing: Asked::wants_timing(edge.settings(), &parts.headers),
            info,
            change,
        })
    }
}

async fn authenticate(edge: &Edge, ctx: &Context, token: &str) -> Result<Caller> {
    edge.authenticator().authenticate(ctx, token).await.map_err(|error| {
        let about_the_token = error.code() == Code::Unauthenticated;
        let problem = Problem::from(error);
        if about_the_token { problem.because_of_the_token() } else { problem }
    })
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1), the only way in which one is taken.
///
/// # Errors
/// [`Code::Unauthenticated`] for another scheme or a malformed or doubled header: whoever sends
/// credentials shall not be answered as if they had sent none.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>> {
    let refused = || Problem::new(Code::Unauthenticated, "Send one header: Authorization: Bearer, then the token.");
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(refused().because_of_the_token());
    }
    let (scheme, token) = line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused());
    }
    let token = token.trim_matches(' ');
    let is_token68 = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !is_token68 {
        return Err(refused().because_of_the_token());
    }
    Ok(Some(token))
}
