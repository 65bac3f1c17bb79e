//! Ids and slugs in the path. What cannot be one names nothing: 404, never 400.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use inkstone_core::posts::PostId;
use inkstone_core::tags::TagId;
use inkstone_core::text::Slug;
use inkstone_core::users::UserId;

use crate::problem::{Problem, Result};

/// An id that may stand in a path or a query.
pub trait ResourceId: Sized {
    /// What it names, for people.
    const WHAT: &'static str;

    /// The id with this number.
    fn of(number: i64) -> Self;

    /// Reads the digits of an id.
    fn parse(text: &str) -> Option<Self> {
        positive(text).map(Self::of)
    }
}

/// A positive number without sign or leading zero: one address per resource.
fn positive(text: &str) -> Option<i64> {
    let well_formed = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| well_formed && *number > 0)
}

macro_rules! resources {
    ($($name:ident = $what:literal),+) => {
        $(impl ResourceId for $name {
            const WHAT: &'static str = $what;

            fn of(number: i64) -> Self {
                Self(number)
            }
        })+
    };
}

resources!(PostId = "post", UserId = "user", TagId = "tag");

/// The `{id}` of the path.
#[derive(Debug, Clone, Copy)]
pub struct PathId<T>(pub T);

impl<S: Send + Sync, T: ResourceId> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = parameter(parts, state, "id").await;
        text.as_deref().and_then(T::parse).map(Self).ok_or_else(|| Problem::not_found(T::WHAT))
    }
}

/// The `{id}` of the path, for things that are no resource of their own: sessions, tokens.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = parameter(parts, state, "id").await;
        text.as_deref().and_then(positive).map(Self).ok_or_else(|| Problem::not_found("thing"))
    }
}

/// The `{slug}` of the path.
#[derive(Debug, Clone)]
pub struct PathSlug(pub Slug);

impl<S: Send + Sync> FromRequestParts<S> for PathSlug {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = parameter(parts, state, "slug").await;
        text.and_then(|text| Slug::try_from(text).ok()).map(Self).ok_or_else(|| Problem::not_found("address"))
    }
}

async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let parameters = RawPathParams::from_request_parts(parts, state).await.ok()?;
    parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| value.to_owned())
}
