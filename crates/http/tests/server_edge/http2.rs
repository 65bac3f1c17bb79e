//! HTTP/2 used as a weapon, and its limits (battery row B4).

use std::time::Duration;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Frame, GET, GOAWAY, HEADERS, PING, REFUSED_STREAM,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, find_frame, flood, frame, get, h2_open, next_frame, request,
};
use crate::support::{BIG, ENDLESS, Running, child, eventually, is_child, read_to_end, resident_bytes, short, start};
use http::{Request, StatusCode};
use inkstone_http::server::{Cut, Limits};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_the_connection() {
    let server = start(short());
    let client = h2_open(&server, &[]).await;
    let sent = flood(&server, client, 100_000, |number| {
        let stream = number * 2 + 1;
        let mut frames = request(stream, GET);
        frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        // Many in one segment, as the attack does.
        frames
    })
    .await;
    assert!(sent < 100_000, "all {sent} were taken");
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continuation_flood_ends_the_connection() {
    let server = start(short());
    let mut client = h2_open(&server, &[]).await;
    client.write_all(&frame(HEADERS, 0, 1, GET)).await.unwrap();
    let mut field = vec![0, 1, b'x', 0x7f, 0x81, 0x7f];
    field.resize(16_000, b'y');
    let sent = flood(&server, client, 100_000, |_| frame(CONTINUATION, 0, 1, &field)).await;
    assert!(sent < 1000, "{sent} were taken");
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_control_frames_end_the_connection() {
    for (kind, payload) in [(PING, &[0_u8; 8][..]), (SETTINGS, &[][..])] {
        let server = start(Limits {
            http2_max_control_bytes: 64 * 1024,
            first_byte_timeout: Duration::from_hours(1),
            ..short()
        });
        let client = h2_open(&server, &[]).await;
        let sent = flood(&server, client, 1_000_000, |_| frame(kind, 0, 0, payload)).await;
        assert!(sent < 1_000_000, "all {sent} were taken");
        assert_eq!(server.stats.cut(Cut::ControlFlood), 1, "kind {kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_that_opens_no_window_is_closed() {
    let server = start(short());
    // INITIAL_WINDOW_SIZE = 0
    let mut client = h2_open(&server, &[0, 4, 0, 0, 0, 0]).await;
    client.write_all(&request(1, &get("/big"))).await.unwrap();
    eventually("the answer waits", || server.stats.bytes_in_flight() == BIG).await;
    read_to_end(&mut client).await;
    assert_eq!(server.stats.cut(Cut::WriteProgress), 1);
    eventually("its bytes are given back", || server.stats.bytes_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_stream_that_takes_too_long_is_reset() {
    let server = start(Limits { request_timeout: Duration::from_millis(300), ..short() });
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let (slow, _) = client.send_request(Request::get("http://a/gate").body(()).unwrap(), true).unwrap();
    assert!(slow.await.unwrap_err().is_reset());
    let (next, _) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
    assert_eq!(next.await.unwrap().status(), StatusCode::OK, "the connection lives on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_http2_connection_is_told_to_leave() {
    let server = start(Limits { keep_alive_timeout: Duration::from_millis(200), ..short() });
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, _) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    // GOAWAY without an error, so that the client ends in good order.
    connection.await.unwrap().unwrap();
    eventually("it is closed", || server.stats.open() == 0).await;
}

/// A whole field by its place in HPACK's tables, of which the static one has 61.
fn indexed(place: u8) -> u8 {
    0b1000_0000 + place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_target_has_the_forms_that_http1_has() {
    let server = start(short());
    // ftp://a/ and http://a*, the latter for GET.
    let scheme = [&[0x82, 0x84, 0x06, 3][..], b"ftp", &[0x41, 1, b'a']].concat();
    for block in [get("gate"), get("*"), scheme] {
        let mut client = h2_open(&server, &[]).await;
        client.write_all(&request(1, &block)).await.unwrap();
        let said = find_frame(&mut client, |frame| matches!(frame.kind, HEADERS | RST_STREAM)).await;
        // :status 400 is in HPACK's static table; a stream error will do, too.
        assert!(said.kind == RST_STREAM || said.payload[0] == indexed(12), "{said:?}");
    }
}

/// Nothing ends a connection that has a request in flight, except what the test is about.
fn patient() -> Limits {
    let hour = Duration::from_hours(1);
    Limits {
        request_timeout: hour,
        write_progress_timeout: hour,
        http2_keep_alive_interval: hour,
        http2_keep_alive_timeout: hour,
        ..short()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_at_once_than_allowed_are_refused() {
    let server = start(Limits { http2_max_concurrent_streams: 2, ..patient() });
    let mut client = h2_open(&server, &[]).await;
    let told = find_frame(&mut client, |frame| frame.kind == SETTINGS && frame.flags == 0).await;
    assert!(told.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]), "{told:?}");
    for stream in [1, 3, 5] {
        client.write_all(&request(stream, &get("/gate"))).await.unwrap();
    }
    let refused = find_frame(&mut client, |frame| frame.kind == RST_STREAM).await;
    assert_eq!((refused.stream, refused.reason()), (5, REFUSED_STREAM));
    // Each that ends makes room for one.
    for _ in 0..2 {
        server.gate.opened.notify_one();
        let answer = find_frame(&mut client, |frame| frame.kind == HEADERS).await;
        assert!(matches!(answer.stream, 1 | 3), "{answer:?}");
    }
    client.write_all(&request(7, GET)).await.unwrap();
    find_frame(&mut client, |frame| frame.kind == HEADERS && frame.stream == 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_its_requests_reset_is_closed() {
    let server = start(Limits { http2_max_local_error_reset_streams: 8, ..patient() });
    let mut client = h2_open(&server, &[]).await;
    let mut resets = 0;
    for stream in (1..1000).step_by(2) {
        let mut frames = request(stream, &get("/gate"));
        // A window that cannot be so large is an error of this one stream, so that the server withdraws the
        // request itself: the limits on requests that clients withdraw see nothing ("MadeYouReset").
        frames.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
        client.write_all(&frames).await.unwrap();
        let said = find_frame(&mut client, |frame| matches!(frame.kind, RST_STREAM | GOAWAY)).await;
        if said.kind == GOAWAY {
            assert_eq!(said.reason(), ENHANCE_YOUR_CALM);
            break;
        }
        assert_eq!(said.stream, stream);
        resets += 1;
    }
    assert_eq!(resets, 8);
    read_to_end(&mut client).await;
    eventually("it is closed", || server.stats.open() == 0).await;
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_asked_whether_it_lives_and_stays_if_it_says_so() {
    let server = start(Limits { http2_keep_alive_interval: Duration::from_millis(50), ..patient() });
    let mut client = h2_open(&server, &[]).await;
    client.write_all(&request(1, &get("/gate"))).await.unwrap();
    for _ in 0..3 {
        let ping = find_frame(&mut client, Frame::is_ping).await;
        client.write_all(&frame(PING, ACK, 0, &ping.payload)).await.unwrap();
    }
    server.gate.opened.notify_one();
    find_frame(&mut client, |frame| frame.kind == DATA && frame.payload == b"through").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_say_that_it_lives_is_closed() {
    let http2_keep_alive_interval = Duration::from_millis(50);
    let http2_keep_alive_timeout = Duration::from_millis(100);
    let server = start(Limits { http2_keep_alive_interval, http2_keep_alive_timeout, ..patient() });
    let mut client = h2_open(&server, &[]).await;
    client.write_all(&request(1, &get("/gate"))).await.unwrap();
    find_frame(&mut client, Frame::is_ping).await;
    read_to_end(&mut client).await;
    eventually("it is closed", || server.stats.open() == 0).await;
}

/// How much of an endless answer the server makes for a client that allows everything and reads nothing.
async fn made_for_nobody(http2_max_send_buffer_bytes: u32) -> usize {
    let server = start(Limits { http2_max_send_buffer_bytes, ..short() });
    // INITIAL_WINDOW_SIZE, and then the window of the connection.
    let mut client = h2_open(&server, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await;
    client.write_all(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await.unwrap();
    client.write_all(&request(1, &get("/endless"))).await.unwrap();
    eventually("it is given up", || server.stats.cut(Cut::WriteProgress) == 1).await;
    server.gate.made()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_of_an_answer_is_buffered_than_allowed() {
    // The kernel has some 10 MB of room of its own.
    let (little, much) = (made_for_nobody(64 * 1024).await, made_for_nobody(48 * 1024 * 1024).await);
    assert!(little < 24 * 1024 * 1024, "{little} bytes");
    assert!((48 * 1024 * 1024..ENDLESS).contains(&much), "{much} bytes");
}

/// A field of 4000 bytes that goes into HPACK's table, and then the index of it again and again.
fn one_field_many_times(times: usize) -> Vec<u8> {
    // 4000 is 127 and 3873, the latter seven bits at a time.
    let mut block = [get("/gate"), vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e]].concat();
    block.resize(block.len() + 4000, b'y');
    block.resize(block.len() + times, indexed(62));
    block
}

/// "accept-encoding: gzip, deflate" of the static table again and again: sixty bytes for each one.
fn static_field_many_times(times: usize) -> Vec<u8> {
    [get("/gate"), vec![indexed(16); times]].concat()
}

/// One head in frames of 16 000 bytes.
fn in_pieces(stream: u32, block: &[u8]) -> Vec<u8> {
    let pieces = block.chunks(16_000).count();
    let frames = block.chunks(16_000).enumerate().flat_map(|(number, piece)| {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let first = u8::from(number == 0);
        let last = if number + 1 == pieces { END_HEADERS } else { 0 };
        frame(kind, first | last, stream, piece)
    });
    frames.collect()
}

/// Whether a bomb ended its connection, or else each of its requests was answered 431.
async fn is_refused(mut client: tokio::net::TcpStream, requests: usize) -> bool {
    let mut answers = 0;
    while answers < requests {
        match next_frame(&mut client).await {
            None => return true,
            Some(said) if said.kind == GOAWAY => return said.reason() == ENHANCE_YOUR_CALM,
            Some(said) if said.kind == HEADERS => {
                // "431" as HPACK's Huffman code has it, and afterwards its place in the table.
                let is_431 = said.payload.windows(3).any(|bytes| bytes == [0x69, 0x90, 0xff]);
                assert!(is_431 || (answers > 0 && said.payload == [indexed(62)]), "{said:?}");
                answers += 1;
            }
            Some(_) => {}
        }
    }
    true
}

async fn throw_bombs(server: &Running) -> usize {
    let before = resident_bytes();
    let mut most = 0;
    let bombs = [
        (1, one_field_many_times(11_000)),
        (1, one_field_many_times(150_000)),
        (1, static_field_many_times(16_000)),
        (1, static_field_many_times(150_000)),
        // Too much, and not so much that it ends the connection.
        (20, one_field_many_times(8)),
    ];
    for (requests, block) in &bombs {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = h2_open(server, &[]).await;
            for number in 0..*requests {
                // The server may have closed already.
                let _ = client.write_all(&in_pieces(number * 2 + 1, block)).await;
            }
            clients.push(client);
        }
        for client in clients {
            assert!(is_refused(client, *requests as usize).await);
            most = most.max(resident_bytes().saturating_sub(before));
        }
    }
    most
}

/// The child of `heads_that_unpack_to_much_cost_little`, whose memory nothing else uses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_child() {
    if !is_child("http2::bombs_child") {
        return;
    }
    let server = start(patient());
    server.assert_answers().await;
    let most = throw_bombs(&server).await;
    server.assert_answers().await;
    assert!(most < 16 * 1024 * 1024, "{most} bytes");
    println!("survived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_unpack_to_much_cost_little() {
    let output = child("http2::bombs_child", "").output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("survived"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
