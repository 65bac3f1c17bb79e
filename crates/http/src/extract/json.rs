//! Strict JSON: RFC 8259 with what it leaves open shut. Duplicate keys, deep nesting, lone
//! surrogates, a byte order mark and anything after the value are refused, with their place.

use std::cell::RefCell;
use std::fmt;

use inkstone_core::{Code, FaultCode};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::problem::{Problem, Result};

/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 32;

/// Reads one JSON value out of `bytes`.
///
/// # Errors
/// [`Code::Malformed`], with the JSON pointer of the fault where there is one.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(Code::Malformed, format!("The body is not UTF-8: bad byte at offset {}.", error.valid_up_to()))
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Problem::new(Code::Malformed, "The body begins with a byte order mark; JSON has none."));
    }
    let place = Place::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node { place: &place, depth: 0 }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(place.into_problem(&error)),
    }
}

/// Adds one step to a JSON pointer (RFC 6901 §3).
pub fn push_pointer(pointer: &mut String, step: &str) {
    pointer.push('/');
    pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

/// `value` in one fixed form, whatever the order of keys and the white space of the original:
/// what the fingerprint of a request is made of.
pub fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, member) in members {
                out.extend_from_slice(Value::String(name.clone()).to_string().as_bytes());
                out.push(b':');
                canonical(member, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// Where the reader is, and what it refused there.
#[derive(Default)]
struct Place {
    steps: RefCell<Vec<String>>,
    refused: RefCell<Option<(String, FaultCode, String)>>,
}

impl Place {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.steps.borrow().iter().for_each(|step| push_pointer(&mut pointer, step));
        pointer
    }

    fn refuse<E: serde::de::Error>(&self, code: FaultCode, detail: String) -> E {
        let refusal = (self.pointer(), code, detail);
        let error = E::custom("refused");
        *self.refused.borrow_mut() = Some(refusal);
        error
    }

    fn into_problem(self, error: &serde_json::Error) -> Problem {
        if let Some((pointer, code, detail)) = self.refused.into_inner() {
            return Problem::with_fault(Code::Malformed, pointer, code, detail);
        }
        let detail = match error.classify() {
            serde_json::error::Category::Eof => "The body ends in the middle of the JSON.".to_owned(),
            _ => format!("The body is not JSON at line {}, column {}.", error.line(), error.column()),
        };
        let pointer = {
            let mut pointer = String::new();
            self.steps.borrow().iter().for_each(|step| push_pointer(&mut pointer, step));
            pointer
        };
        Problem::with_fault(Code::Malformed, pointer, FaultCode::BadFormat, detail)
    }
}

/// One value, knowing where it stands.
struct Node<'a> {
    place: &'a Place,
    depth: usize,
}

impl<'a> Node<'a> {
    fn child<E: serde::de::Error>(&self, step: String) -> Result<Node<'a>, E> {
        self.place.steps.borrow_mut().push(step);
        if self.depth + 1 > MAX_DEPTH {
            return Err(self.place.refuse(FaultCode::TooMany, format!("Nested deeper than {MAX_DEPTH} levels.")));
        }
        Ok(Node { place: self.place, depth: self.depth + 1 })
    }

    fn leave(&self) {
        self.place.steps.borrow_mut().pop();
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let node = self.child(array.len().to_string())?;
            let item = items.next_element_seed(node)?;
            self.leave();
            match item {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.place.steps.borrow_mut().push(name);
                return Err(self.place.refuse(FaultCode::DuplicateKey, "This key stands twice.".to_owned()));
            }
            let node = self.child(name.clone())?;
            let member = members.next_value_seed(node)?;
            self.leave();
            object.insert(name, member);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(body: &[u8]) -> (String, FaultCode) {
        let problem = parse(body).unwrap_err();
        assert_eq!(problem.code(), Code::Malformed);
        problem.faults().first().map_or((String::new(), FaultCode::BadFormat), |f| (f.pointer.clone(), f.code))
    }

    #[test]
    fn what_rfc_8259_leaves_open_is_shut() {
        assert_eq!(refusal(br#"{"a":{"b":1,"b":2}}"#), ("/a/b".into(), FaultCode::DuplicateKey));
        assert_eq!(refusal(br#"{"a":1,"\u0061":2}"#), ("/a".into(), FaultCode::DuplicateKey));
        assert_eq!(refusal(br#"{"x/y":{"~":[1,{"k":1,"k":2}]}}"#), ("/x~1y/~0/1/k".into(), FaultCode::DuplicateKey));
        for body in [
            &b"{\"a\":\"\xff\"}"[..],
            b"\xef\xbb\xbf{}",
            br#"{"a":"\ud800"}"#,
            br#"{"a":"\udc00\ud800"}"#,
            b"{\"a\":\"\0\"}",
            b"{} {}",
            b"{}x",
            b"",
            b"{\"a\":NaN}",
            b"{\"a\":01}",
            b"{\"a\":1e999}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{\"a\":",
            b"nul",
        ] {
            assert!(parse(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(refusal(nested(MAX_DEPTH + 1).as_bytes()).1, FaultCode::TooMany);
        assert!(parse(nested(500_000).as_bytes()).is_err());
        let objects = format!("{}1{}", r#"{"a":"#.repeat(33), "}".repeat(33));
        assert_eq!(refusal(objects.as_bytes()), ("/a".repeat(33), FaultCode::TooMany));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn the_canonical_form_forgets_order_and_space(pairs in prop::collection::btree_map("[a-z]{1,3}", any::<i32>(), 0..8)) {
            let member = |(name, value): (&String, &i32)| format!("\"{name}\" : {value}");
            let forwards = format!("{{{}}}", pairs.iter().map(member).collect::<Vec<_>>().join(","));
            let backwards = format!("{{ {} }}", pairs.iter().rev().map(member).collect::<Vec<_>>().join(" ,\n"));
            let form = |text: &str| { let mut out = Vec::new(); canonical(&parse(text.as_bytes()).unwrap(), &mut out); out };
            prop_assert_eq!(form(&forwards), form(&backwards));
        }
    }
}
