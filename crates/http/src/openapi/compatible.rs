//! Whether the contract still holds that was released: the documents under `openapi/released/` are
//! compared with those of the program.
//!
//! Additions are welcome: paths, optional parameters and members, words of an enumeration, looser
//! limits. Whatever a client may rely on stays: what it sends is taken, what it reads is there.

mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Which way a value goes, and so who would stumble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the server: it must not ask for more than before.
    In,
    /// To the client: it must not get less than before, nor anything else.
    Out,
}

/// The two documents, and what of the first does not hold in the second.
struct Comparison<'a> {
    then: &'a Value,
    now: &'a Value,
    broken: Vec<String>,
}

/// What of `then` does not hold in `now`, in one line each.
pub(super) fn broken(then: &Value, now: &Value) -> Vec<String> {
    let mut comparison = Comparison { then, now, broken: Vec::new() };
    for (path, item) in members(&then["paths"]) {
        for (method, operation) in members(item) {
            let place = format!("{method} {path}");
            match now["paths"][path].get(method) {
                Some(present) => comparison.operation(&place, operation, present),
                None => comparison.note(&place, "is gone"),
            }
        }
    }
    comparison.broken
}

impl Comparison<'_> {
    fn note(&mut self, place: &str, what: impl std::fmt::Display) {
        self.broken.push(format!("{place} {what}"));
    }

    fn operation(&mut self, place: &str, then: &Value, now: &Value) {
        self.parameters(place, &parameters(then), &parameters(now));
        self.contents(&format!("{place}: the body"), &then["requestBody"], &now["requestBody"], Way::In);
        if now["requestBody"]["required"] == true && then["requestBody"]["required"] != true {
            self.note(place, "needs a body now");
        }
        for (status, answer) in members(&then["responses"]).filter(|(status, _)| status.starts_with(['2', '3'])) {
            let place = format!("{place}: {status}");
            let Some(present) = now["responses"].get(status) else {
                self.note(&place, "is no answer any more");
                continue;
            };
            for (header, _) in members(&answer["headers"]) {
                if present["headers"].get(header).is_none() {
                    self.note(&place, format!("has no {header} any more"));
                }
            }
            self.contents(&place, answer, present, Way::Out);
        }
        let open_to_all = |operation: &Value| items(&operation["security"]).any(|one| *one == json!({}));
        if open_to_all(then) && !open_to_all(now) {
            self.note(place, "needs a token now");
        }
    }

    fn parameters(&mut self, place: &str, then: &Parameters<'_>, now: &Parameters<'_>) {
        for (name, parameter) in then {
            let place = format!("{place}: {}", name.1);
            match now.get(name) {
                Some(present) => self.schema(&place, &parameter["schema"], &present["schema"], Way::In),
                None => self.note(&place, "is gone"),
            }
        }
        for (name, parameter) in now {
            let was_required = then.get(name).is_some_and(|then| then["required"] == true);
            if parameter["required"] == true && !was_required {
                self.note(place, format!("needs {} now", name.1));
            }
        }
    }

    fn contents(&mut self, place: &str, then: &Value, now: &Value, way: Way) {
        for (media_type, content) in members(&then["content"]) {
            match now["content"].get(media_type) {
                Some(present) => self.schema(place, &content["schema"], &present["schema"], way),
                None => self.note(place, format!("is no {media_type} any more")),
            }
        }
    }

    fn schema(&mut self, place: &str, then: &Value, now: &Value, way: Way) {
        let (then, was_nullable) = alternatives(self.then, then);
        let (now, is_nullable) = alternatives(self.now, now);
        match way {
            Way::In if was_nullable && !is_nullable => self.note(place, "may not be null any more"),
            Way::Out if is_nullable && !was_nullable => self.note(place, "may be null now"),
            _ => {}
        }
        match way {
            Way::In if now.len() < then.len() => self.note(place, "has fewer forms"),
            Way::Out if now.len() > then.len() => self.note(place, "has more forms"),
            _ => {}
        }
        for (then, now) in then.iter().zip(&now) {
            self.form(place, then, now, way);
        }
    }

    fn form(&mut self, place: &str, then: &Value, now: &Value, way: Way) {
        for keyword in ["type", "format"] {
            if then[keyword] != now[keyword] {
                self.note(place, format!("had the {keyword} {}, and has {}", then[keyword], now[keyword]));
            }
        }
        self.words(place, then, now, way);
        self.object(place, then, now, way);
        if then.get("items").is_some() {
            self.schema(&format!("{place}/*"), &then["items"], &now["items"], way);
        }
        if way == Way::In {
            self.limits(place, then, now);
        }
    }

    fn words(&mut self, place: &str, then: &Value, now: &Value, way: Way) {
        for word in items(&then["enum"]).filter(|word| !items(&now["enum"]).any(|present| present == *word)) {
            self.note(place, format!("lost {word}"));
        }
        if way == Way::In && then.get("enum").is_none() && now.get("enum").is_some() {
            self.note(place, "takes certain words only");
        }
    }

    fn object(&mut self, place: &str, then: &Value, now: &Value, way: Way) {
        for (name, member) in members(&then["properties"]) {
            let place = format!("{place}/{name}");
            match now["properties"].get(name) {
                Some(present) => self.schema(&place, member, present, way),
                None => self.note(&place, "is gone"),
            }
        }
        let required = |schema: &Value| items(&schema["required"]).map(Value::to_string).collect::<BTreeSet<_>>();
        let (then, now) = (required(then), required(now));
        let (more, what) = match way {
            Way::In => (now.difference(&then), "is required now"),
            Way::Out => (then.difference(&now), "may be missing now"),
        };
        for name in more {
            self.note(&format!("{place}/{}", name.trim_matches('"')), what);
        }
    }

    fn limits(&mut self, place: &str, then: &Value, now: &Value) {
        for keyword in ["maximum", "maxLength", "maxItems", "minimum", "minLength", "minItems"] {
            let Some(limit) = now[keyword].as_f64() else { continue };
            let is_upper = keyword.starts_with("max");
            let is_wider =
                then[keyword].as_f64().is_some_and(|before| if is_upper { limit >= before } else { limit <= before });
            if !is_wider {
                self.note(place, format!("has the {keyword} {limit}"));
            }
        }
        let Some(pattern) = now["pattern"].as_str() else { return };
        let is_wider = then["pattern"].as_str().is_some_and(|before| {
            let (before, now) = (words_of(before), words_of(pattern));
            before.0 == now.0 && before.1.is_subset(&now.1)
        });
        if !is_wider {
            self.note(place, format!("has the pattern {pattern}"));
        }
    }
}

