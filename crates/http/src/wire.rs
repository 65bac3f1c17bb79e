//! What all versions share on the wire: times, and narrowing by `fields`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::QueryReader;

/// A time in RFC 3339, in UTC, with milliseconds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T08:30:00.000Z")]
pub(crate) struct Timed(String);

/// The last part of an address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "writing")]
pub(crate) struct SlugText(String);

/// Where a post is in its life.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "names the values for the API reference")]
pub(crate) enum StatusWord {
    /// Seen by its authors and editors only.
    Draft,
    /// Public.
    Published,
}

/// A representation that `fields` can narrow, alone or as the row of a list.
pub(crate) trait Narrow {
    /// The names that `fields` may list.
    const FIELDS: &'static [&'static str];
}

/// Reads `fields`: what to show of `T`; everything, if left out.
pub(crate) fn fields<T: Narrow>(query: &mut QueryReader) -> Option<Vec<&'static str>> {
    query.words("fields", T::FIELDS)
}

/// Writes a time as every version does: RFC 3339 in UTC with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Serialises `body`, narrowed to `fields` if there are any. Infallible for our own wire types,
/// which hold only strings, numbers and lists.
pub(crate) fn to_json<T: Serialize>(body: &T, fields: Option<&[&str]>) -> inkstone_core::Result<Vec<u8>> {
    match fields {
        None => serde_json::to_vec(body),
        Some(fields) => {
            let mut value = serde_json::to_value(body).map_err(inkstone_core::Error::internal)?;
            match value.get_mut("data") {
                Some(Value::Array(rows)) => rows.iter_mut().for_each(|row| narrow(row, fields)),
                _ => narrow(&mut value, fields),
            }
            serde_json::to_vec(&value)
        }
    }
    .map_err(inkstone_core::Error::internal)
}

fn narrow(value: &mut Value, fields: &[&str]) {
    if let Value::Object(object) = value {
        object.retain(|name, _| fields.contains(&name.as_str()));
    }
}
