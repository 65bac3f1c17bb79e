//! Redis, Valkey, and what speaks like them: one server, a master named by sentinels, or a cluster.
//!
//! One connection carries all calls. It is made by a task of its own, however long that takes, so
//! that a call either finds it or fails at once; after an error it is made anew. (The crate's own
//! `ConnectionManager` does that for one server; a master that sentinels name has to be asked for again.)

mod servers;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use inkstone_core::guard::retry::Dice;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use crate::gcra::{CLOCKS_APART, Rate, micros};
use crate::remote::{Remote, RemoteError, Taken};
use servers::{CONNECT_TIMEOUT, Connection};
pub(crate) use servers::{Hosts, Servers, Tls};

/// The pause after a connection could not be made, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// How often a connection that only listens is asked whether it is alive, and how long it may take.
const PULSE: Duration = Duration::from_secs(5);

/// The step of [`Rate`], by the clock of Redis, which is one for all nodes, until there is another
/// master; what is no number counts as nothing.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, step, apart = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function keep(moment)
  redis.call('SET', KEYS[1], string.format('%.0f', moment), 'PX', math.ceil((moment - now) / 1000))
end
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now)
if full_at > now + window + apart then
  full_at = now + window
  keep(full_at)
end
local next = full_at + step
if next - now > window then
  return {0, next - now - window}
end
keep(next)
return {math.floor((window - (next - now)) / step), -1}";

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
    /// Why there was no connection when one was last wanted.
    trouble: StdMutex<Option<RemoteError>>,
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
        let (trouble, dialled) = (StdMutex::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { servers, patience, line, trouble, dialled, dice }), shown }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RemoteError> {
        let (number, mut connection) = self.connection()?;
        let answer = connection.ask(command).await;
        answer.map_err(|error| self.failed(number, &connection, &error))
    }

    fn connection(&self) -> Result<(u64, Connection), RemoteError> {
        Shared::line(&self.shared).ok_or_else(|| self.shared.trouble())
    }

    /// What an error on the connection of this number is to those who asked.
    fn failed(&self, number: u64, connection: &Connection, error: &RedisError) -> RemoteError {
        if connection.is_lost(error) {
            self.shared.hang_up(number);
        }
        failure(error)
    }
}

/// What an error of a command is to those who asked.
fn failure(error: &RedisError) -> RemoteError {
    denial(error).unwrap_or_else(|| RemoteError::Failed(error.to_string()))
}

/// What an error is that came of an attempt to connect.
fn no_connection(error: &RedisError) -> RemoteError {
    denial(error).unwrap_or_else(|| RemoteError::Unreachable(error.to_string()))
}

fn denial(error: &RedisError) -> Option<RemoteError> {
    // The crate keeps to itself what the server said.
    let is_password = error.kind() == ErrorKind::AuthenticationFailed;
    let text =
        if is_password { "WRONGPASS: the user or its password is refused".to_owned() } else { error.to_string() };
    is_denial(error).then_some(RemoteError::Denied(text))
}

/// Whether the server works and does not let this user do that: an ACL, or a wrong password.
fn is_denial(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        // Within a script it has no code of its own.
        ErrorKind::Server(ServerErrorKind::ResponseError) => error.to_string().contains("user executing the script"),
        _ => matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM")),
    }
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
            let trouble = match made {
                Ok(Ok(connection)) => {
                    let number = self.dialled.fetch_add(1, Ordering::Relaxed);
                    self.set_trouble(None);
                    *self.lock() = Line::Up(number, connection);
                    return;
                }
                Ok(Err(error)) => no_connection(&error),
                Err(_) => RemoteError::Unreachable(format!("nothing answers within {CONNECT_TIMEOUT:?}")),
            };
            self.set_trouble(Some(trouble));
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

    /// Why there is no connection, as far as that is known.
    fn trouble(&self) -> RemoteError {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone().unwrap_or(RemoteError::NotConnected)
    }

    fn set_trouble(&self, trouble: Option<RemoteError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
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
        let (number, mut connection) = self.connection()?;
        let answer = connection.ping().await;
        answer.map_err(|error| self.failed(number, &connection, &error))
    }

    async fn announce(&self, channel: &str, change_seq: u64) -> Result<(), RemoteError> {
        self.ask(redis::cmd("PUBLISH").arg(channel).arg(change_seq)).await
    }

    async fn listen(&self, channel: &str, hear: &(dyn Fn(u64) + Send + Sync)) -> Result<(), RemoteError> {
        let failed = |error: RedisError| failure(&error);
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
        let rate = Rate::new(quota, window);
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1).arg(name).arg(rate.window).arg(rate.step).arg(micros(CLOCKS_APART));
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
