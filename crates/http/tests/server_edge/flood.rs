//! More connections than the process, or the kernel, has room for (battery rows B3 and F17).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{child, eventually, exchange, is_child, short, start};
use futures_util::{StreamExt, stream};
use inkstone_http::server::Limits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How many connections the flood consists of, and how many of them are open at once.
const FLOOD: usize = 10_000;
const AT_ONCE: usize = 100;

/// The child of `running_out_of_files_is_survived`: a server that has no more than 40 files left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_files_child() {
    if !is_child("flood::few_files_child") {
        return;
    }
    let server = start(Limits { header_read_timeout: Duration::from_millis(50), ..short() });
    let mut others = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        others.push(file);
    }
    others.truncate(others.len() - 40);
    println!("\nlistening on {}", server.address);
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await.unwrap();
    assert!(server.stats.out_of_files() > 0, "there were files enough");
    println!("\nsurvived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_out_of_files_is_survived() {
    let mut server = child("flood::few_files_child", "ulimit -n 256 &&").spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address: SocketAddr = loop {
        let line = lines.next_line().await.unwrap().expect("the server says where it is");
        if let Some(address) = line.strip_prefix("listening on ") {
            break address.parse().unwrap();
        }
    };
    let mut open = VecDeque::new();
    let connect = |_| async move {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await?;
        Ok::<_, std::io::Error>(client)
    };
    let mut flood = stream::iter(0..FLOOD).map(connect).buffer_unordered(AT_ONCE);
    while let Some(client) = flood.next().await {
        open.push_back(client);
        if open.len() > AT_ONCE {
            open.pop_front();
        }
    }
    // With the last of them still there: they are answered 408 in time, which makes room.
    let answer = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(open);
    drop(server.stdin.take());
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
    }
    assert!(server.wait().await.unwrap().success() && said.contains("survived"), "{said}");
}

/// How many connections the kernel holds ready for a listening socket.
fn waiting_at(address: SocketAddr) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", address.port());
    let listening = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let fields = listening.into_iter().find(|fields| fields[1] == local && fields[3] == "0A").expect("it listens");
    let (_, received) = fields[4].split_once(':').unwrap();
    u64::from_str_radix(received, 16).unwrap()
}

/// How many connections the kernel turned away because nobody accepted those before them.
fn turned_away() -> u64 {
    let counters = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, value) = counters.find(|(name, _)| *name == "ListenOverflows").unwrap();
    value.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_backlog_the_kernel_turns_connections_away() {
    let hour = Duration::from_hours(1);
    let limits = Limits { max_connections: 1, backlog: 3, first_byte_timeout: hour, ..short() };
    let server = start(limits);
    let held = server.connect_many(1, b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the server is full", || server.stats.waited_for_room() == 1).await;
    // Linux keeps one more than it is asked to.
    let waiting = server.connect_many(4, b"").await;
    assert_eq!(waiting_at(server.address), 4);
    let before = turned_away();
    let newcomer = tokio::spawn(TcpStream::connect(server.address));
    eventually("one is turned away", || turned_away() > before).await;
    assert!(!newcomer.is_finished());
    assert_eq!(waiting_at(server.address), 4);
    // It tries again by itself, and comes in when there is room.
    drop((held, waiting));
    newcomer.await.unwrap().unwrap();
    server.assert_answers().await;
}
