//! Connections that have nothing to say for a while: nothing is kept of them but the socket.

use inkstone_http::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{eventually, read_to_end, resident_bytes, start};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn answer(client: &mut TcpStream) -> String {
    let mut answer = String::new();
    while !answer.contains("\r\n\r\nhello 0") {
        let mut bytes = [0; 1024];
        let read = client.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_rests_is_answered_when_it_speaks_again_and_missed_when_it_leaves() {
    let server = start(Limits::default());
    let mut client = server.connect().await;
    for round in 1..=3 {
        // In two pieces: whatever wakes it is not lost.
        let (start, end) = REQUEST.split_at(9);
        client.write_all(start).await.unwrap();
        client.write_all(end).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "));
        eventually("it rests", || server.stats.rests() == round).await;
    }
    drop(client);
    eventually("it is gone", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_rests_is_closed_when_its_time_is_over_or_the_servers_is() {
    let server = start(Limits { keep_alive_timeout: std::time::Duration::from_secs(3), ..Limits::default() });
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    answer(&mut client).await;
    eventually("it rests", || server.stats.rests() == 1).await;
    assert_eq!(read_to_end(&mut client).await, "");

    let server = start(Limits::default());
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    answer(&mut client).await;
    eventually("it rests", || server.stats.rests() == 1).await;
    let drained = server.stop().await.unwrap();
    assert_eq!((drained.open, drained.cut), (1, 0));
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_rests_costs_little() {
    const COUNT: usize = 1000;
    let server =
        start(Limits { max_connections: 2 * COUNT, max_connections_per_address: 2 * COUNT, ..Limits::default() });
    let mut clients = server.connect_many(COUNT, REQUEST).await;
    for client in &mut clients {
        answer(client).await;
    }
    eventually("all of them rest", || server.stats.rests() >= COUNT as u64).await;
    let before = resident_bytes();
    // What those let go of is enough for as many again.
    let mut others = server.connect_many(COUNT / 2, REQUEST).await;
    for client in &mut others {
        answer(client).await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < COUNT / 2 * 16 * 1024, "{} bytes for each", grown / (COUNT / 2));
}
