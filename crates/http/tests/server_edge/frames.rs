//! HTTP/2 frame by frame, for clients that no library would make.

use std::time::Duration;

use crate::support::{Running, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of PING and SETTINGS.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// GET / of http://a by indexes of HPACK's static table.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// GET of a path of http://a.
pub(crate) fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(&[0x41, 1, b'a']);
    block
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A whole request without a body.
pub(crate) fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

pub(crate) async fn h2_open(server: &Running, settings: &[u8]) -> TcpStream {
    let mut client = server.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    client.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    client
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The reason of a RST_STREAM or GOAWAY.
    pub(crate) fn reason(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn is_ping(&self) -> bool {
        self.kind == PING && self.flags & ACK == 0
    }
}

/// Reads one frame. `None` when the server closed.
pub(crate) async fn next_frame(client: &mut TcpStream) -> Option<Frame> {
    let reading = async {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        client.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    };
    tokio::time::timeout(Duration::from_mins(1), reading).await.expect("the server says or closes something")
}

/// Reads up to the frame that is looked for.
pub(crate) async fn find_frame(client: &mut TcpStream, is_it: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = next_frame(client).await.expect("it comes before the end");
        if is_it(&frame) {
            return frame;
        }
    }
}

/// Sends frames until the server has had enough, and returns how many that were.
pub(crate) async fn flood(
    server: &Running,
    mut client: TcpStream,
    most: u32,
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> u32 {
    eventually("it is in", || server.stats.open() == 1).await;
    let (mut reader, mut writer) = client.split();
    let reading = async {
        let mut waste = vec![0; 64 * 1024];
        while reader.read(&mut waste).await.is_ok_and(|read| read > 0) {}
    };
    let mut sent = 0;
    let writing = async {
        while sent < most && writer.write_all(&next(sent)).await.is_ok() {
            sent += 1;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! { () = reading => {}, () = writing => {} }
    drop(client);
    eventually("it is closed", || server.stats.open() == 0).await;
    sent
}
