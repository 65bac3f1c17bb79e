//! Cursors: where the next page begins, in a form that only this site can make.
//!
//! A cursor is `base64url(payload ‖ first 16 bytes of HMAC-SHA256)`. The MAC covers the payload
//! and the *binding*, the list and its filters and order, so that a cursor only fits the query
//! that it was made for. It hides nothing: what it carries stood on the page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac as _};
use inkstone_core::Code;
use inkstone_core::page::{Key, Position};
use sha2::Sha256;

use crate::problem::{Problem, Result};

/// The longest cursor, in bytes: a title of 255 characters of four bytes, escaped, fits well.
pub const MAX_BYTES: usize = 4096;

const MAC_BYTES: usize = 16;
/// Names the layout, so that another one can follow.
const LAYOUT: u8 = 1;

/// Makes and reads cursors.
#[derive(Clone)]
pub struct Cursors {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors")
    }
}

impl Cursors {
    /// With a secret that all processes of the site share, of 32 bytes or so.
    pub fn new(key: &[u8]) -> Self {
        // HMAC takes keys of any length: longer ones are hashed first (RFC 2104 §2).
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
            .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
        Self { mac }
    }

    /// The cursor to the page after `key`. `binding` names the list, its filters and its order:
    /// see [`crate::extract::query::Canonical::binding`].
    pub fn after(&self, binding: &str, key: &Key) -> String {
        self.seal(binding, b'a', key)
    }

    /// The cursor to the page that ends just before `key`.
    pub fn before(&self, binding: &str, key: &Key) -> String {
        self.seal(binding, b'b', key)
    }

    /// Where the page of this cursor begins; at the start without one.
    ///
    /// # Errors
    /// [`Code::BadCursor`] for one that was altered, is of another query, or is no cursor at all.
    pub fn open(&self, binding: &str, cursor: Option<&str>) -> Result<Position> {
        let Some(cursor) = cursor else { return Ok(Position::Start) };
        let refused =
            || Problem::new(Code::BadCursor, "Use a cursor as it was given, with the query it was given for.");
        if cursor.len() > MAX_BYTES {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let split = bytes.len().checked_sub(MAC_BYTES).ok_or_else(refused)?;
        let (payload, tag) = bytes.split_at(split);
        self.keyed(binding, payload).verify_truncated_left(tag).map_err(|_| refused())?;
        let [LAYOUT, direction, key @ ..] = payload else { return Err(refused()) };
        let key: Key = serde_json::from_slice(key).map_err(|_| refused())?;
        match direction {
            b'a' => Ok(Position::After(key)),
            b'b' => Ok(Position::Before(key)),
            _ => Err(refused()),
        }
    }

    fn seal(&self, binding: &str, direction: u8, key: &Key) -> String {
        let mut bytes = vec![LAYOUT, direction];
        // Numbers and strings always serialise.
        bytes.extend(serde_json::to_vec(key).unwrap_or_default());
        let tag = self.keyed(binding, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The length in front keeps binding and payload apart.
    fn keyed(&self, binding: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&(binding.len() as u64).to_be_bytes());
        mac.update(binding.as_bytes());
        mac.update(payload);
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Key> {
        prop_oneof![
            (any::<i64>(), any::<i64>()).prop_map(|(at, id)| Key::Time(at, id)),
            (".{0,255}", any::<i64>()).prop_map(|(text, id)| Key::Text(text, id)),
            any::<i64>().prop_map(Key::Id),
        ]
    }

    proptest! {
        #[test]
        fn cursors_come_back_as_they_went(key in keys(), binding in ".{0,40}") {
            let cursors = Cursors::new(b"a secret of the site");
            let after = cursors.after(&binding, &key);
            prop_assert!(after.len() <= MAX_BYTES);
            prop_assert_eq!(cursors.open(&binding, Some(&after)).unwrap(), Position::After(key.clone()));
            let before = cursors.before(&binding, &key);
            prop_assert_eq!(cursors.open(&binding, Some(&before)).unwrap(), Position::Before(key));
        }

        #[test]
        fn altered_cursors_are_refused(key in keys(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let cursors = Cursors::new(b"a secret of the site");
            let mut bytes = URL_SAFE_NO_PAD.decode(cursors.after("posts", &key)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let problem = cursors.open("posts", Some(&URL_SAFE_NO_PAD.encode(&bytes))).unwrap_err();
            prop_assert_eq!(problem.code(), Code::BadCursor);
            bytes.truncate(at);
            prop_assert!(cursors.open("posts", Some(&URL_SAFE_NO_PAD.encode(&bytes))).is_err());
        }

        #[test]
        fn anything_else_is_refused(text in ".{0,100}") {
            prop_assert!(Cursors::new(b"key").open("posts", Some(&text)).is_err());
        }
    }

    #[test]
    fn cursors_fit_only_their_query_and_their_site() {
        let cursors = Cursors::new(b"one site");
        let cursor = cursors.after("posts?tag=rust", &Key::Id(7));
        assert!(cursors.open("posts?tag=rust", Some(&cursor)).is_ok());
        assert!(cursors.open("posts?tag=go", Some(&cursor)).is_err());
        assert!(cursors.open("posts?tag=rus", Some(&cursor)).is_err());
        assert!(cursors.open("posts?tag=ruby", Some(&cursor)).is_err());
        assert!(Cursors::new(b"another site").open("posts?tag=rust", Some(&cursor)).is_err());
        assert!(cursors.open("posts", Some(&"A".repeat(MAX_BYTES + 1))).is_err());
        assert_eq!(cursors.open("posts", None).unwrap(), Position::Start);
    }
}
