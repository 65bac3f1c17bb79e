//! What both documents have, operation by operation.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{v1, v2};

fn documents() -> [Value; 2] {
    [v1(), v2()].map(|text| serde_json::from_str(&text).unwrap())
}

/// Every operation, such as `get /api/v1/posts`.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().iter();
        found.extend(methods.map(|(method, operation)| (format!("{method} {path}"), operation)));
    }
    found
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

#[test]
fn whatever_is_shown_can_be_narrowed_to_any_of_its_members() {
    let mut seen = 0;
    for document in documents() {
        for (name, operation) in operations(&document) {
            let answer = operation.pointer("/responses/200/content/application~1json/schema");
            let Some(answer) = answer.filter(|_| name.starts_with("get ")) else { continue };
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let fields = parameters.into_iter().find(|parameter| parameter["name"] == "fields");
            let fields = fields.unwrap_or_else(|| panic!("{name} does not take `fields`"));
            let pattern = fields["schema"]["pattern"].as_str().unwrap();
            let named: BTreeSet<&str> = pattern.split(')').next().unwrap()[2..].split('|').collect();

            let answer = resolve(&document, answer);
            let rows = answer.pointer("/properties/data/items").map(|row| resolve(&document, row));
            let shown = rows.unwrap_or(answer);
            assert_eq!(shown.get("required"), None, "{name}: with `fields`, anything may be missing");
            let mut members: BTreeSet<&str> =
                shown["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            if name == "get /api/v2/me/tokens" {
                assert!(members.remove("token"), "shown once, when it is made");
            }
            assert_eq!(named, members, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 5 + 12);
}

#[test]
fn every_answer_and_every_body_has_an_example() {
    for document in documents() {
        for (name, operation) in operations(&document) {
            let responses = operation["responses"].as_object().unwrap().values();
            for body in responses.chain(operation.get("requestBody")) {
                let contents = resolve(&document, body).get("content").and_then(Value::as_object);
                for (media_type, content) in contents.into_iter().flatten() {
                    let has_one = content.get("example").or(content.get("examples")).is_some();
                    assert!(has_one, "{name}: {media_type} has no example");
                }
            }
        }
    }
}
