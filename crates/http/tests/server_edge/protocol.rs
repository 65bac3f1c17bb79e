//! Requests that break HTTP (battery row B7).

use crate::support::{BIG, Running, eventually, exchange, read_to_end, short, start};
use bytes::Bytes;
use http::{Request, StatusCode, Version};
use tokio::io::AsyncWriteExt;

/// What a smuggled request would look like behind each of the bad ones.
const SMUGGLED: &str = "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";

fn corpus() -> Vec<(u16, String)> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
    let many = "X: y\r\n".repeat(65);
    let long = "y".repeat(17 * 1024);
    vec![
        (400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        (400, post("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, post("Content-Length: 5\r\nContent-Length: 5\r\n")),
        (400, post("Content-Length: 5, 5\r\n")),
        (400, post("Content-Length: +5\r\n")),
        (400, post("Content-Length: 99999999999999999999\r\n")),
        (400, post("Transfer-Encoding: xchunked\r\n")),
        (400, post("Transfer-Encoding: chunked, identity\r\n")),
        (400, post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n")),
        (400, post("Transfer-Encoding : chunked\r\n")),
        (400, post("Transfer-Encoding:\u{b}chunked\r\n")),
        (400, post("X: y\r\n Transfer-Encoding: chunked\r\n")),
        (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\nHost: a\n\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a\n\r\n".into()),
        (400, get("Host: a\r\nX: y\r\n z\r\n")),
        (400, get("Host : a\r\n")),
        (400, get("")),
        (400, get("Host: a\r\nHost: b\r\n")),
        (400, get("Host: a b\r\n")),
        (400, get("Host: a@b\r\n")),
        (400, get("Host:\r\n")),
        (400, get("Host: a\r\nX\r\n")),
        (400, get("Host: a\r\nX: \0\r\n")),
        (400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into()),
        (400, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (400, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\n".into()),
        (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into()),
        (405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into()),
        (414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(9000))),
        (431, get(&format!("Host: a\r\n{many}"))),
        (431, get(&format!("Host: a\r\nX: {long}\r\n"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_closed_and_followed_by_nothing() {
    let server = start(short());
    for (status, request) in corpus() {
        let answer = exchange(server.address, format!("{request}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert!(answer.contains("application/problem+json"), "{request:?}: {answer}");
        assert!(answer.contains("connection: close"), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        assert_eq!(status == 405, answer.contains("allow: GET"), "{request:?}: {answer}");
    }
    assert_eq!(server.stats.refused_requests(), corpus().len() as u64);
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_does_not_harm_those_before_it() {
    let server = start(short());
    let first = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    let answer = exchange(server.address, format!("{first}GET / HTTP/1.1\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("hello 5HTTP/1.1 400 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_waits_for_the_answer_before_it() {
    let server = start(short());
    let mut client = server.connect().await;
    client.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
    eventually("both have arrived", || server.stats.refused_requests() == 1).await;
    server.gate.opened.notify_one();
    let answer = read_to_end(&mut client).await;
    assert!(answer.contains("throughHTTP/1.1 400 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_a_chunked_body() {
    let server = start(short());
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = exchange(server.address, format!("{chunked}{SMUGGLED}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close") && answer.ends_with("hello 3"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_answered_before_its_body_came_is_told_that_the_connection_ends() {
    let server = start(short());
    for body in ["Content-Length: 5\r\n\r\n", "Content-Length: 5\r\n\r\nhel"] {
        let answer = exchange(server.address, format!("POST /ignore HTTP/1.1\r\nHost: a\r\n{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"), "{body:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_came_and_that_nobody_read_keeps_no_other_request_from_its_answer() {
    let server = start(short());
    let ignored = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = exchange(server.address, format!("{ignored}{ignored}{last}").as_bytes()).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!((statuses, answers.matches("connection: close").count()), (vec!["413", "413", "200"], 1), "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_requests_share_a_connection_however_the_network_cuts_them() {
    let server = start(short());
    let stream = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\n\r\nGET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for size in [1, 7, 40, stream.len()] {
        let mut client = server.connect().await;
        client.set_nodelay(true).unwrap();
        for piece in stream.as_bytes().chunks(size) {
            client.write_all(piece).await.unwrap();
        }
        let answer = read_to_end(&mut client).await;
        assert!(answer.contains("hello 3HTTP/1.1 200 OK") && answer.ends_with("127.0.0.1 false 2"), "{answer}");
    }
}

async fn h2_request(server: &Running, request: Request<()>) -> (StatusCode, usize) {
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let (status, mut body) = (response.status(), response.into_body());
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data: Bytes = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        length += data.len();
    }
    (status, length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_with_prior_knowledge_is_served_under_the_same_rules() {
    let server = start(short());
    let get = |uri: &str| Request::get(uri).version(Version::HTTP_2);
    assert_eq!(h2_request(&server, get("http://a/").body(()).unwrap()).await, (StatusCode::OK, 7));
    assert_eq!(h2_request(&server, get("http://a/big").body(()).unwrap()).await, (StatusCode::OK, BIG));
    let refused = [
        (StatusCode::BAD_REQUEST, get("http://a/").header("host", "b")),
        (StatusCode::BAD_REQUEST, get("http://a/").header("host", "a").header("host", "a")),
        (StatusCode::BAD_REQUEST, get("http://user@a/")),
        (StatusCode::METHOD_NOT_ALLOWED, get("http://a/").method("TRACE")),
        (StatusCode::URI_TOO_LONG, get(&format!("http://a/{}", "y".repeat(9000)))),
    ];
    for (status, request) in refused {
        let request = request.body(()).unwrap();
        let shown = format!("{request:?}");
        assert_eq!(h2_request(&server, request).await.0, status, "{shown}");
    }
    eventually("the bytes of the large answer are given back", || server.stats.bytes_in_flight() == 0).await;
}
