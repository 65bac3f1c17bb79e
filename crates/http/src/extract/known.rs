//! A call by somebody: for everything that nobody in particular may do.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use inkstone_core::Code;

use super::call::Call;
use crate::app::Edge;
use crate::problem::{Problem, Result};

/// A [`Call`] that is not anonymous. Refuses before the body is read, so that strangers cost
/// nothing and learn nothing about what a body should look like.
#[derive(Debug, Clone)]
pub struct Known(pub Call);

impl<S> FromRequestParts<S> for Known
where
    S: Send + Sync,
    Edge: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let call = Call::from_request_parts(parts, state).await?;
        if call.is_anonymous() {
            return Err(Problem::new(Code::Unauthenticated, "This needs an access token."));
        }
        Ok(Self(call))
    }
}
