//! Connections: made when they are needed, kept when they are not.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts};

use crate::db::Statement;

use super::address::MariaDbAddress;
use super::dialect;
use super::flavor::Flavor;
use super::trouble::words;

/// A statement as this connection has it, and which value belongs to which of its parameters.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) statement: mysql_async::Statement,
    pub(super) order: Arc<[usize]>,
}

/// A connection to the server, with what it has prepared so far. Dropped while it waits for an
/// answer, or in a transaction, it takes the transaction back.
pub(crate) struct Connection {
    pub(crate) conn: Conn,
    pub(crate) flavor: Flavor,
    /// By text: names are for people.
    prepared: HashMap<&'static str, Arc<[Prepared]>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.conn.id()).field("flavor", &self.flavor).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, which may take as long as `patience`; of several hosts, to the first that takes writes.
    pub(crate) async fn open(address: &MariaDbAddress, patience: Duration) -> Result<Self, NoConnection> {
        let hosts = address.hosts();
        // One that says nothing leaves time for the others.
        let share = patience / u32::try_from(hosts.len().max(1)).unwrap_or(u32::MAX);
        let mut why = NoConnection::Late(patience);
        for opts in hosts {
            why = match tokio::time::timeout(share, Self::open_one(opts.clone())).await {
                Ok(Ok((connection, takes_writes))) if takes_writes || hosts.len() == 1 => return Ok(connection),
                Ok(Ok(_)) => NoConnection::OnlyReads,
                Ok(Err(why)) => why,
                Err(_) => NoConnection::Late(share),
            };
        }
        Err(why)
    }

    /// A connection to one host, and whether that takes writes.
    async fn open_one(opts: Opts) -> Result<(Self, bool), NoConnection> {
        let mut conn = Conn::new(opts).await?;
        let about: Option<(String, bool)> = conn.query_first("select version(), @@global.read_only = 0").await?;
        let (version, takes_writes) = about.unwrap_or_default();
        let flavor = Flavor::of(&version);
        // Before the settings, some of which it may not know.
        if let Some(why) = flavor.too_old(&version) {
            return Err(NoConnection::TooOld(why));
        }
        conn.query_drop(flavor.settings()).await?;
        Ok((Self { conn, flavor, prepared: HashMap::new() }, takes_writes))
    }

    /// Whether every answer has been read. One that was not waited for, because whoever asked gave up
    /// on the way, would be taken for the answer to the next question.
    pub(super) fn is_in_step(&self) -> bool {
        !self.conn.is_disconnected()
    }

    /// The statement, prepared on first use.
    pub(super) async fn prepare(&mut self, statement: &'static Statement) -> Result<Arc<[Prepared]>, Error> {
        if let Some(known) = self.prepared.get(statement.sql) {
            return Ok(Arc::clone(known));
        }
        let mut parts = Vec::new();
        for translated in dialect::translate(statement, self.flavor) {
            let prepared = self.conn.prep(translated.sql).await?;
            parts.push(Prepared { statement: prepared, order: translated.order.into() });
        }
        let parts: Arc<[Prepared]> = parts.into();
        self.prepared.insert(statement.sql, Arc::clone(&parts));
        Ok(parts)
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The server, or the way to it, said no.
    Refused(Error),
    /// Nothing was said in time.
    Late(Duration),
    /// None of several hosts takes writes; the last was asked.
    OnlyReads,
    /// The server is of a version that is too old.
    TooOld(String),
}

impl NoConnection {
    /// Whether it does not help to ask again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::TooOld(_))
    }
}

impl From<Error> for NoConnection {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// In words for the operator.
impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => f.write_str(&words(error)),
            Self::Late(patience) => write!(f, "no connection within {patience:?}"),
            Self::OnlyReads => f.write_str("no host that can be reached takes writes"),
            Self::TooOld(why) => f.write_str(why),
        }
    }
}

/// Connections that nobody uses at the moment. How many there are at most is for the lanes to say.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    is_closed: bool,
}

impl Pool {
    /// The one that was used last.
    pub(super) fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).connections.pop()
    }

    /// Keeps one that is in no transaction.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !idle.is_closed {
            idle.connections.push(connection);
        }
    }

    /// Lets go of those that nobody uses: they are hardly better off than the one that broke or gave no
    /// answer, and what took writes may be a replica now.
    pub(super) fn leave(&self) {
        let connections = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut idle.connections)
        };
        drop(connections);
    }

    /// Closes those that nobody uses, and each of the others once it comes back.
    pub(super) async fn close(&self, patience: Duration) {
        let connections = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.is_closed = true;
            std::mem::take(&mut idle.connections)
        };
        let goodbyes = connections.into_iter().map(|connection| connection.conn.disconnect());
        // Whether the server heard it does not matter: it notices.
        let _heard = tokio::time::timeout(patience, futures_util::future::join_all(goodbyes)).await;
    }
}
