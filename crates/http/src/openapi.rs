//! The OpenAPI 3.1 documents: collected from the handlers, completed here with what every
//! operation has in common (errors, security, request ids, examples).
//!
//! The handlers say what is particular to them; the rules in [`problem_statuses`] say which
//! errors follow from an operation's method, path and body. Tests compare both documents with
//! the router and with what the server really answers.

#[cfg(test)]
mod compatible;
mod narrowed;
#[cfg(test)]
mod tests;

use inkstone_core::Code;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use crate::problem;

/// The OpenAPI document of v1, as pretty JSON.
pub fn v1() -> String {
    pretty(&document(
        crate::v1::routes().into_openapi(),
        "1.0.0",
        "The simple contract: flat posts, numbered pages. For quick clients and for learning.",
    ))
}

/// The OpenAPI document of v2, as pretty JSON.
pub fn v2() -> String {
    pretty(&document(
        crate::v2::routes().into_openapi(),
        "2.0.0",
        "The rich contract for sites, apps, editors and sync: embedded authors and tags, cursors, \
         merge patch, conditional writes.",
    ))
}

fn pretty(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

fn document(collected: utoipa::openapi::OpenApi, version: &str, description: &str) -> Value {
    let mut document = serde_json::to_value(collected).unwrap_or_default();
    document["info"] = json!({
        "title": "Inkstone",
        "version": version,
        "description": description,
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        "contact": {"name": "Inkstone"},
    });
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    document["tags"] = json!([
        {"name": "posts", "description": "What the blog is made of."},
        {"name": "tags", "description": "What posts are about."},
        {"name": "users", "description": "Who writes here."},
        {"name": "auth", "description": "Signing in and out."},
        {"name": "me", "description": "One's own account, sessions and tokens."},
        {"name": "setup", "description": "The first administrator."},
    ]);
    let schemas = document["components"]["schemas"].clone();
    let mut used_tags = Vec::new();
    let mut used_problems = Vec::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            let Some(methods) = item.as_object_mut() else { continue };
            for (method, operation) in methods {
                complete(method, path, operation, &schemas, &mut used_problems);
                used_tags.extend(operation["tags"].as_array().into_iter().flatten().cloned());
            }
        }
    }
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| used_tags.contains(&tag["name"]));
    }
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token from `auth/login`, or a personal access token (`ink_pat_…`).",
        },
    });
    let (name, schema) = problem_schema();
    document["components"]["schemas"][name] = schema;
    for status in used_problems {
        document["components"]["responses"][response_name(status)] = problem_response(status);
    }
    document["components"]["headers"] = headers();
    // Schemas of parameters are not collected by themselves.
    document["components"]["schemas"]["SlugText"] =
        serde_json::to_value(crate::wire::SlugText::schema()).unwrap_or_default();
    narrowed::describe(&mut document);
    drop_unused_schemas(&mut document);
    document
}

/// Rows of lists are written out where they are used, which can leave their schema without use.
fn drop_unused_schemas(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

/// Adds to an operation what all of its kind have.
fn complete(method: &str, path: &str, operation: &mut Value, schemas: &Value, used: &mut Vec<u16>) {
    let has_body = operation.get("requestBody").is_some();
    for status in problem_statuses(method, path, has_body) {
        operation["responses"][status.to_string()] =
            json!({"$ref": format!("#/components/responses/{}", response_name(status))});
        if !used.contains(&status) {
            used.push(status);
        }
    }
    operation["security"] = security(method, path);
    if takes_change(method, path)
        && let Some(operation) = operation.as_object_mut()
    {
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().into_iter().for_each(|parameters| parameters.push(change_parameter()));
    }
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        for parameter in parameters {
            refuse_null(&mut parameter["schema"]);
        }
    }
    if let Some(media) = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut) {
        media.values_mut().for_each(|media| add_example(media, schemas));
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, response) in responses {
            if response.get("$ref").is_some() {
                continue;
            }
            if let Some(media) = response.get_mut("content").and_then(Value::as_object_mut) {
                media.values_mut().for_each(|media| add_example(media, schemas));
            }
            let names: &[&str] = match (status.as_str(), method) {
                ("200", "get") => &["ETag", "Cache-Control", "X-Request-Id"],
                ("201", _) => &["ETag", "Location", "X-Request-Id"],
                ("200", "put" | "patch") => &["ETag", "X-Request-Id"],
                ("308", _) => &["Location", "X-Request-Id"],
                _ => &["X-Request-Id"],
            };
            let change = (makes_change(method, path) && status.starts_with('2')).then_some(&"Inkstone-Change");
            for name in names.iter().chain(change) {
                response["headers"][*name] = json!({"$ref": format!("#/components/headers/{name}")});
            }
        }
    }
}

/// A parameter can be absent, but there is no way to write `null` in a query or a header.
fn refuse_null(schema: &mut Value) {
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        let kept: Vec<Value> = types.iter().filter(|kind| **kind != "null").cloned().collect();
        if let [one] = kept.as_slice() {
            schema["type"] = one.clone();
        }
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let kept: Vec<Value> = choices.iter().filter(|choice| choice["type"] != "null").cloned().collect();
        if let [one] = kept.as_slice() {
            *schema = one.clone();
        }
    }
}

/// Whether an operation shows what can be read by anybody, and so can lag behind.
fn takes_change(method: &str, path: &str) -> bool {
    method == "get" && !path.contains("/me") && !path.ends_with("openapi.json")
}

/// Whether an operation changes what anybody may read.
fn makes_change(method: &str, path: &str) -> bool {
    method != "get" && ["/posts", "/tags", "/users"].iter().any(|part| path.contains(part))
}

