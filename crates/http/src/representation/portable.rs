//! The form in which a representation travels into a cache that many processes share.
//!
//! Numbers are big-endian; texts and lists have their length in front. The compressed bodies do not
//! travel: each process makes them when they are first asked for.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};
use inkstone_core::cache::{Lifetime, Portable};
use inkstone_core::events::Entity;
use jiff::Timestamp;

use super::{Representation, builder};

impl Portable for Representation {
    fn encode(&self, form: &mut Vec<u8>) {
        // What is made from the rest, or by those who serve it, is left out.
        let Self {
            status,
            headers,
            body,
            gzip: _,
            brotli: _,
            opaque,
            etags: _,
            last_modified,
            entities: _,
            lifetime,
            route,
            prepared: _,
        } = self;
        form.extend(status.as_u16().to_be_bytes());
        form.extend(last_modified.map_or(i64::MIN, Timestamp::as_microsecond).to_be_bytes());
        form.push(u8::from(lifetime.is_some()));
        let none =
            Lifetime { fresh: Duration::ZERO, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO };
        let Lifetime { fresh, stale_while_revalidate, stale_if_error } = lifetime.unwrap_or(none);
        for time in [fresh, stale_while_revalidate, stale_if_error] {
            form.extend(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).to_be_bytes());
        }
        put(form, opaque.as_bytes());
        put(form, route.as_bytes());
        form.extend(u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (name, value) in headers {
            put(form, name.as_str().as_bytes());
            put(form, value.as_bytes());
        }
        put(form, body);
    }

    fn decode(form: &[u8], entities: Vec<Entity>) -> Option<Self> {
        let mut form = Form(form);
        let status = StatusCode::from_u16(u16::from_be_bytes(form.array()?)).ok()?;
        let last_modified = match i64::from_be_bytes(form.array()?) {
            i64::MIN => None,
            at => Some(Timestamp::from_microsecond(at).ok()?),
        };
        let [is_public] = form.array()?;
        let mut time = || Some(Duration::from_micros(u64::from_be_bytes(form.array()?)));
        let lifetime = Lifetime { fresh: time()?, stale_while_revalidate: time()?, stale_if_error: time()? };
        let opaque = form.text()?.to_owned();
        let route = Cow::Owned(form.text()?.to_owned());
        let mut headers = HeaderMap::new();
        for _ in 0..u32::from_be_bytes(form.array()?) {
            let name = HeaderName::from_bytes(form.bytes()?).ok()?;
            headers.append(name, HeaderValue::from_bytes(form.bytes()?).ok()?);
        }
        let body = Bytes::copy_from_slice(form.bytes()?);
        let etags = builder::etags(&opaque);
        let is_whole = form.0.is_empty() && headers.get(header::ETAG) == Some(&etags[0]);
        is_whole.then(|| Self {
            status,
            headers,
            body,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
            opaque,
            etags,
            last_modified,
            entities,
            lifetime: (is_public == 1).then_some(lifetime),
            route,
            prepared: OnceLock::new(),
        })
    }
}

fn put(form: &mut Vec<u8>, bytes: &[u8]) {
    form.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    form.extend(bytes);
}

/// What is left to read.
struct Form<'a>(&'a [u8]);

impl<'a> Form<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use inkstone_core::cache::Cacheable as _;
    use inkstone_core::posts::PostId;
    use proptest::prelude::*;

    use super::*;

    fn representation(body: &[u8]) -> Representation {
        let lifetime = Lifetime {
            fresh: Duration::from_mins(5),
            stale_while_revalidate: Duration::from_mins(1),
            stale_if_error: Duration::from_hours(24),
        };
        Representation::builder(body.to_vec())
            .route("/api/v2/posts/{post}")
            .version(7)
            .last_modified("2030-01-02T03:04:05.678901Z".parse().unwrap())
            .header(header::LINK, HeaderValue::from_static("</a>; rel=\"next\""))
            .header(header::LINK, HeaderValue::from_static("</b>; rel=\"prev\""))
            .public(lifetime, vec![Entity::Post(PostId(42)), Entity::Posts])
            .build()
    }

    proptest! {
        #[test]
        fn what_travels_comes_back_as_it_was(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let before = representation(&body);
            let mut form = Vec::new();
            before.encode(&mut form);
            let after = Representation::decode(&form, before.entities().to_vec()).unwrap();
            // All that is there to see, the order of the headers included.
            prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
            for length in 0..form.len() {
                prop_assert!(Representation::decode(&form[..length], Vec::new()).is_none(), "cut off at {}", length);
            }
            form.push(0);
            prop_assert!(Representation::decode(&form, Vec::new()).is_none());
        }

        #[test]
        fn nothing_that_comes_in_is_a_reason_to_panic(form in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Representation::decode(&form, Vec::new());
        }
    }
}
