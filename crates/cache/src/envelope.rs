//! The form in which an entry lies in a shared tier.
//!
//! ```text
//! version (1) │ MAC (16) │ position: change (8), its time (8), run of the server (8) │ made at (8) │
//! lifetimes (3 × 8) │ expires at (8) │ length of the entities (4) │ entities, as text │ the value
//! ```
//!
//! Numbers are big-endian, times microseconds since 1970, 0 where there is none. The MAC
//! (HMAC-SHA256, its first 16 bytes) covers the name of the entry and all that follows it, under a
//! secret of the site. So a value that rotted, was cut off, was written by somebody else, or lies
//! under a wrong name, is no value.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac as _};
use inkstone_core::cache::Lifetime;
use inkstone_core::events::{Entity, ServerRun};
use sha2::Sha256;

use crate::history::Position;

/// Raised with every change of the form: what another release wrote is then no value.
const VERSION: u8 = 2;
const MAC_BYTES: usize = 16;
const HEAD_BYTES: usize = 8 * 8 + 4;

/// An entry without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it certainly contains.
    pub(crate) position: Position,
    /// When it was made: microseconds since 1970, by the clock of the node that made it.
    pub(crate) made_at: i64,
    /// How long it may be kept.
    pub(crate) lifetime: Lifetime,
    /// When its content is known to change; 0 if it is not.
    pub(crate) expires_at: i64,
    /// What it was made from.
    pub(crate) entities: Vec<Entity>,
}

/// Names, signs and checks entries under a secret of the site.
#[derive(Clone)]
pub(crate) struct Seal {
    /// Under the secret, the variant included.
    mac: Hmac<Sha256>,
    /// Under the secret alone.
    site: Hmac<Sha256>,
    prefix: String,
}

impl Seal {
    /// `variant` is whatever else makes two processes give different answers to the same request:
    /// their release, their settings. Processes that differ in it share nothing.
    pub(crate) fn new(secret: &[u8], variant: &str) -> Self {
        // HMAC takes keys of any length: longer ones are hashed first (RFC 2104 §2).
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret)
            .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
        let mut name = mac.clone();
        name.update(b"site");
        let name = URL_SAFE_NO_PAD.encode(&name.finalize().into_bytes()[..9]);
        let mut seal = Self { site: mac.clone(), mac, prefix: format!("inkstone:{name}:") };
        let variant = seal.digest(b"variant", variant);
        seal.mac.update(variant.as_bytes());
        seal
    }

    /// What everything of this site begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name under which `key` lies in a shared tier: 56 bytes, all of them letters, digits,
    /// colons, hyphens or underscores, since Memcached takes no more than 250 and no blanks.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}a:{}", self.prefix, self.digest(b"name", key))
    }

    /// The name under which the quota of somebody lies there. The same for all releases and settings:
    /// nobody gets a new quota with a new release.
    pub(crate) fn quota(&self, whose: &str) -> String {
        let mut mac = self.site.clone();
        mac.update(b"quota");
        mac.update(whose.as_bytes());
        format!("{}q:{}", self.prefix, URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..24]))
    }

    fn digest(&self, purpose: &[u8], text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(purpose);
        mac.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..24])
    }

    /// Puts an entry together. `encode` appends the value.
    pub(crate) fn close(&self, name: &str, entry: &Entry, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let Entry { position, made_at, lifetime, expires_at, entities } = entry;
        let mut form = vec![VERSION];
        form.resize(1 + MAC_BYTES, 0);
        form.extend(position.change_seq.to_be_bytes());
        form.extend(position.at.to_be_bytes());
        form.extend(position.server_run.0.to_be_bytes());
        form.extend(made_at.to_be_bytes());
        for time in [lifetime.fresh, lifetime.stale_while_revalidate, lifetime.stale_if_error] {
            form.extend(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).to_be_bytes());
        }
        form.extend(expires_at.to_be_bytes());
        let mut names = String::new();
        for entity in entities {
            // Writing into a string does not fail.
            let _ = write!(names, "{entity} ");
        }
        form.extend(u32::try_from(names.len()).unwrap_or(u32::MAX).to_be_bytes());
        form.extend(names.as_bytes());
        encode(&mut form);
        let tag = self.tag(name, &form[1 + MAC_BYTES..]).finalize().into_bytes();
        form[1..=MAC_BYTES].copy_from_slice(&tag[..MAC_BYTES]);
        form
    }

    /// Takes an entry apart: it, and the form of its value; `None` if it is not what was put there.
    pub(crate) fn open<'a>(&self, name: &str, form: &'a [u8]) -> Option<(Entry, &'a [u8])> {
        let (&version, rest) = form.split_first()?;
        let (mac, covered) = rest.split_at_checked(MAC_BYTES)?;
        if version != VERSION || self.tag(name, covered).verify_truncated_left(mac).is_err() {
            return None;
        }
        let (head, rest) = covered.split_at_checked(HEAD_BYTES)?;
        let word = |index: usize| Some(u64::from_be_bytes(*head.get(index * 8..)?.first_chunk()?));
        let time = |index: usize| word(index).map(u64::cast_signed);
        let duration = |index: usize| word(index).map(Duration::from_micros);
        let length = u32::from_be_bytes(*head.get(HEAD_BYTES - 4..)?.first_chunk()?);
        let (names, value) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let names = std::str::from_utf8(names).ok()?;
        let entry = Entry {
            position: Position { change_seq: word(0)?, at: time(1)?, server_run: ServerRun(time(2)?) },
            made_at: time(3)?,
            lifetime: Lifetime {
                fresh: duration(4)?,
                stale_while_revalidate: duration(5)?,
                stale_if_error: duration(6)?,
            },
            expires_at: time(7)?,
            entities: names.split_terminator(' ').map(Entity::parse).collect::<Option<_>>()?,
        };
        Some((entry, value))
    }

    fn tag(&self, name: &str, covered: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(b"entry");
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(covered);
        mac
    }
}

