//! HTTP/2 answers that wait for their client to open the window.

use std::time::Duration;

use crate::frames::{DATA, Frame, HEADERS, WINDOW_UPDATE, find_frame, frame, get, h2_open, next_frame, request};
use crate::support::{MEDIUM, Running, eventually, read_to_end, short, start};
use inkstone_http::server::{Cut, Limits};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// INITIAL_WINDOW_SIZE = 1: enough for the answer to be handed to the connection, and no more.
const ONE_BYTE: &[u8] = &[0, 4, 0, 0, 0, 1];

/// A client that has one byte of the answer to `/medium` on stream 1.
async fn reading(server: &Running) -> TcpStream {
    let mut client = h2_open(server, ONE_BYTE).await;
    client.write_all(&request(1, &get("/medium"))).await.unwrap();
    let first = find_frame(&mut client, |frame| frame.kind == DATA).await;
    assert_eq!(first.payload.len(), 1);
    client
}

/// Takes the rest of that answer, in pieces of so many bytes, with a pause before each.
async fn read_on(client: &mut TcpStream, piece: usize, pause: Duration) {
    let mut left = MEDIUM - 1;
    while left > 0 {
        tokio::time::sleep(pause).await;
        let mut wanted = piece.min(left);
        left -= wanted;
        client.write_all(&frame(WINDOW_UPDATE, 0, 1, &u32::try_from(wanted).unwrap().to_be_bytes())).await.unwrap();
        while wanted > 0 {
            let data = find_frame(client, |frame| frame.kind == DATA).await;
            wanted -= data.payload.len();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_answers_at_once_on_one_connection_count_however_small_they_are() {
    let server = start(Limits { max_bytes_in_flight: 10 * MEDIUM, ..short() });
    let mut client = h2_open(&server, ONE_BYTE).await;
    for stream in (1..60).step_by(2) {
        client.write_all(&request(stream, &get("/medium"))).await.unwrap();
    }
    for _ in 0..30 {
        find_frame(&mut client, |frame| frame.kind == HEADERS).await;
    }
    assert_eq!(server.stats.refused_by_budget(), 20);
    assert_eq!(server.stats.bytes_in_flight(), 10 * MEDIUM);
    // Nothing is idle about this connection: it ends because the client does not take what it asked for.
    read_to_end(&mut client).await;
    eventually("it is closed", || server.stats.open() == 0).await;
    assert_eq!(server.stats.cut(Cut::WriteProgress), 1);
    assert_eq!(server.stats.bytes_in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_that_goes_on_reading_gets_all_of_its_answer() {
    let server = start(Limits { write_progress_timeout: Duration::from_secs(1), ..short() });
    let mut client = reading(&server).await;
    // Twice as long as without progress, and all of it after the answer was handed over.
    read_on(&mut client, MEDIUM / 20, Duration::from_millis(100)).await;
    assert_eq!(server.stats.cut(Cut::WriteProgress), 0);
    eventually("its bytes are given back", || server.stats.bytes_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beginning_new_requests_is_no_progress() {
    let server = start(short());
    // INITIAL_WINDOW_SIZE = 0: all of these answers begin, and none of them flows.
    let mut client = h2_open(&server, &[0, 4, 0, 0, 0, 0]).await;
    let mut stream = 1;
    while server.stats.cut(Cut::WriteProgress) == 0 && stream < 190 {
        if client.write_all(&request(stream, &get("/medium"))).await.is_err() {
            break;
        }
        stream += 2;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stream < 189, "it went on for five times as long as it may");
    eventually("it is closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_the_client_has_not_taken() {
    let hour = Duration::from_hours(1);
    let server =
        start(Limits { write_progress_timeout: hour, drain_timeout: hour, first_byte_timeout: hour, ..short() });
    let mut client = reading(&server).await;
    // This one says nothing more, and is cut when the time to leave is over.
    let mut idle = h2_open(&server, &[]).await;
    idle.write_all(&request(1, &get("/"))).await.unwrap();
    find_frame(&mut idle, |frame| frame.kind == HEADERS).await;
    let stats = server.stats.clone();
    let drained = server.stop();
    read_to_end(&mut idle).await;
    eventually("one is left", || stats.open() == 1).await;
    read_on(&mut client, MEDIUM, Duration::ZERO).await;
    drop(client);
    assert_eq!(drained.await.unwrap().cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_answered_408_and_its_connection_lives_on() {
    let server = start(short());
    let mut client = h2_open(&server, &[]).await;
    // POST / of http://a, with END_HEADERS and without END_STREAM.
    client.write_all(&frame(HEADERS, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a'])).await.unwrap();
    client.write_all(&frame(DATA, 0, 1, b"some")).await.unwrap();
    let answer = find_frame(&mut client, |frame| frame.kind == HEADERS).await;
    // "408" as HPACK's Huffman code has it.
    assert!(answer.payload.windows(3).any(|bytes| bytes == [0x68, 0x0f, 0x7f]), "{answer:?}");
    assert_eq!(server.stats.cut(Cut::Body), 1);
    client.write_all(&request(3, &get("/"))).await.unwrap();
    let is_next = |frame: &Frame| frame.kind == DATA && frame.stream == 3;
    assert_eq!(find_frame(&mut client, is_next).await.payload, b"hello 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_closes_the_connection() {
    let server = start(Limits { keep_alive_timeout: Duration::from_millis(500), ..short() });
    let mut fresh = h2_open(&server, &[]).await;
    fresh.write_all(&frame(HEADERS, 1, 1, &get("/"))).await.unwrap();
    let mut used = h2_open(&server, &[]).await;
    used.write_all(&request(1, &get("/"))).await.unwrap();
    find_frame(&mut used, |frame| frame.kind == HEADERS).await;
    used.write_all(&frame(HEADERS, 1, 3, &get("/"))).await.unwrap();
    for mut client in [fresh, used] {
        while next_frame(&mut client).await.is_some() {}
    }
    eventually("both are closed", || server.stats.open() == 0).await;
}
