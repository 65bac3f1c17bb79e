//! How each kind of field is read out of JSON: the bridge from wire to newtypes.
//!
//! To make one more newtype readable, add it to [`texts!`] (made from a string) or [`ids!`].

use inkstone_core::access::{Role, Scope};
use inkstone_core::posts::{Excerpt, Markdown, PostId, Status, Title};
use inkstone_core::tags::{TagDescription, TagId, TagName};
use inkstone_core::text::{Slug, check_no_nul};
use inkstone_core::users::{Bio, DisplayName, Email, Handle, UserId, WebUrl};
use inkstone_core::{Fault, FaultCode};
use jiff::Timestamp;
use serde_json::Value;

use super::json::push_pointer;
use crate::problem::MAX_FAULTS;

/// A type that a JSON value can become.
pub trait FromJson: Sized {
    /// Reads `value`, which stands at `pointer`. `None` means that at least one fault was noted.
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self>;
}

/// Notes the fault of a failed conversion.
fn note<T>(result: Result<T, Fault>, pointer: &str, faults: &mut Vec<Fault>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(fault) => {
            faults.push(fault.under(pointer));
            None
        }
    }
}

fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::String(text) => check_no_nul(&text).map(|()| text),
        _ => Err(Fault::here(FaultCode::WrongType, "This must be a string.")),
    }
}

macro_rules! texts {
    ($($name:ty),+ $(,)?) => {
        $(impl FromJson for $name {
            fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
                note(text(value).and_then(Self::try_from), pointer, faults)
            }
        })+
    };
}

texts!(Title, Markdown, Excerpt, Slug, TagName, TagDescription, Handle, Email, DisplayName, Bio, WebUrl);

macro_rules! ids {
    ($($name:ident),+) => {
        $(impl FromJson for $name {
            fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
                let id = match value.as_i64() {
                    Some(id) if id > 0 => Ok(Self(id)),
                    _ if value.is_number() => Err(Fault::here(FaultCode::OutOfRange, "This must be a positive integer.")),
                    _ => Err(Fault::here(FaultCode::WrongType, "This must be an integer.")),
                };
                note(id, pointer, faults)
            }
        })+
    };
}

ids!(PostId, UserId, TagId);

macro_rules! words {
    ($($name:ident: $all:expr;)+) => {
        $(impl FromJson for $name {
            fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
                let word = text(value).and_then(|word| {
                    Self::parse(&word).ok_or_else(|| {
                        let allowed = $all.map(|word| word.as_str()).join(", ");
                        Fault::here(FaultCode::NotAllowed, format!("One of: {allowed}."))
                    })
                });
                note(word, pointer, faults)
            }
        })+
    };
}

words! {
    Role: Role::ALL;
    Scope: Scope::ALL;
    Status: [Status::Draft, Status::Published];
}

/// Any text without NUL. Prefer a newtype with its own rule.
impl FromJson for String {
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        note(text(value), pointer, faults)
    }
}

impl FromJson for bool {
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        let flag = value.as_bool().ok_or_else(|| Fault::here(FaultCode::WrongType, "This must be true or false."));
        note(flag, pointer, faults)
    }
}

impl FromJson for i64 {
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        let number = match value.as_i64() {
            Some(number) => Ok(number),
            None if value.is_number() => Err(Fault::here(FaultCode::OutOfRange, "This must be an integer of 64 bits.")),
            None => Err(Fault::here(FaultCode::WrongType, "This must be an integer.")),
        };
        note(number, pointer, faults)
    }
}

impl FromJson for Timestamp {
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        note(text(value).and_then(|text| timestamp(&text)), pointer, faults)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        let Value::Array(values) = value else {
            faults.push(Fault::at(pointer, FaultCode::WrongType, "This must be an array."));
            return None;
        };
        let before = faults.len();
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let mut place = pointer.to_owned();
            push_pointer(&mut place, &index.to_string());
            items.extend(T::from_json(value, &place, faults));
            if faults.len() > MAX_FAULTS {
                break;
            }
        }
        (faults.len() == before).then_some(items)
    }
}

/// A time as RFC 3339 §5.6 writes it, with an offset, cut to what every store keeps.
pub fn timestamp(text: &str) -> Result<Timestamp, Fault> {
    let refused = || Fault::here(FaultCode::BadFormat, "A time as in RFC 3339, such as 2026-11-22T08:30:00Z.");
    if !is_rfc_3339(text) {
        return Err(refused());
    }
    text.parse().map(inkstone_core::clock::truncate_to_micros).map_err(|_| refused())
}

/// The grammar of `date-time`; jiff also reads forms of ISO 8601 that RFC 3339 does not have.
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let is = |at: usize, one_of: &[u8]| bytes.get(at).is_some_and(|byte| one_of.contains(byte));
    let date = digits(0..4) && is(4, b"-") && digits(5..7) && is(7, b"-") && digits(8..10);
    let time = is(10, b"Tt") && digits(11..13) && is(13, b":") && digits(14..16) && is(16, b":") && digits(17..19);
    let mut at = 19;
    if is(at, b".") {
        at += 1;
        let fraction = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&fraction) {
            return false;
        }
        at += fraction;
    }
    let zulu = is(at, b"Zz") && bytes.len() == at + 1;
    let offset = is(at, b"+-") && digits(at + 1..at + 3) && is(at + 3, b":") && digits(at + 4..at + 6);
    date && time && (zulu || (offset && bytes.len() == at + 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for good in [
            "2026-11-22T08:30:00Z",
            "2026-11-22t08:30:00z",
            "2026-11-22T08:30:00.123456789Z",
            "2026-11-22T08:30:00+05:30",
            "1969-12-31T23:59:59.9-00:00",
        ] {
            assert!(timestamp(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T08:30Z",
            "2026-11-22 08:30:00Z",
            "2026-11-22T08:30:00",
            "2026-13-22T08:30:00Z",
            "2026-02-30T08:30:00Z",
            "2026-11-22T25:30:00Z",
            "2026-11-22T08:30:00.Z",
            "2026-11-22T08:30:00+0530",
            "2026-11-22T08:30:00Z[UTC]",
            "+002026-11-22T08:30:00Z",
            "20261122T083000Z",
            "1767225600",
            "２026-11-22T08:30:00Z",
        ] {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
    }
}
