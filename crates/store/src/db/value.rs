//! What is bound to a statement's parameters.

use inkstone_core::posts::PostId;
use inkstone_core::tags::TagId;
use inkstone_core::users::UserId;
use jiff::Timestamp;

/// A parameter's value. Times are integers: microseconds since 1970 in UTC. Truth is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL's null.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u16> for Value<'_> {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<u8> for Value<'_> {
    fn from(value: u8) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Bytes(value)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.as_microsecond())
    }
}

impl From<PostId> for Value<'_> {
    fn from(value: PostId) -> Self {
        Self::Int(value.0)
    }
}

impl From<UserId> for Value<'_> {
    fn from(value: UserId) -> Self {
        Self::Int(value.0)
    }
}

impl From<TagId> for Value<'_> {
    fn from(value: TagId) -> Self {
        Self::Int(value.0)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_microseconds_and_truth_is_a_number() {
        let time = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        assert_eq!(Value::from(time), Value::Int(1_700_000_000_123_456));
        assert_eq!(Value::from(Some(time)), Value::Int(1_700_000_000_123_456));
        assert_eq!(Value::from(None::<Timestamp>), Value::Null);
        assert_eq!(Value::from(true), Value::Int(1));
        assert_eq!(Value::from(Some("a")), Value::Text("a"));
        assert_eq!(Value::from(&[1_u8, 2]), Value::Bytes(&[1, 2]));
        assert_eq!(Value::from(PostId(7)), Value::Int(7));
    }
}
