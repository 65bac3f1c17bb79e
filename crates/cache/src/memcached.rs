//! Memcached over its meta protocol (`mg`, `ms`, `mn`): as much of it as a cache and [`quotas`] need.
//!
//! Entries are spread over the servers by rendezvous hashing, so that one server less moves only
//! what lay there. Each call takes an idle connection or makes one; whoever gives up on a call
//! gives up its connection, so no answer can reach the next one.

mod quotas;

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_core::clock::SharedClock;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::access::Credentials;
use crate::gcra::Rate;
use crate::remote::{Remote, RemoteError, Taken};
use quotas::Quotas;

/// Connections that are kept while nobody uses them, for each server.
const IDLE: usize = 8;
/// The longest line of an answer.
const MAX_LINE_BYTES: u64 = 2048;
/// The largest value that is read.
const MAX_VALUE_BYTES: usize = 2 * 1024 * 1024;
/// Longer times are taken for moments by Memcached.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// Some servers.
pub(crate) struct Memcached {
    servers: Arc<Servers>,
    quotas: Arc<Quotas>,
    shown: String,
}

/// The servers and the connections to them.
struct Servers {
    servers: Vec<Server>,
    credentials: Option<Credentials>,
}

struct Server {
    address: String,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

fn failed(error: std::io::Error) -> RemoteError {
    RemoteError::Failed(error.to_string())
}

fn nonsense(line: &str) -> RemoteError {
    RemoteError::Failed(format!("an answer that makes no sense: {line:?}"))
}

impl Memcached {
    /// `servers` are hosts with ports; there is at least one. `shown` is their address without a password.
    /// Quotas are counted by `clock`, and what is asked of them is answered within `patience`.
    pub(crate) fn new(
        servers: Vec<String>,
        credentials: Option<Credentials>,
        shown: String,
        clock: SharedClock,
        patience: Duration,
    ) -> Self {
        let servers = servers.into_iter().map(|address| Server { address, idle: Mutex::default() }).collect();
        let servers = Arc::new(Servers { servers, credentials });
        // Spreads pauses: another number in every process.
        let seed = RandomState::new().hash_one(&shown);
        let quotas = Arc::new(Quotas::new(Arc::clone(&servers), clock, patience, seed));
        Self { servers, quotas, shown }
    }
}

impl Servers {
    /// Where `name` lies: the server for which both together hash highest.
    fn server(&self, name: &str) -> Option<&Server> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        self.servers.iter().max_by_key(|server| hasher.hash_one((&server.address, name)))
    }

    async fn connect(&self, server: &Server) -> Result<BufReader<TcpStream>, RemoteError> {
        let stream = TcpStream::connect(&server.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut stream = BufReader::new(stream);
        if let Some(Credentials { user, password }) = &self.credentials {
            // The text protocol's own way (memcached -Y): the first command stores the credentials.
            let both = format!("{user} {password}");
            let hello = format!("set auth 0 0 {}\r\n{both}\r\n", both.len());
            stream.write_all(hello.as_bytes()).await.map_err(failed)?;
            if line(&mut stream).await? != "STORED" {
                return Err(RemoteError::Denied("the credentials were refused".to_owned()));
            }
        }
        Ok(stream)
    }

    /// Asks the server where `name` lies.
    async fn ask(&self, name: &str, request: &[&[u8]]) -> Result<Answer, RemoteError> {
        self.ask_at(self.server(name).ok_or(RemoteError::Unsupported)?, request).await
    }

    async fn ask_at(&self, server: &Server, request: &[&[u8]]) -> Result<Answer, RemoteError> {
        // The connection that was used last is the one most likely to be alive.
        let idle = server.idle().pop();
        let was_idle = idle.is_some();
        let first = match idle {
            Some(stream) => exchange(stream, request).await,
            None => exchange(self.connect(server).await?, request).await,
        };
        let (stream, answer) = match first {
            // The server may have closed it long ago. What is asked here can be asked twice.
            Err(_) if was_idle => {
                server.idle().clear();
                exchange(self.connect(server).await?, request).await?
            }
            other => other?,
        };
        let mut idle = server.idle();
        // After an error, or with something left to read, the next answer might not be the one to the next question.
        if idle.len() < IDLE && stream.buffer().is_empty() && !answer.0.contains("ERROR") {
            idle.push(stream);
        }
        Ok(answer)
    }
}

impl Server {
    fn idle(&self) -> MutexGuard<'_, Vec<BufReader<TcpStream>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first line of an answer, and the value if there is one.
type Answer = (String, Option<Bytes>);
type Exchanged = (BufReader<TcpStream>, Answer);

async fn exchange(mut stream: BufReader<TcpStream>, request: &[&[u8]]) -> Result<Exchanged, RemoteError> {
    let request = request.concat();
    stream.write_all(&request).await.map_err(failed)?;
    let first = line(&mut stream).await?;
    let Some(rest) = first.strip_prefix("VA ") else { return Ok((stream, (first, None))) };
    let length = rest.split(' ').next().and_then(|length| length.parse::<usize>().ok());
    let length = length.filter(|length| *length <= MAX_VALUE_BYTES).ok_or_else(|| nonsense(&first))?;
    let mut value = vec![0; length + 2];
    stream.read_exact(&mut value).await.map_err(failed)?;
    if !value.ends_with(b"\r\n") {
        return Err(nonsense(&first));
    }
    value.truncate(length);
    Ok((stream, (first, Some(Bytes::from(value)))))
}

/// One line without its end.
async fn line(stream: &mut BufReader<TcpStream>) -> Result<String, RemoteError> {
    let mut text = String::new();
    stream.take(MAX_LINE_BYTES).read_line(&mut text).await.map_err(failed)?;
    match text.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None if text.is_empty() => Err(RemoteError::NotConnected),
        None => Err(nonsense(&text)),
    }
}

#[async_trait]
impl Remote for Memcached {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        match self.servers.ask(name, &[b"mg ", name.as_bytes(), b" v\r\n"]).await? {
            (_, Some(value)) => Ok(Some(value)),
            (line, None) if line == "EN" => Ok(None),
            (line, None) => Err(nonsense(&line)),
        }
    }

    async fn put(&self, name: &str, form: Bytes, keep: Duration) -> Result<(), RemoteError> {
        let seconds = keep.min(LONGEST).as_secs().max(1);
        let head = format!("ms {name} {} T{seconds}\r\n", form.len());
        match self.servers.ask(name, &[head.as_bytes(), &form, b"\r\n"]).await? {
            (line, None) if line == "HD" => Ok(()),
            (line, _) => Err(nonsense(&line)),
        }
    }

    /// All of them must answer.
    async fn ping(&self) -> Result<(), RemoteError> {
        for server in &self.servers.servers {
            let (line, _) = self.servers.ask_at(server, &[b"mn\r\n"]).await?;
            if line != "MN" {
                return Err(nonsense(&line));
            }
        }
        Ok(())
    }

    async fn take(&self, name: &str, quota: u32, window: Duration) -> Result<Taken, RemoteError> {
        self.quotas.take(name, Rate::new(quota, window)).await
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memcached").field(&self.shown).finish()
    }
}
