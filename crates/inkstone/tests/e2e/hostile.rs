//! Battery rows B5 and B6, and whatever else comes in that nobody should send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use inkstone_testkit::{Answer, Client, Inkstone, Options};
use reqwest::Method;
use serde_json::json;

use crate::{BINARY, start};

async fn send(author: &Client, body: impl Into<Vec<u8>>) -> Answer {
    author.request(Method::POST, "/api/v2/posts").header("content-type", "application/json").body(body).send().await
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused_by_name() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let deep = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    // Each is good but for one thing.
    let with = |more: &str| format!(r#"{{"title": "x", "content": {{"markdown": "x"}}{more}}}"#).into_bytes();
    send(&author, with("")).await.expect(201);
    for (name, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"title=x".to_vec()),
        ("cut off", with("").split_last().unwrap().1.to_vec()),
        ("trailing", [with(""), b" {}".to_vec()].concat()),
        ("duplicate keys", with(r#", "title": "x""#)),
        ("nested duplicate keys", br#"{"title": "x", "content": {"markdown": "x", "markdown": "x"}}"#.to_vec()),
        ("bad UTF-8", [with(r#", "excerpt": ""#), b"\xff\xfe\"}".to_vec()].concat()),
        ("lone surrogate", with(r#", "excerpt": "\ud800""#)),
        ("BOM", ["\u{feff}".as_bytes().to_vec(), with("")].concat()),
        ("NaN", with(r#", "authors": [NaN]"#)),
        ("deep arrays", with(&format!(r#", "x": {}"#, deep("[", "]", 500_000 / 2)))),
        ("arrays a little too deep", with(&format!(r#", "x": {}"#, deep("[", "]", 40)))),
        ("deep objects", with(&format!(r#", "x": {}1{}"#, r#"{"a":"#.repeat(200), "}".repeat(200)))),
        ("number without end", with(&format!(r#", "authors": [{}]"#, "9".repeat(500_000)))),
    ] {
        let answer = send(&author, body).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert_eq!(answer.problem(), "malformed", "{name}");
    }
    // What is JSON, but no post.
    for (more, faults) in [
        (r#", "excerpt": "a\u0000b""#, ["/excerpt bad-character"]),
        (r#", "authors": [1.5]"#, ["/authors/0 out-of-range"]),
        (r#", "authors": [9223372036854775808]"#, ["/authors/0 out-of-range"]),
        (r#", "slug": "A""#, ["/slug bad-format"]),
        (r#", "x": [[]]"#, ["/x unknown-field"]),
    ] {
        assert_eq!(send(&author, with(more)).await.expect(422).faults(), faults, "{more}");
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
    // Of 10 MB only the beginning: whoever sends on after the answer may lose it with the connection.
    let mut stream = TcpStream::connect(server.base().trim_start_matches("http://")).unwrap();
    let token = server.token("ada", "posts:write");
    let head = format!(
        "POST /api/v2/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{{\"title\": \"",
        10 << 20
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; 64 << 10]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("/problems/too-large"), "{answer}");
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
    // All ask for what anybody gets, so that whatever passes is answered with 200.
    for (name, request) in [
        ("no Host", "GET /livez HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (
            "both lengths",
            "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("odd coding", "GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
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
    let server = Inkstone::start_with(BINARY, Options::default().on_sqlite());
    // At an address that is taken, so that it ends in any case.
    let taken = server.base().trim_start_matches("http://");
    let second = server.cli(&["serve", "--listen", taken, "--operations-listen", ""]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another") && said.contains("data"), "{said}");
    server.client().get("/livez").await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_logged_under_a_method_that_nobody_named() {
    let server = start();
    let mut stream = TcpStream::connect(server.base().trim_start_matches("http://")).unwrap();
    stream.write_all(b"POST /api/v2/posts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let log = server.logged("\"http.status\":400");
    let line = log.lines().find(|line| line.contains("\"http.status\":400")).unwrap();
    assert!(line.contains("\"http.method\":\"OTHER\""), "{line}");
}