#[cfg(test)]
mod tests {
    use inkstone_core::posts::PostId;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        Entry {
            position: Position { change_seq: 7, at: 70, server_run: ServerRun(-2) },
            made_at: 71,
            lifetime: Lifetime {
                fresh: Duration::from_mins(5),
                stale_while_revalidate: Duration::from_mins(1),
                stale_if_error: Duration::from_hours(24),
            },
            expires_at: 0,
            entities: vec![Entity::Post(PostId(-1)), Entity::Posts],
        }
    }

    fn seal() -> Seal {
        Seal::new(b"a secret", "1.0")
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_and_no_altered_byte_goes_unnoticed(
            value in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            other in 1..=255_u8,
        ) {
            let form = seal().close("a", &entry(), |form| form.extend(&value));
            prop_assert_eq!(seal().open("a", &form), Some((entry(), &value[..])));
            let mut altered = form.clone();
            altered[place.index(form.len())] ^= other;
            prop_assert_eq!(seal().open("a", &altered), None);
            prop_assert_eq!(seal().open("a", &form[..place.index(form.len())]), None, "cut off");
        }

        #[test]
        fn nothing_that_comes_in_is_a_reason_to_panic(form in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(seal().open("a", &form), None);
        }
    }

    #[test]
    fn an_entry_belongs_to_its_name_its_site_and_its_variant() {
        let form = seal().close("a", &entry(), |_| {});
        assert!(seal().open("b", &form).is_none());
        assert!(Seal::new(b"another secret", "1.0").open("a", &form).is_none());
        assert!(Seal::new(b"a secret", "1.1").open("a", &form).is_none());
        assert_ne!(seal().name("/a"), Seal::new(b"a secret", "1.1").name("/a"));
        assert_eq!(seal().prefix(), Seal::new(b"a secret", "1.1").prefix(), "the site is the same");
        assert_eq!(seal().quota("ada"), Seal::new(b"a secret", "1.1").quota("ada"));
        assert_ne!(seal().quota("ada"), Seal::new(b"another secret", "1.0").quota("ada"));
        let name = seal().name("/api/v2/posts?with blank");
        assert!(name.len() == 56 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_".contains(&byte)));
    }
}
