//! What `fields` does to an answer, in the documents: no member of it is certain any more.
//!
//! An operation that takes `fields` answers with `NarrowedPost` where it would answer with `Post`:
//! the same members, none of them required. In a list (`Listed_Post`) that goes for its rows.

use serde_json::{Map, Value, json};

/// Puts narrowed schemas in the place of whole ones, wherever `fields` is a parameter.
pub(super) fn describe(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let mut narrowed = Map::new();
    let mut lists = Vec::new();
    let items = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in items.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        let parameters = operation["parameters"].as_array();
        if !parameters.is_some_and(|list| list.iter().any(|one| one["name"] == "fields")) {
            continue;
        }
        let Some(answer) = operation.pointer_mut("/responses/200/content/application~1json/schema") else { continue };
        let Some(name) = name(answer).map(str::to_owned) else { continue };
        if let Some((_, row)) = name.split_once('_') {
            narrowed
                .insert(narrowed_name(row), without_required(&schemas[&name]["properties"]["data"]["items"], &schemas));
            lists.push((name.clone(), reference(row)));
        } else {
            narrowed.insert(narrowed_name(&name), without_required(&schemas[&name], &schemas));
            *answer = reference(&name);
        }
    }
    for (list, row) in lists {
        document["components"]["schemas"][list]["properties"]["data"]["items"] = row;
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(narrowed);
    }
}

fn narrowed_name(name: &str) -> String {
    format!("Narrowed{name}")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", narrowed_name(name))})
}

/// The schema that a reference names.
fn name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// An object with every member of `schema`, wherever it has them from, none of which must be there.
fn without_required(schema: &Value, schemas: &Value) -> Value {
    let description = schema["description"].as_str().unwrap_or_default().trim_end_matches('.');
    json!({
        "type": "object",
        "description": format!("{description}, narrowed to what `fields` asks for; without `fields`, the whole."),
        "properties": members(schema, schemas),
    })
}

fn members(schema: &Value, schemas: &Value) -> Map<String, Value> {
    if let Some(name) = name(schema) {
        return members(&schemas[name], schemas);
    }
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let own = schema["properties"].as_object().cloned().unwrap_or_default();
    parts.flat_map(|part| members(part, schemas)).chain(own).collect()
}
