//! Clients that take too long, too much, or too many connections (battery rows B1 to B3, F17).

use std::time::Duration;

use crate::support::{BIG, eventually, exchange, read_to_end, resident_bytes, short, start};
use inkstone_http::server::{Cut, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HEADERS: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";
const BODY: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_are_answered_408_and_closed() {
    let server = start(short());
    let mut clients = server.connect_many(300, HEADERS).await;
    server.assert_answers().await;
    for client in &mut clients {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    assert_eq!(server.stats.cut(Cut::Header), 300);
    eventually("all are closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_drip_are_closed() {
    let server = start(short());
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    // A byte now and then does not buy more time.
    while server.stats.cut(Cut::Header) == 0 {
        let _ = client.write_all(b"X: y\r\n").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("it is closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_for_a_head_begins_with_that_head() {
    let server = start(Limits { header_read_timeout: Duration::from_secs(1), ..short() });
    let mut client = server.connect().await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (start, end) = request.split_at(10);
    client.write_all(start).await.unwrap();
    // For twice that time, there is always a head that has begun and not ended.
    for _ in 0..40 {
        client.write_all(&[end, start].concat()).await.unwrap();
        let mut answer = [0; 1024];
        let read = client.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.stats.cut(Cut::Header), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silent_are_closed() {
    let server = start(short());
    let mut silent = server.connect_many(150, b"").await;
    // These begin as HTTP/2 would, which a sniff without a deadline waits for.
    silent.extend(server.connect_many(150, b"PRI * HT").await);
    server.assert_answers().await;
    for client in &mut silent {
        assert_eq!(read_to_end(client).await, "");
    }
    assert_eq!(server.stats.cut(Cut::FirstByte), 300);
    eventually("all are closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_answered_408_and_closed() {
    let server = start(short());
    let mut clients = server.connect_many(300, BODY).await;
    server.assert_answers().await;
    for client in &mut clients {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(server.stats.cut(Cut::Body), 300);
    eventually("all are closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_is_closed_at_the_total_deadline() {
    let server = start(short());
    let mut client = server.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
    while server.stats.cut(Cut::Body) == 0 {
        let _ = client.write_all(b"x").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read_to_end(&mut client).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_are_closed_and_memory_stays_bounded() {
    // Those that are refused stay open and idle, as polite clients would.
    let keep_alive_timeout = Duration::from_millis(400);
    let limits = Limits { max_bytes_in_flight: 3 * BIG, keep_alive_timeout, ..short() };
    let server = start(limits);
    let before = resident_bytes();
    // Four requests on each connection, so that pipelining would multiply what is held.
    let request = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4);
    let clients = server.connect_many(100, &request).await;
    let mut most = 0;
    eventually("all are closed", || {
        most = most.max(resident_bytes().saturating_sub(before));
        assert!(server.stats.bytes_in_flight() <= 3 * BIG);
        server.stats.accepted() >= 100 && server.stats.open() == 0
    })
    .await;
    assert!(server.stats.cut(Cut::WriteProgress) > 0, "those that were served did not read");
    assert!(server.stats.refused_by_budget() > 0, "there was no room for all");
    assert_eq!(server.stats.bytes_in_flight(), 0);
    // 3 answers in flight, those being made by 2 threads, and what the protocol buffers: 900 MB without limits.
    assert!(most < 200 * 1024 * 1024, "{most} bytes");
    drop(clients);
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_reaches_a_client_that_reads() {
    let server = start(short());
    let answer = exchange(server.address, b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), BIG);
    assert!(body.bytes().all(|byte| byte == b'x'));
    eventually("its bytes are given back", || server.stats.bytes_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_gets_no_more_than_its_share_of_connections() {
    let server =
        start(Limits { max_connections_per_address: 5, keep_alive_timeout: Duration::from_hours(1), ..short() });
    // Gated requests keep their connections.
    let mut held = server.connect_many(5, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("five are in", || server.stats.open() == 5).await;
    assert_eq!(exchange(server.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    assert_eq!(server.stats.refused_by_address(), 1);
    eventually("the watch has seen them", || server.stats.open_per_address_max() == 5).await;
    drop(held.pop());
    eventually("one has left", || server.stats.open() == 4).await;
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trusted_proxies_have_no_share() {
    let uncapped_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let server = start(Limits { max_connections_per_address: 1, uncapped_networks, ..short() });
    let _held = server.connect_many(5, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("five are in", || server.stats.open() == 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_global_cap_newcomers_wait_for_a_place() {
    let server = start(Limits { max_connections: 3, ..short() });
    let held = server.connect_many(3, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the server is full", || server.stats.open() == 3).await;
    let mut waiting = server.connect().await;
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    eventually("the door is shut", || server.stats.waited_for_room() == 1).await;
    assert_eq!(server.stats.accepted(), 3);
    drop(held);
    assert!(read_to_end(&mut waiting).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_global_cap_idle_connections_make_room() {
    let server = start(Limits { max_connections: 3, keep_alive_timeout: Duration::from_hours(1), ..short() });
    let mut idle = server.connect_many(3, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for client in &mut idle {
        client.read_u8().await.unwrap();
    }
    server.assert_answers().await;
    assert!(server.stats.cut(Cut::KeepAlive) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed() {
    let server = start(Limits { keep_alive_timeout: Duration::from_millis(200), ..short() });
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut client).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.stats.cut(Cut::KeepAlive), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_takes_too_long_is_cut() {
    let server = start(Limits { request_timeout: Duration::from_millis(300), ..short() });
    assert_eq!(exchange(server.address, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    assert_eq!(server.stats.cut(Cut::Request), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_so_many_requests_and_no_more() {
    let server = start(Limits { max_requests_per_connection: 3, ..short() });
    let answers = exchange(server.address, &b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5)).await;
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 3, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    assert!(answers.ends_with("127.0.0.1 false 3"), "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_an_upload_is_not_lost() {
    let server = start(short());
    let mut upload = b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n".to_vec();
    upload.resize(upload.len() + 200_000, b'x');
    for _ in 0..20 {
        let answer = exchange(server.address, &upload).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_takes_its_connection_and_nothing_else() {
    let server = start(short());
    assert_eq!(exchange(server.address, b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    eventually("its place is free", || server.stats.open() == 0).await;
    server.assert_answers().await;
}
