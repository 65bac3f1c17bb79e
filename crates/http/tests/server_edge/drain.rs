//! Shutting down with requests in flight (battery row F15).

use std::time::Duration;

use crate::support::{eventually, read_to_end, short, start};
use http::{Request, StatusCode};
use inkstone_http::server::{Cut, Limits};
use tokio::io::AsyncReadExt;

/// Neither drain nor idle limits end these connections by themselves.
fn patient() -> Limits {
    let hour = Duration::from_hours(1);
    Limits { drain_timeout: hour, keep_alive_timeout: hour, first_byte_timeout: hour, ..short() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_finish_and_idle_connections_close() {
    let server = start(patient());
    let (stats, gate, address) = (server.stats.clone(), server.gate.clone(), server.address);
    let mut busy = server.connect_many(200, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
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
    eventually("all are in", || stats.open() == 256).await;
    server.assert_answers().await;
    // One round trip after the streams were sent, so that they have arrived too.
    let (response, _) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    eventually("the extra one has left", || stats.open() == 256).await;

    let drained = server.stop();
    for client in idle.iter_mut().chain(&mut silent) {
        read_to_end(client).await;
    }
    eventually("the busy ones are left", || stats.open() == 201).await;
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
    connection.await.unwrap().unwrap();
    let drained = drained.await.unwrap();
    opening.abort();
    assert_eq!((drained.open, drained.cut), (256, 0));
    assert_eq!(stats.cut(Cut::Drain), 0);
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
