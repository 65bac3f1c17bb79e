//! Battery rows B5 and B6, and whatever else comes in that nobody should send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use inkstone_testkit::{Answer, Client};
use reqwest::Method;
use serde_json::json;

use crate::start;

async fn send(author: &Client, body: impl Into<Vec<u8>>) -> Answer {
    author.request(Method::POST, "/api/v2/posts").header("content-type", "application/json").body(body).send().await
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused_by_name() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let deep = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    for (name, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"title=x".to_vec()),
        ("cut off", br#"{"title": "x""#.to_vec()),
        ("trailing", br#"{"title": "x"} {}"#.to_vec()),
        ("duplicate keys", br#"{"title": "x", "title": "y"}"#.to_vec()),
        ("nested duplicate keys", br#"{"content": {"markdown": "x", "markdown": "y"}}"#.to_vec()),
        ("bad UTF-8", b"{\"title\": \"\xff\xfe\"}".to_vec()),
        ("lone surrogate", br#"{"title": "\ud800"}"#.to_vec()),
        ("NUL", br#"{"title": "a\u0000b"}"#.to_vec()),
        ("BOM", b"\xef\xbb\xbf{\"title\": \"x\"}".to_vec()),
        ("NaN", br#"{"title": NaN}"#.to_vec()),
        ("deep arrays", deep("[", "]", 500_000).into_bytes()),
        ("deep objects", format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200)).into_bytes()),
        ("long number", format!(r#"{{"title": {}}}"#, "9".repeat(500_000)).into_bytes()),
    ] {
        let answer = send(&author, body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{name}: {} {}", answer.status, answer.text());
    }
    let many: String = (0..20_000).map(|n| format!(r#""k{n}": 1,"#)).collect::<Vec<_>>().concat();
    let answer = send(&author, format!("{{{many} \"title\": \"x\"}}")).await.expect(422);
    assert!(answer.body.len() < 100_000, "the list of faults is bounded");
    for body in ["[]", "null", "7", "\"text\""] {
        send(&author, body).await.expect(422);
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_or_of_another_kind_are_refused() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let huge = json!({"title": "x".repeat(10 << 20), "content": {"markdown": "x"}});
    assert_eq!(author.post("/api/v2/posts", &huge).await.expect(413).problem(), "too-large");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/xml",
    ] {
        let answer = author.request(Method::POST, "/api/v2/posts").header("content-type", kind).body("{}").send().await;
        assert_eq!(answer.expect(415).problem(), "unsupported-media-type");
    }
    author.request(Method::POST, "/api/v2/posts").body("{}").send().await.expect(415);
    // 300 MB of zeros in 292 KB would be a bomb; no coding is taken apart at all.
    for coding in ["gzip", "br", "deflate", "zstd", "gzip, gzip"] {
        let answer = author
            .request(Method::POST, "/api/v2/posts")
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(vec![0x1f, 0x8b])
            .send()
            .await;
        answer.expect(415);
    }
    assert_eq!(
        server
            .client()
            .request(Method::GET, "/api/v2/posts")
            .header("accept", "text/html")
            .send()
            .await
            .expect(406)
            .problem(),
        "not-acceptable"
    );
    assert_eq!(
        server.client().get(&format!("/api/v2/posts?tag={}", "a".repeat(9000))).await.expect(414).problem(),
        "uri-too-long"
    );
}

#[tokio::test]
async fn markdown_bombs_are_rendered_within_bounds_or_refused() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    for bomb in ["[", "*", "> ", "- ", "![", "<", "`", "&", "_a", "[a](", "|a", "~~", "**a", "<a href=\"", "[^1]: "] {
        let markdown = bomb.repeat(100_000 / bomb.len());
        let answer = author.post("/api/v2/posts", &json!({"title": "Bomb", "content": {"markdown": markdown}})).await;
        assert!(
            matches!(answer.status.as_u16(), 201 | 422),
            "{bomb}: {} {}",
            answer.status,
            &answer.text()[..200.min(answer.text().len())]
        );
    }
    server.client().get("/livez").await.expect(200);
}

#[tokio::test]
async fn methods_versions_and_addresses_that_do_not_exist() {
    let server = start();
    let anonymous = server.client();
    let wrong = anonymous.request(Method::DELETE, "/api/v2/posts").send().await.expect(405);
    let allow = wrong.header("allow").unwrap().to_owned();
    assert!(allow.contains("GET") && allow.contains("POST") && allow.contains("HEAD"), "{allow}");
    let options = anonymous.request(Method::OPTIONS, "/api/v2/posts").send().await.expect(204);
    assert!(options.header("allow").unwrap().contains("OPTIONS"));
    let version = anonymous.get("/api/v9/posts").await.expect(404);
    assert_eq!(version.problem(), "unknown-version");
    assert!(version.text().contains("v1") && version.text().contains("v2"));
    for path in [
        "/api/v2/nothing",
        "/nothing",
        "/api/v2/posts/0",
        "/api/v2/posts/-1",
        "/api/v2/posts/x",
        "/api/v2/posts/99999999999999999999",
        "/api/v2/posts/1/",
        "/%2e%2e/etc/passwd",
        "/.git/config",
    ] {
        assert_eq!(anonymous.get(path).await.expect(404).problem(), "not-found", "{path}");
    }
    anonymous.request(Method::TRACE, "/").send().await.expect(405);
}

#[tokio::test]
async fn what_is_no_proper_http_is_refused_and_the_connection_closed() {
    let server = start();
    let address = server.base().trim_start_matches("http://").to_owned();
    for (name, request) in [
        ("no Host", "GET /livez HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (
            "both lengths",
            "POST /api/v2/posts HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "POST /api/v2/posts HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        ),
        ("odd coding", "POST /api/v2/posts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("space before colon", "GET /livez HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("folded header", "GET /livez HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
        ("garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{name}: the connection is closed: {error}"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
        assert!(!answer.contains("HTTP/1.1 200"), "{name}");
    }
}

#[tokio::test]
async fn another_version_of_http_is_refused_as_what_it_is() {
    let server = start();
    let mut stream = TcpStream::connect(server.base().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /livez HTTP/3.0\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert!(head.starts_with("HTTP/1.1 505 "), "{head}");
    assert_eq!((&problem["status"], &problem["type"]), (&json!(505), &json!("/problems/http-version")));
}

#[tokio::test]
async fn tampered_tokens_are_refused() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    author.get("/api/v2/me").await.expect(200);
    let personal = server.token("ada", "read");
    for token in [
        "x",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "ink_pat_",
        &personal[..personal.len() - 1],
        &format!("{personal}x"),
        &personal.to_uppercase(),
    ] {
        let answer = server.client().with_token(token).get("/api/v2/posts").await.expect(401);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{token}");
    }
    // A token in an address ends in logs and histories: it counts for nothing.
    server.client().get(&format!("/api/v2/me?access_token={personal}")).await.expect(401);
    server.client().get(&format!("/api/v2/posts?access_token={personal}")).await.expect(400);
    server.client().request(Method::GET, "/api/v2/me").header("authorization", "Basic YTpi").send().await.expect(401);
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = start();
    let second = server.cli(&["serve", "--listen", "127.0.0.1:0", "--operations-listen", ""]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another") && said.contains("data"), "{said}");
    server.client().get("/livez").await.expect(200);
}