/// Parameters by where they stand and what they are called.
type Parameters<'a> = BTreeMap<(String, String), &'a Value>;

fn parameters(operation: &Value) -> Parameters<'_> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items(&operation["parameters"]).map(|one| ((text(&one["in"]), text(&one["name"])), one)).collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The forms that a value may have, references resolved, and whether it may be `null`.
fn alternatives(document: &Value, schema: &Value) -> (Vec<Value>, bool) {
    let schema = whole(document, schema);
    let choices = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array).cloned();
    let forms: Vec<Value> = choices.unwrap_or_else(|| vec![schema]).iter().map(|one| whole(document, one)).collect();
    let mut is_nullable = false;
    let mut others = Vec::new();
    for mut form in forms {
        let mut kinds: Vec<Value> = match &form["type"] {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let before = kinds.len();
        kinds.retain(|kind| kind != "null");
        is_nullable |= kinds.len() < before;
        if let [kind] = kinds.as_slice() {
            form["type"] = kind.clone();
            others.push(form);
        }
    }
    (others, is_nullable)
}

/// The schema itself: without references, and with what `allOf` puts together.
fn whole(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return whole(document, document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null));
    }
    let Some(parts) = schema["allOf"].as_array() else { return schema.clone() };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts.iter().map(|part| whole(document, part)) {
        properties.extend(members(&part["properties"]).map(|(name, member)| (name.clone(), member.clone())));
        required.extend(items(&part["required"]).cloned());
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// A pattern with its groups of plain words taken out, and those words.
fn words_of(pattern: &str) -> (String, BTreeSet<String>) {
    let is_words = |group: &str| group.bytes().all(|byte| byte.is_ascii_lowercase() || b"_|".contains(&byte));
    let (mut rest, mut words) = (String::new(), BTreeSet::new());
    for (at, piece) in pattern.split('(').enumerate() {
        let group = piece.split_once(')').filter(|(group, _)| at > 0 && is_words(group));
        words.extend(group.iter().flat_map(|(group, _)| group.split('|')).map(str::to_owned));
        rest.push_str(if at > 0 { "(" } else { "" });
        rest.push_str(group.map_or(piece, |(_, after)| after));
    }
    (rest, words)
}
