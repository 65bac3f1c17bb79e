//! Reads the query string parameter by parameter and reports every fault at once.
//!
//! What is not asked for is unknown, and unknown is an error; so is a parameter that stands twice
//! without being a list. [`QueryReader::finish`] gives the query in its one canonical form, the
//! key of caches and the binding of cursors.

use std::ops::RangeInclusive;

use axum::extract::FromRequestParts;
use http::request::Parts;
use inkstone_core::search::Search;
use inkstone_core::text::Slug;
use inkstone_core::{Code, Fault, FaultCode};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::fields::timestamp;
use super::path::ResourceId;
use crate::problem::{MAX_FAULTS, Problem, Result};

/// The most parameters in one query.
pub const MAX_PARAMETERS: usize = 64;

/// A query on its way to become typed values.
#[derive(Debug, Default)]
pub struct QueryReader {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
    canonical: Vec<(&'static str, String)>,
}

/// A query in its one canonical form: parameters sorted, defaults left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical(Vec<(&'static str, String)>);

impl QueryReader {
    /// Splits and decodes a query string.
    ///
    /// # Errors
    /// [`Code::BadQuery`] if it is not percent-encoded UTF-8, or absurdly long.
    pub fn parse(query: Option<&str>) -> Result<Self> {
        let mut reader = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let pair = decode(name, name).and_then(|name| decode(value, &name).map(|value| (name, value)));
            reader.pairs.push(pair.map_err(|fault| Problem::with_faults(Code::BadQuery, vec![fault]))?);
            if reader.pairs.len() > MAX_PARAMETERS {
                return Err(Problem::new(Code::BadQuery, format!("More than {MAX_PARAMETERS} parameters.")));
            }
        }
        Ok(reader)
    }

    /// A text; `check` is the rule, such as `Slug::try_from`.
    pub fn value<T>(&mut self, name: &'static str, check: impl FnOnce(String) -> Result<T, Fault>) -> Option<T> {
        let text = self.single(name)?;
        let value = self.noted(name, check(text.clone()))?;
        self.canonical.push((name, text));
        Some(value)
    }

