//! Shutting down with requests in flight (battery row F15).

use std::time::Duration;

use crate::frames::{DATA, GET, GOAWAY, HEADERS, find_frame, h2_open, request};
use crate::support::{eventually, read_to_end, short, start};
use http::{Request, StatusCode};
use inkstone_http::server::{Cut, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Neither drain nor idle limits end these connections by themselves.
fn patient() -> Limits {
    let hour = Duration::from_hours(1);
    Limits { drain_timeout: hour, keep_alive_timeout: hour, first_byte_timeout: hour, ..short() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_finish_and_idle_connections_close() {
    let server = start(patient());
    let (stats, gate, address) = (server.stats.clone(), server.gate.clone(), server.address);
    let mut busy = server.connect_many(444, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut idle = server.connect_many(50, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for client in &mut idle {
        client.read_u8().await.unwrap();
    }
    let mut silent = server.connect_many(5, b"").await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..50 {
        let (response, _) = client.send_request(Request::get("http://a/gate").body(()).unwrap(), true).unwrap();
        streams.push(tokio::spawn(response));
    }
    eventually("all are in", || stats.open() == 500).await;
    server.assert_answers().await;
    // One round trip after the streams were sent, so that they have arrived too.
    let (response, _) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    eventually("the extra one has left", || stats.open() == 500).await;

    let drained = server.stop();
    for client in idle.iter_mut().chain(&mut silent) {
        read_to_end(client).await;
    }
    eventually("the busy ones are left", || stats.open() == 445).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody new comes in");

    // Those that begin to wait after this are woken too.
    let opening = tokio::spawn(async move {
        loop {
            gate.opened.notify_waiters();
            tokio::task::yield_now().await;
        }
    });
    for client in &mut busy {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("through"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    for stream in streams {
        assert_eq!(stream.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    // Whether it could say goodbye is a race: the server has closed by then, perhaps.
    let _farewell = connection.await.unwrap();
    let drained = drained.await.unwrap();
    opening.abort();
    assert_eq!((drained.open, drained.cut), (500, 0));
    assert_eq!(stats.cut(Cut::Drain), 0);
}

#[tokio::test]
async fn what_arrived_before_the_end_began_is_answered() {
    let server = start(patient());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut used = server.connect_many(20, request).await;
    for client in &mut used {
        let mut answer = [0; 1024];
        let read = client.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
    }
    let mut fresh = server.connect_many(20, b"").await;
    eventually("all are in", || server.stats.open() == 40).await;
    // With one thread, which does nothing else between these two, the server has seen none of this when it is told.
    for client in used.iter().chain(&fresh) {
        assert_eq!(client.try_write(request).unwrap(), request.len());
    }
    let drained = server.stop();
    for client in used.iter_mut().chain(&mut fresh) {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(drained.await.unwrap().open, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_has_time_to_leave_however_long_it_was_idle() {
    let (linger_timeout, request_timeout) = (Duration::from_secs(2), Duration::from_millis(200));
    let first_byte_timeout = Duration::from_millis(2200);
    let server = start(Limits { linger_timeout, request_timeout, first_byte_timeout, ..patient() });
    let mut client = h2_open(&server, &[]).await;
    client.write_all(&request(1, GET)).await.unwrap();
    find_frame(&mut client, |frame| frame.kind == HEADERS).await;
    // These two tell the time: that the client was idle for longer than it has to leave, and that the end has begun.
    read_to_end(&mut server.connect().await).await;
    let mut cut = server.connect_many(1, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.assert_answers().await;
    let drained = server.stop();
    find_frame(&mut client, |frame| frame.kind == GOAWAY).await;
    read_to_end(&mut cut[0]).await;
    // This was on its way when the server said goodbye.
    client.write_all(&request(3, GET)).await.unwrap();
    find_frame(&mut client, |frame| frame.kind == DATA && frame.stream == 3).await;
    drop(client);
    drained.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_in_time_is_cut_and_counted() {
    let server = start(Limits { drain_timeout: Duration::from_millis(200), ..patient() });
    let stats = server.stats.clone();
    let mut stuck = server.connect_many(10, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("all are in", || stats.open() == 10).await;
    server.assert_answers().await;
    eventually("the extra one has left", || stats.open() == 10).await;
    let drained = server.stop().await.unwrap();
    assert_eq!((drained.open, drained.cut), (10, 10));
    assert_eq!(stats.cut(Cut::Drain), 10);
    assert_eq!(stats.open(), 0);
    for client in &mut stuck {
        assert_eq!(read_to_end(client).await, "");
    }
}
