//! Listens in between a proxy and the server behind it: which requests the one sent, and which the other answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The header by which proxy and server name a request.
const NAME: &[u8] = b"\nx-request-id: ";

/// What went over one connection.
#[derive(Debug, Default)]
pub(super) struct Heard {
    sent: Direction,
    answered: Direction,
    /// When there were more answers than requests.
    ahead: Option<String>,
    /// The proxy closed it.
    is_closed: bool,
    /// The server closed it before, and had not said so: whose request comes then is answered by nobody.
    is_cut: bool,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: Vec<u8>,
    ids: Vec<String>,
    looked: usize,
}

impl Direction {
    /// Takes the next bytes and the names in them.
    fn hear(&mut self, bytes: &[u8], is_name: impl Fn(&str) -> bool) {
        self.bytes.extend_from_slice(bytes);
        let lower = self.bytes[self.looked..].to_ascii_lowercase();
        let mut at = 0;
        while let Some(begin) = find(&lower[at..], NAME).map(|begin| at + begin + NAME.len()) {
            let Some(length) = find(&lower[begin..], b"\r") else { break };
            let id = &self.bytes[self.looked + begin..self.looked + begin + length];
            let id = String::from_utf8_lossy(id).into_owned();
            if is_name(&id) {
                self.ids.push(id);
            }
            at = begin + length;
        }
        // What may be the beginning of a name is looked at again.
        self.looked += at.max(lower.len().saturating_sub(200).min(last_line(&lower)));
    }
}

pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn last_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)
}

impl Heard {
    /// How many requests the proxy sent.
    pub(super) fn requests(&self) -> usize {
        self.sent.ids.len()
    }

    /// What is wrong with this connection, if the server answered anything that it was not asked.
    pub(super) fn desync(&self) -> Option<String> {
        let (sent, answered) = (&self.sent.ids, &self.answered.ids);
        let is_desync = answered.iter().enumerate().any(|(number, id)| {
            // A request that the server refused for its form has a name of the server's own, and ends the connection.
            let is_refusal = number + 1 == answered.len() && is_refused(&self.answered.bytes);
            sent.get(number).is_none_or(|sent| sent != id && !is_refusal)
        });
        (is_desync || self.ahead.is_some() || self.is_cut).then(|| {
            let shown = [&self.sent.bytes, &self.answered.bytes].map(|bytes| String::from_utf8_lossy(bytes));
            let Heard { ahead, is_cut, .. } = self;
            format!("sent {sent:?}, answered {answered:?}, {ahead:?}, cut {is_cut}\n{}\n{}", shown[0], shown[1])
        })
    }
}

/// Whether the last answer is a refusal that closes.
fn is_refused(answers: &[u8]) -> bool {
    let text = String::from_utf8_lossy(last(answers));
    // 505 is of the same kind: a version that is not spoken here.
    (text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505")) && closes(answers)
}

/// Whether the last answer says that the server closes.
fn closes(answers: &[u8]) -> bool {
    find(last(answers), b"\r\nconnection: close\r\n").is_some()
}

fn last(answers: &[u8]) -> &[u8] {
    const VERSION: &[u8] = b"HTTP/1.1 ";
    let begin = answers.windows(VERSION.len()).rposition(|window| window == VERSION);
    &answers[begin.unwrap_or(answers.len())..]
}

/// A listener in front of a server.
pub(super) struct Tap {
    pub(super) address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>,
}

impl Tap {
    /// Listens in front of `server`. What begins with `secret` in [`NAME`] is a name that the proxy gave.
    pub(super) async fn start(server: SocketAddr, secret: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>> = Arc::default();
        let all = connections.clone();
        tokio::spawn(async move {
            while let Ok((proxy, _)) = listener.accept().await {
                let heard: Arc<Mutex<Heard>> = Arc::default();
                all.lock().unwrap().push(heard.clone());
                let server = TcpStream::connect(server).await.unwrap();
                let ((from_proxy, to_proxy), (from_server, to_server)) = (proxy.into_split(), server.into_split());
                let listening = heard.clone();
                tokio::spawn(pass(from_proxy, to_server, move |bytes| {
                    let heard = &mut *listening.lock().unwrap();
                    heard.is_closed |= bytes.is_empty();
                    heard.sent.hear(bytes, |id| id.starts_with(secret));
                }));
                tokio::spawn(pass(from_server, to_proxy, move |bytes| {
                    let heard = &mut *heard.lock().unwrap();
                    heard.is_cut |= bytes.is_empty() && !heard.is_closed && !closes(&heard.answered.bytes);
                    heard.answered.hear(bytes, |_| true);
                    if heard.answered.ids.len() > heard.sent.ids.len() && heard.ahead.is_none() {
                        heard.ahead = Some(format!("answer {} came unasked", heard.answered.ids.len()));
                    }
                }));
            }
        });
        Self { address, connections }
    }

    /// What went over all connections so far.
    pub(super) fn heard<T>(&self, look: impl Fn(&Heard) -> T) -> Vec<T> {
        self.connections.lock().unwrap().iter().map(|heard| look(&heard.lock().unwrap())).collect()
    }
}

/// Passes bytes on after `hear` has them. None are the end.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hear: impl Fn(&[u8])) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        // A reset is an end too.
        let read = from.read(&mut bytes).await.unwrap_or(0);
        hear(&bytes[..read]);
        if read == 0 {
            break;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    // Either side may be gone.
    let _gone = to.shutdown().await;
}
