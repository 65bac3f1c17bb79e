//! Redis, Valkey, and what speaks like them: one server, a master named by sentinels, or a cluster.
//!
//! One connection carries all calls. It is made by a task of its own, however long that takes, so
//! that a call either finds it or fails at once; after an error it is made anew. (The crate's own
//! `ConnectionManager` does that for one server; a master that sentinels name has to be asked for again.)

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use inkstone_core::guard::retry::Dice;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::Mutex;

use crate::address::AddressError;
use crate::remote::{Remote, RemoteError, Taken};

/// How long making a connection may take, name look-up, TLS and sentinels included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a connection could not be made, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// How often a connection that only listens is asked whether it is alive, and how long it may take.
const PULSE: Duration = Duration::from_secs(5);

/// GCRA: a quota of `q` in `w` is a token each `w/q`, saved up to `q`. What is kept is the moment at
/// which all of it will be back, in microseconds by the clock of Redis, which is one for all nodes.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, step = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next = full_at + step
if next - now > window then
  return {0, next - now - window}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return {math.floor((window - (next - now)) / step), -1}";

/// Which servers.
#[derive(Clone)]
pub(crate) enum Servers {
    One(Box<Client>),
    Sentinel(Arc<Mutex<SentinelClient>>),
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
}

impl Servers {
    pub(crate) fn one(address: &str) -> Result<Self, AddressError> {
        Ok(Self::One(Box::new(Client::open(address)?)))
    }

    pub(crate) fn cluster(nodes: Vec<String>) -> Result<Self, AddressError> {
        let clients = nodes.iter().map(|node| Client::open(node.as_str())).collect::<Result<_, _>>()?;
        let client = ClusterClient::builder(nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            // The guard's deadline is shorter than any wait for a second attempt.
            .retries(1)
            .build()?;
        Ok(Self::Cluster { client: Box::new(client), nodes: clients })
    }

    pub(crate) fn sentinel(
        sentinels: Vec<String>,
        master: &str,
        credentials: Option<(String, String)>,
        database: i64,
    ) -> Result<Self, AddressError> {
        let is_tls = sentinels.iter().any(|address| address.starts_with("rediss:"));
        let mut settings = redis::RedisConnectionInfo::default().set_db(database);
        if let Some((user, password)) = credentials {
            settings = settings.set_password(password);
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
        }
        let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
        if is_tls {
            node = node.set_tls_mode(redis::TlsMode::Secure);
        }
        let client = SentinelClient::build(sentinels, master, Some(node), SentinelServerType::Master)?;
        Ok(Self::Sentinel(Arc::new(Mutex::new(client))))
    }

    async fn connect(&self, patience: Duration) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(patience));
        Ok(match self {
            Self::One(client) => Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?),
            Self::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                Connection::One(master.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Cluster { client, .. } => {
                let config = redis::cluster::ClusterConfig::new()
                    .set_connection_timeout(CONNECT_TIMEOUT)
                    .set_response_timeout(patience);
                Connection::Cluster(client.get_async_connection_with_config(config).await?)
            }
        })
    }

    /// A client of a server on which announcements are heard: in a cluster that is any of them.
    async fn listener(&self) -> Result<Client, RedisError> {
        match self {
            Self::One(client) => Ok((**client).clone()),
            Self::Sentinel(client) => client.lock().await.async_get_client().await,
            Self::Cluster { nodes, .. } => {
                for node in nodes {
                    if node.get_multiplexed_async_connection().await.is_ok() {
                        return Ok(node.clone());
                    }
                }
                Err((ErrorKind::ClusterConnectionNotFound, "no node answers").into())
            }
        }
    }
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        async fn on<T: FromRedisValue>(to: &mut impl ConnectionLike, command: &Cmd) -> Result<T, RedisError> {
            command.query_async(to).await
        }
        match self {
            Self::One(connection) => on(connection, command).await,
            Self::Cluster(connection) => on(connection, command).await,
        }
    }
}

/// Where the one connection stands.
enum Line {
    /// Nobody has asked for it yet, or it broke.
    Down,
    /// A task is making it.
    Dialling,
    /// It is there. The number tells it from the one before.
    Up(u64, Connection),
}

struct Shared {
    servers: Servers,
    patience: Duration,
    line: StdMutex<Line>,
    /// Connections made so far.
    dialled: AtomicU64,
    dice: Dice,
}

/// A Redis.
pub(crate) struct Redis {
    shared: Arc<Shared>,
    shown: String,
}

