//! One document, in the form that every store keeps as it is.

use jiff::Timestamp;
use serde_json::Value;

/// The most bytes of a body as JSON: an item of DynamoDB has 400 KB with everything. A revision,
/// which may have a mebibyte, does not fit; what stands here fits everywhere.
pub const MAX_BODY_BYTES: usize = 350 * 1024;
/// The most bytes of a key or of a collection's name.
const MAX_NAME_BYTES: usize = 255;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    collection: String,
    key: String,
    at: Timestamp,
    body: Value,
}

/// Why something is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Names are 1 to 255 visible characters of ASCII: such order and compare alike everywhere.
    #[error("a name must be 1 to 255 visible characters of ASCII")]
    Name,
    /// More than [`MAX_BODY_BYTES`].
    #[error("the body is too large")]
    TooLarge,
    /// `jsonb` holds no U+0000.
    #[error("a text in the body holds U+0000")]
    Nul,
    /// BSON knows no whole numbers above 2⁶³-1.
    #[error("a number in the body is too large")]
    Number,
}

impl Document {
    /// A document as every store keeps it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(
        collection: impl Into<String>,
        key: impl Into<String>,
        at: Timestamp,
        body: Value,
    ) -> Result<Self, Unfit> {
        let (collection, key) = (collection.into(), key.into());
        let is_name =
            |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !is_name(&collection) || !is_name(&key) {
            return Err(Unfit::Name);
        }
        check(&body)?;
        if body.to_string().len() > MAX_BODY_BYTES {
            return Err(Unfit::TooLarge);
        }
        Ok(Self { collection, key, at, body })
    }

    /// What a store kept.
    pub(crate) fn kept(collection: String, key: String, at: Timestamp, body: Value) -> Self {
        Self { collection, key, at, body }
    }

    /// What it stands among.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// Its name there.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its time, by which it is listed and grows old.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What it says.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

fn check(value: &Value) -> Result<(), Unfit> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_f64() => Ok(()),
        Value::Number(_) => Err(Unfit::Number),
        Value::String(text) if text.contains('\0') => Err(Unfit::Nul),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, value)| if name.contains('\0') { Err(Unfit::Nul) } else { check(value) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_one_of_the_stores_would_change_or_refuse_is_no_document() {
        let new = |key: &str, body| Document::new("audit", key, Timestamp::UNIX_EPOCH, body).err();
        assert_eq!(new("a/b:1", json!({"n": -1, "t": "\u{1}", "f": 0.5})), None);
        for name in ["", "a b", "\u{e9}", "a\u{0}", &"x".repeat(256)] {
            assert_eq!(new(name, json!({})), Some(Unfit::Name), "{name:?}");
        }
        assert_eq!(new("k", json!({"a": [{"b": "x\u{0}"}]})), Some(Unfit::Nul));
        assert_eq!(new("k", json!({"a\u{0}": 1})), Some(Unfit::Nul));
        assert_eq!(new("k", json!(u64::MAX)), Some(Unfit::Number));
        assert_eq!(new("k", json!("x".repeat(MAX_BODY_BYTES))), Some(Unfit::TooLarge));
        assert_eq!(new("k", json!("x".repeat(MAX_BODY_BYTES - 2))), None);
    }
}
