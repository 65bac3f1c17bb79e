//! The documents and the server agree, in both directions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::start;

/// The committed document of a version.
pub(crate) fn document(version: &str) -> Value {
    let path = format!("{}/../../openapi/{version}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every operation of a version as `get /api/v1/posts`.
pub(crate) fn operations(version: &str) -> Vec<String> {
    let document = document(version);
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect()
}

#[tokio::test]
async fn the_committed_documents_are_what_the_program_says_and_serves() {
    let server = start();
    for version in ["v1", "v2"] {
        let said = server.cli(&["openapi", version]);
        let served = server.client().get(&format!("/api/{version}/openapi.json")).await.expect(200);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(said, document(version), "cargo run -- openapi {version} > openapi/{version}.json");
        assert_eq!(served.json(), said);
        assert_eq!(said["openapi"], "3.1.0");
    }
}

#[tokio::test]
async fn every_documented_operation_has_a_route_and_no_other_method_has() {
    let server = start();
    for version in ["v1", "v2"] {
        for (path, item) in document(version)["paths"].as_object().unwrap() {
            let address = path.replace("{id}", "1").replace("{slug}", "x");
            let answer = server.client().request(Method::OPTIONS, &address).send().await.expect(204);
            let mut allowed: Vec<String> =
                answer.header("allow").unwrap().split(',').map(|method| method.trim().to_lowercase()).collect();
            allowed.retain(|method| method != "head" && method != "options");
            allowed.sort();
            let mut documented: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
            documented.sort();
            assert_eq!(allowed, documented, "{path}");
        }
    }
}

#[tokio::test]
async fn whatever_is_read_can_be_narrowed() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let post = json!({"title": "Ink", "content": {"markdown": "x"}, "status": "published", "tags": ["Writing"]});
    ada.post("/api/v2/posts", &post).await.expect(201);
    ada.post("/api/v2/me/tokens", &json!({"name": "x", "scopes": ["read"], "expires_in_days": 1})).await.expect(201);
    let anonymous = server.client();
    let mut narrowed = 0;
    for version in ["v1", "v2"] {
        for (path, item) in document(version)["paths"].as_object().unwrap() {
            let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
            let Some(fields) = parameters.into_iter().find(|parameter| parameter["name"] == "fields") else { continue };
            // The first and the last of those that it may be narrowed to.
            let pattern = fields["schema"]["pattern"].as_str().unwrap();
            let names: Vec<&str> = pattern[2..].split(')').next().unwrap().split('|').collect();
            let (first, last) = (names[0], names[names.len() - 1]);
            let slug = if path.contains("users") {
                "ada"
            } else if path.contains("tags") {
                "writing"
            } else {
                "ink"
            };
            let address = path.replace("{id}", "1").replace("{slug}", slug);
            let reader = if path.contains("/me") { &ada } else { &anonymous };
            let whole = reader.get(&address).await.expect(200);
            let part = reader.get(&format!("{address}?fields={last},{first}")).await.expect(200);
            for (answer, is_whole) in [(&whole, true), (&part, false)] {
                let body = answer.json();
                let rows = body["data"].as_array().cloned().unwrap_or_else(|| vec![body]);
                assert!(!rows.is_empty(), "{path} shows something");
                for row in rows {
                    let members: Vec<&String> = row.as_object().unwrap().keys().collect();
                    assert_eq!(members.len() > 2, is_whole, "{address}: {members:?}");
                    assert!(row.get(first).is_some() && row.get(last).is_some(), "{address}: {members:?}");
                }
            }
            assert_ne!(part.etag(), whole.etag(), "{address}: another representation");
            assert_eq!(
                reader.get(&address).await.expect(200).body,
                whole.body,
                "{address}: one does not hide the other"
            );
            let order = reader.get(&format!("{address}?fields={first},{last}")).await.expect(200);
            assert_eq!(order.body, part.body);
            reader.get(&format!("{address}?fields=nothing")).await.expect(400);
            narrowed += 1;
        }
    }
    assert_eq!(narrowed, 17);
}

#[tokio::test]
async fn the_reference_works_without_internet() {
    let server = start();
    let page = server.client().get("/docs").await.expect(200);
    let text = page.text();
    let elsewhere: Vec<&str> = text.split('"').filter(|part| part.contains("://")).collect();
    assert_eq!(elsewhere, [""; 0], "the page refers to other places");
    let script = server.client().get("/docs/scalar.js").await.expect(200);
    assert!(script.body.len() > 500_000);
    assert!(server.client().get("/docs/start.js").await.expect(200).text().contains("/api/v2/openapi.json"));
    assert!(page.header("content-security-policy").unwrap().contains("connect-src 'self'"));
}

#[tokio::test]
async fn every_kind_of_problem_has_a_page() {
    let server = start();
    let index = server.client().get("/problems").await.expect(200).text();
    for code in inkstone_core::Code::ALL {
        let page = server.client().get(&format!("/problems/{}", code.as_str())).await.expect(200);
        assert!(page.text().contains(code.title()) && index.contains(code.as_str()));
    }
    server.client().get("/problems/nothing").await.expect(404);
}

#[tokio::test]
async fn operations_are_on_a_listener_of_their_own() {
    let server = start();
    server.client().get("/api/v2/posts").await.expect(200);
    server.client().get("/api/v2/posts").await.expect(200);
    server.client().get("/metrics").await.expect(404);
    let metrics = server.operations().get("/metrics").await.expect(200).text();
    for name in ["http_requests", "http_request_duration_seconds", "cache", "database"] {
        assert!(metrics.contains(name), "{name} is measured:\n{metrics}");
    }
    server.operations().get("/livez").await.expect(200);
    assert_eq!(server.operations().get("/readyz").await.expect(200).json()["status"], "ready");
}
