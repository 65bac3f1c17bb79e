//! The released documents against the present ones; and whether a break would be seen.

use super::*;

fn present() -> Value {
    serde_json::from_str(&super::super::v2()).unwrap()
}

/// What is found when the present document was changed so since its release.
fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut changed = present();
    change(&mut changed);
    assert_ne!(changed, present(), "the change changes something");
    broken(&present(), &changed)
}

fn remove(at: &'static str, name: &'static str) -> impl FnOnce(&mut Value) {
    move |document| drop(document.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(name))
}

fn set(at: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |document| {
        let (parent, name) = at.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        match name.parse::<usize>() {
            Ok(index) => parent[index] = value,
            Err(_) => parent[name] = value,
        }
    }
}

fn push(at: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |document| document.pointer_mut(at).unwrap().as_array_mut().unwrap().push(value)
}

#[test]
fn what_was_released_holds() {
    for (version, now) in [("v1", super::super::v1()), ("v2", super::super::v2())] {
        let path = format!("{}/../../openapi/released/{version}.json", env!("CARGO_MANIFEST_DIR"));
        let released: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(members(&released["paths"]).count() >= 8, "{version} was read");
        let broken = broken(&released, &serde_json::from_str(&now).unwrap());
        assert_eq!(broken, [""; 0], "{version} breaks what was released: see CONTRIBUTING.md");
    }
}

#[test]
fn what_clients_rely_on_cannot_go() {
    const LIST: &str = "/paths/~1api~1v2~1posts/get";
    const POST: &str = "/components/schemas/Post";
    const INPUT: &str = "/components/schemas/PostInput";
    type Change = Box<dyn FnOnce(&mut Value)>;
    let parameter = |name: &str| {
        let list = present().pointer(LIST).unwrap()["parameters"].as_array().unwrap().clone();
        list.iter().position(|one| one["name"] == name).unwrap()
    };
    let leak = |text: String| -> &'static str { text.leak() };
    let at = |name: &str, rest: &str| leak(format!("{LIST}/parameters/{}{rest}", parameter(name)));
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(remove("/paths", "/api/v2/tags/{id}")), "get /api/v2/tags/{id} is gone"),
        (Box::new(remove("/paths/~1api~1v2~1tags", "post")), "post /api/v2/tags is gone"),
        (Box::new(set(at("limit", "/name"), json!("size"))), "get /api/v2/posts: limit is gone"),
        (Box::new(set(at("limit", "/required"), json!(true))), "get /api/v2/posts needs limit now"),
        (Box::new(set(at("limit", "/schema/maximum"), json!(50))), "limit has the maximum 50"),
        (Box::new(set(at("limit", "/schema/minimum"), json!(2))), "limit has the minimum 2"),
        (Box::new(set(at("tag", "/schema/minItems"), json!(1))), "tag has the minItems 1"),
        (Box::new(set(at("count", "/schema/pattern"), json!("^all$"))), "count has the pattern ^all$"),
        (Box::new(set(at("sort", "/schema/pattern"), json!("^-?(published_at|title)$"))), "sort has the pattern"),
        (
            Box::new(push(leak(format!("{LIST}/parameters")), json!({"name": "q", "in": "query", "required": true}))),
            "get /api/v2/posts needs q now",
        ),
        (Box::new(set(leak(format!("{LIST}/security")), json!([{"bearer": []}]))), "posts needs a token now"),
        (Box::new(remove("/paths/~1api~1v2~1posts/post/responses", "201")), "201 is no answer any more"),
        (
            Box::new(remove("/paths/~1api~1v2~1posts/post/responses/201/headers", "Location")),
            "201 has no Location any more",
        ),
        (Box::new(remove(leak(format!("{POST}/properties")), "excerpt")), "201/excerpt is gone"),
        (Box::new(set(leak(format!("{POST}/required")), json!(["id"]))), "201/title may be missing now"),
        (
            Box::new(set(leak(format!("{POST}/properties/title/type")), json!(["string", "null"]))),
            "201/title may be null now",
        ),
        (
            Box::new(set(leak(format!("{POST}/properties/words/type")), json!("string"))),
            r#"201/words had the type "integer", and has "string""#,
        ),
        (Box::new(set("/components/schemas/Status/enum", json!(["published"]))), r#"/status lost "draft""#),
        (Box::new(remove(leak(format!("{INPUT}/properties")), "slug")), "the body/slug is gone"),
        (
            Box::new(push(leak(format!("{INPUT}/required")), json!("slug"))),
            "post /api/v2/posts: the body/slug is required now",
        ),
        (
            Box::new(set(leak(format!("{INPUT}/properties/title/maxLength")), json!(80))),
            "the body/title has the maxLength 80",
        ),
        (
            Box::new(remove("/paths/~1api~1v2~1posts~1{id}/patch/requestBody/content", "application/merge-patch+json")),
            "the body is no application/merge-patch+json any more",
        ),
    ];
    for (change, expected) in cases {
        let found = found(change);
        assert!(found.iter().any(|line| line.contains(expected)), "{expected:?} is not in {found:#?}");
    }
}

#[test]
fn additions_are_welcome() {
    let list = "/paths/~1api~1v2~1posts/get";
    let parameters = format!("{list}/parameters");
    let more = found(|document| {
        push(parameters.leak(), json!({"name": "q", "in": "query", "required": false, "schema": {"type": "string"}}))(
            document,
        );
        set("/paths/~1api~1v2~1news", json!({"get": {"responses": {"200": {}}}}))(document);
        set("/components/schemas/Post/properties/subtitle", json!({"type": "string"}))(document);
        push("/components/schemas/Post/required", json!("subtitle"))(document);
        set("/components/schemas/PostInput/properties/subtitle", json!({"type": "string"}))(document);
        set("/components/schemas/PostInput/properties/title/maxLength", json!(300))(document);
        push("/components/schemas/Status/enum", json!("scheduled"))(document);
        set("/components/schemas/Post/properties/published_at", json!({"$ref": "#/components/schemas/Timed"}))(
            document,
        );
        for parameter in document.pointer_mut(list).unwrap()["parameters"].as_array_mut().unwrap() {
            let pattern = parameter["schema"]["pattern"].as_str().map(|pattern| pattern.replace("title", "title|rank"));
            if let Some(pattern) = pattern {
                parameter["schema"]["pattern"] = json!(pattern);
            }
        }
    });
    assert_eq!(more, [""; 0]);
}