fn change_parameter() -> Value {
    json!({
        "name": "inkstone-change",
        "in": "header",
        "required": false,
        "description": "A change that must be in the answer: the largest `Inkstone-Change` that was answered to you.",
        "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 999_999_999_999_999_i64},
    })
}

/// Who must sign in: writers, and whoever asks for their own account.
fn security(method: &str, path: &str) -> Value {
    let needs_nobody = path.contains("/auth/") || path.ends_with("/setup") || path.ends_with("openapi.json");
    if needs_nobody {
        json!([{}])
    } else if method != "get" || path.contains("/me") {
        json!([{"bearer": []}])
    } else {
        json!([{}, {"bearer": []}])
    }
}

/// The problems that an operation of this kind can answer with.
fn problem_statuses(method: &str, path: &str, has_body: bool) -> Vec<u16> {
    let mut statuses = vec![400, 401, 403, 406, 414, 431, 500, 503, 504];
    let writes = method != "get";
    if path.contains('{') || path.contains("/by-path") {
        statuses.push(404);
    }
    if path.contains("/posts/") {
        statuses.push(410);
    }
    if has_body {
        statuses.extend([408, 413, 415, 422]);
    }
    if writes {
        statuses.push(429);
    }
    if writes && (method == "post" || path.contains("/posts") || path.contains("/tags")) {
        statuses.push(409);
    }
    if matches!(method, "put" | "patch" | "delete") && !path.contains("/me/") {
        statuses.push(412);
        if path.starts_with("/api/v2/") {
            statuses.push(428);
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn response_name(status: u16) -> String {
    let title =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Problem");
    title.split(|c: char| !c.is_ascii_alphanumeric()).collect()
}

/// One shared response for each status, with an example for each code that it stands for.
fn problem_response(status: u16) -> Value {
    let codes: Vec<Code> = Code::ALL.iter().copied().filter(|code| problem::status(*code).as_u16() == status).collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let mut example = json!({
                "type": format!("/problems/{}", code.as_str()),
                "title": code.title(),
                "status": status,
                "detail": code.meaning().trim(),
                "instance": "urn:uuid:0199f0a2-7c1e-7b0a-9f59-0d6b1f1c2a3b",
            });
            if *code == Code::Invalid {
                example["errors"] =
                    json!([{"pointer": "/title", "code": "too-long", "detail": "At most 255 characters."}]);
            }
            (code.as_str().to_owned(), json!({"summary": code.title(), "value": example}))
        })
        .collect();
    let meanings: Vec<&str> = codes.iter().map(|code| code.meaning().trim()).collect();
    json!({
        "description": meanings.join(" "),
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        "content": {"application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "examples": examples,
        }},
    })
}

fn problem_schema() -> (&'static str, Value) {
    let schema = json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "title", "status", "instance"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "Names the kind of problem; a page that explains it."},
            "title": {"type": "string", "description": "The kind in a few words; always the same for a type."},
            "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "description": "The status code."},
            "detail": {"type": "string", "description": "What exactly happened this time."},
            "instance": {"type": "string", "format": "uri", "description": "The request id; the server's log has the story under it."},
            "errors": {
                "type": "array",
                "maxItems": 1000,
                "description": "Every fault of the input.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "code", "detail"],
                    "properties": {
                        "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) into the body, or the name of the parameter."},
                        "code": {"type": "string", "description": "The stable code of the rule."},
                        "detail": {"type": "string", "description": "The rule in words."},
                    },
                },
            },
        },
    });
    ("Problem", schema)
}

fn headers() -> Value {
    json!({
        "ETag": {
            "description": "The version of this representation: strong (RFC 9110 §8.8.3). Send it back in `If-None-Match` or `If-Match`.",
            "schema": {"type": "string"},
            "example": "\"v7.q0Zk3uXw\"",
        },
        "Location": {
            "description": "Where the resource is.",
            "schema": {"type": "string", "format": "uri-reference"},
            "example": "/api/v2/posts/42",
        },
        "Cache-Control": {
            "description": "How long this may be kept, and by whom (RFC 9111).",
            "schema": {"type": "string"},
            "example": "public, max-age=60, s-maxage=300",
        },
        "Inkstone-Change": {
            "description": "The change that this made. Send it with a GET to read what you wrote, whichever node answers.",
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "example": 1234,
        },
        "X-Request-Id": {
            "description": "Names this request in the server's log.",
            "schema": {"type": "string"},
            "example": "0199f0a2-7c1e-7b0a-9f59-0d6b1f1c2a3b",
        },
    })
}

/// Gives a media type an example made from those of its properties, unless it has one.
fn add_example(media: &mut Value, schemas: &Value) {
    if media.get("example").is_some() || media.get("examples").is_some() {
        return;
    }
    if let Some(example) = media.get("schema").and_then(|schema| example_of(schema, schemas, 0)) {
        media["example"] = example;
    }
}

fn example_of(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    if depth > 8 {
        return None;
    }
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return example_of(schemas.get(name)?, schemas, depth + 1);
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let mut whole = Map::new();
        for part in parts {
            if let Some(Value::Object(part)) = example_of(part, schemas, depth + 1) {
                whole.extend(part);
            }
        }
        return Some(Value::Object(whole));
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema.get(choice).and_then(Value::as_array) {
            return choices
                .iter()
                .filter(|choice| choice["type"] != "null")
                .find_map(|choice| example_of(choice, schemas, depth + 1));
        }
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return Some(first.clone());
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let object = properties
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), example_of(property, schemas, depth + 1)?)))
            .collect();
        return Some(Value::Object(object));
    }
    if let Some(items) = schema.get("items") {
        return Some(Value::Array(example_of(items, schemas, depth + 1).into_iter().collect()));
    }
    None
}