    /// An integer within `range`, `default` when absent.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(text) = self.single(name) else { return default };
        let (least, most) = (*range.start(), *range.end());
        let digits = Some(&text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok()).filter(|number| range.contains(number));
        let fault = || Fault::here(FaultCode::OutOfRange, format!("An integer from {least} to {most}."));
        let number = self.noted(name, number.ok_or_else(fault)).unwrap_or(default);
        if number != default {
            self.canonical.push((name, number.to_string()));
        }
        number
    }

    /// The id of a resource.
    pub fn id<T: ResourceId>(&mut self, name: &'static str) -> Option<T> {
        self.value(name, |text| {
            T::parse(&text).ok_or_else(|| Fault::here(FaultCode::OutOfRange, "An id: a positive integer."))
        })
    }

    /// A time (RFC 3339).
    pub fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        self.value(name, |text| timestamp(&text))
    }

    /// A slug.
    pub fn slug(&mut self, name: &'static str) -> Option<Slug> {
        self.value(name, Slug::try_from)
    }

    /// Slugs; the parameter may stand up to `most` times. Sorted, each once.
    pub fn slugs(&mut self, name: &'static str, most: usize) -> Vec<Slug> {
        let texts = self.take(name);
        if texts.len() > most {
            self.fault(name, Fault::here(FaultCode::TooMany, format!("At most {most} times.")));
            return Vec::new();
        }
        let mut slugs: Vec<Slug> = texts.into_iter().filter_map(|text| self.noted(name, Slug::named(text))).collect();
        slugs.sort();
        slugs.dedup();
        self.canonical.extend(slugs.iter().map(|slug| (name, slug.as_str().to_owned())));
        slugs
    }

    /// What somebody looks for. All ways to write the same search are one.
    pub fn search(&mut self, name: &'static str) -> Option<Search> {
        let text = self.single(name)?;
        let search = self.noted(name, Search::try_from(text))?;
        self.canonical.push((name, search.to_string()));
        Some(search)
    }

    /// One of the words allowed.
    pub fn word<'a>(&mut self, name: &'static str, allowed: &[&'a str]) -> Option<&'a str> {
        self.value(name, |text| allowed_word(&text, allowed))
    }

    /// Words allowed, separated by commas; in the order of `allowed`, each once. `None` when absent.
    pub fn words<'a>(&mut self, name: &'static str, allowed: &[&'a str]) -> Option<Vec<&'a str>> {
        let text = self.single(name)?;
        let before = self.faults.len();
        let mut given = Vec::new();
        for word in text.split(',') {
            given.extend(self.noted(name, allowed_word(word, allowed)));
        }
        if self.faults.len() > before {
            return None;
        }
        let words: Vec<&str> = allowed.iter().copied().filter(|word| given.contains(word)).collect();
        self.canonical.push((name, words.join(",")));
        Some(words)
    }

    /// An order: one of the words allowed, with `-` in front for the largest first.
    /// Gives the word and whether it is descending; `default` (as written) when absent.
    pub fn sort<'a>(&mut self, name: &'static str, allowed: &[&'a str], default: &'a str) -> (&'a str, bool) {
        let split = |text: &'a str| match text.strip_prefix('-') {
            Some(word) => (word, true),
            None => (text, false),
        };
        let Some(text) = self.single(name) else { return split(default) };
        let (word, descending) = match text.strip_prefix('-') {
            Some(word) => (word, true),
            None => (text.as_str(), false),
        };
        let Some(word) = self.noted(name, allowed_word(word, allowed)) else { return split(default) };
        if text != default {
            self.canonical.push((name, text.clone()));
        }
        (word, descending)
    }

    /// A cursor, to be opened with [`crate::cursor::Cursors::open`].
    pub fn cursor(&mut self, name: &'static str) -> Option<String> {
        self.value(name, |text| {
            if text.len() > crate::cursor::MAX_BYTES {
                return Err(Fault::here(FaultCode::TooLong, "This is not a cursor."));
            }
            Ok(text)
        })
    }

    /// Notes a fault of a rule that spans parameters.
    pub fn fault(&mut self, name: &str, fault: Fault) {
        self.faults.push(fault.under(name));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Code::BadQuery`] with every fault: unknown and repeated parameters, and values that are not allowed.
    pub fn finish(mut self) -> Result<Canonical> {
        let unknown: Vec<String> = std::mem::take(&mut self.pairs).into_iter().map(|(name, _)| name).collect();
        for name in unknown.into_iter().take(MAX_FAULTS) {
            self.fault(&name, Fault::here(FaultCode::UnknownField, "This parameter is not known here."));
        }
        if !self.faults.is_empty() {
            return Err(Problem::with_faults(Code::BadQuery, self.faults));
        }
        self.canonical.sort();
        Ok(Canonical(self.canonical))
    }

    /// Takes every value of `name` out.
    fn take(&mut self, name: &str) -> Vec<String> {
        let (mine, others) = std::mem::take(&mut self.pairs).into_iter().partition(|(given, _)| given == name);
        self.pairs = others;
        let mine: Vec<(String, String)> = mine;
        mine.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes the only value of `name` out.
    fn single(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.take(name);
        if values.len() > 1 {
            self.fault(name, Fault::here(FaultCode::Duplicate, "This parameter may stand only once."));
            return None;
        }
        values.pop()
    }

    fn noted<T>(&mut self, name: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(name, fault)).ok()
    }
}

impl Canonical {
    /// The canonical query string, without `?`; empty when everything is as by default.
    pub fn as_query(&self) -> String {
        join(self.0.iter())
    }

    /// What a cursor is bound to: `list` (its path, say) and everything of the query but where
    /// its page begins and how long it is.
    pub fn binding(&self, list: &str) -> String {
        let rest =
            self.0.iter().filter(|(name, _)| !matches!(*name, "cursor" | "limit" | "count" | "fields" | "include"));
        format!("{list}?{}", join(rest))
    }

    /// The same query with other values for some parameters: for the links to other pages.
    pub fn with(&self, changes: &[(&'static str, Option<String>)]) -> String {
        let mut pairs: Vec<_> =
            self.0.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name)).cloned().collect();
        pairs.extend(changes.iter().filter_map(|(name, value)| Some((*name, value.clone()?))));
        pairs.sort();
        join(pairs.iter())
    }
}

/// Left as they are in queries: RFC 3986's unreserved characters, and the comma of our lists.
const ESCAPED: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',').remove(b':');

fn join<'a>(pairs: impl Iterator<Item = &'a (&'static str, String)>) -> String {
    pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, &ESCAPED))).collect::<Vec<_>>().join("&")
}

fn allowed_word<'a>(word: &str, allowed: &[&'a str]) -> Result<&'a str, Fault> {
    allowed
        .iter()
        .copied()
        .find(|allowed| *allowed == word)
        .ok_or_else(|| Fault::here(FaultCode::NotAllowed, format!("One of: {}.", allowed.join(", "))))
}

/// Decodes one name or value as HTML forms write them: `+` is a space, `%XX` a byte of UTF-8.
/// A fault names `parameter`.
fn decode(text: &str, parameter: &str) -> Result<String, Fault> {
    let well_formed = text
        .split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8().ok().filter(|_| well_formed);
    let refused = |detail| Fault::at(parameter.chars().take(64).collect::<String>(), FaultCode::BadFormat, detail);
    let decoded = decoded.ok_or_else(|| refused("Not percent-encoded UTF-8."))?;
    if decoded.contains('\0') {
        return Err(refused("NUL is not allowed."));
    }
    Ok(decoded.into_owned())
}

impl<S: Send + Sync> FromRequestParts<S> for QueryReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::parse(parts.uri.query())
    }
}