impl Redis {
    /// `shown` is its address without a password; an answer may take as long as `patience`.
    pub(crate) fn new(servers: Servers, shown: String, patience: Duration) -> Self {
        // Spreads pauses: another number in every process.
        let dice = Dice::new(RandomState::new().hash_one(&shown));
        let line = StdMutex::new(Line::Down);
        let dialled = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { servers, patience, line, dialled, dice }), shown }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RemoteError> {
        let (number, mut connection) = Shared::line(&self.shared).ok_or(RemoteError::NotConnected)?;
        connection.ask(command).await.map_err(|error| {
            if is_of_the_line(&error) {
                self.shared.hang_up(number);
            }
            RemoteError::Failed(error.to_string())
        })
    }
}

/// Whether another connection may help: this one is broken or does not answer, or it leads to a
/// server that is no longer the master.
fn is_of_the_line(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl Shared {
    /// The connection, or none: then somebody is making it.
    fn line(this: &Arc<Self>) -> Option<(u64, Connection)> {
        let mut line = this.lock();
        match &*line {
            Line::Up(number, connection) => return Some((*number, connection.clone())),
            Line::Dialling => {}
            Line::Down => {
                *line = Line::Dialling;
                tokio::spawn(Arc::clone(this).dial());
            }
        }
        None
    }

    /// Makes the connection, for as long as anybody could want it.
    async fn dial(self: Arc<Self>) {
        let [mut pause, longest] = PAUSES;
        // Two hold it: the tier, and this task.
        while Arc::strong_count(&self) > 1 {
            let made = tokio::time::timeout(CONNECT_TIMEOUT, self.servers.connect(self.patience)).await;
            if let Ok(Ok(connection)) = made {
                let number = self.dialled.fetch_add(1, Ordering::Relaxed);
                *self.lock() = Line::Up(number, connection);
                return;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + self.dice.roll() / 2.0)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Gives up the connection of this number, and begins to make the next one.
    fn hang_up(self: &Arc<Self>, number: u64) {
        let mut line = self.lock();
        if matches!(&*line, Line::Up(current, _) if *current == number) {
            *line = Line::Dialling;
            tokio::spawn(Arc::clone(self).dial());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Remote for Redis {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let form: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(name)).await?;
        Ok(form.map(Bytes::from))
    }

    async fn put(&self, name: &str, form: Bytes, keep: Duration) -> Result<(), RemoteError> {
        let seconds = keep.as_secs().max(1);
        self.ask(redis::cmd("SET").arg(name).arg(&form[..]).arg("EX").arg(seconds)).await
    }

    async fn ping(&self) -> Result<(), RemoteError> {
        self.ask(&redis::cmd("PING")).await
    }

    async fn announce(&self, channel: &str, change_seq: u64) -> Result<(), RemoteError> {
        self.ask(redis::cmd("PUBLISH").arg(channel).arg(change_seq)).await
    }

    async fn listen(&self, channel: &str, hear: &(dyn Fn(u64) + Send + Sync)) -> Result<(), RemoteError> {
        let failed = |error: RedisError| RemoteError::Failed(error.to_string());
        let too_late = |_| RemoteError::NotConnected;
        let subscribe = async {
            let mut pubsub = self.shared.servers.listener().await?.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            Ok(pubsub.split())
        };
        let (mut sink, mut messages) =
            tokio::time::timeout(CONNECT_TIMEOUT, subscribe).await.map_err(too_late)?.map_err(failed)?;
        let mut pulse = tokio::time::interval(PULSE);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return Err(RemoteError::NotConnected) };
                    if let Ok(change_seq) = message.get_payload::<u64>() {
                        hear(change_seq);
                    }
                }
                _ = pulse.tick() => {
                    let asked: Result<redis::Value, _> =
                        tokio::time::timeout(PULSE, sink.ping()).await.map_err(too_late)?;
                    asked.map_err(failed)?;
                }
            }
        }
    }

    async fn take(&self, name: &str, quota: u32, window: Duration) -> Result<Taken, RemoteError> {
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX >> 12).max(1);
        let step = (window / u64::from(quota.max(1))).max(1);
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1).arg(name).arg(step * u64::from(quota.max(1))).arg(step);
        let (remaining, wait): (u32, i64) = self.ask(&command).await?;
        let wait = u64::try_from(wait).ok().map(Duration::from_micros);
        Ok(Taken { remaining, wait })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.shown).finish()
    }
}
