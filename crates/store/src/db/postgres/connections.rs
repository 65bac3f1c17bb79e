//! Where connections come from: one for each read that needs its own, a few that reads share, and the writer's.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool, PoolError, TimeoutType, Timeouts};
use inkstone_core::{Deadline, Error};
use tokio_postgres::CancelToken;

use crate::db::server::{Kind, Trouble};

use super::lines::{Lines, Taken};
use super::options::PostgresOptions;
use super::trouble::{trouble_of, words};

/// How long a read may run whose node does not end it: that is its deadline's task.
pub(super) const SESSION_LIMIT: Duration = Duration::from_mins(2);

/// The connections of a node to its database.
pub(super) struct Connections {
    options: PostgresOptions,
    reading: Pool,
    lines: Arc<Lines>,
    /// One.
    writing: Pool,
}

impl Connections {
    /// None is made yet.
    pub(super) fn new(options: PostgresOptions) -> Result<Self, Error> {
        Ok(Self {
            reading: options.pool(options.readers.max(1) as usize, Some(SESSION_LIMIT))?,
            lines: Arc::new(options.lines(SESSION_LIMIT)),
            writing: options.pool(1, None)?,
            options,
        })
    }

    /// A connection for one unit of work; or what is the matter with the server, in words too.
    pub(super) async fn own(&self, kind: Kind, left: Duration) -> Result<Client, (Trouble, String)> {
        let limit = Some(left);
        let timeouts = Timeouts { wait: limit, create: limit.min(Some(self.options.connect_timeout)), recycle: limit };
        let pool = match kind {
            Kind::Read => &self.reading,
            Kind::Write => &self.writing,
        };
        pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Backend(error) => unreachable(&error),
            // Otherwise it was only the caller who could not wait.
            PoolError::Timeout(TimeoutType::Create) if left >= self.options.connect_timeout => too_slow(),
            error => (Trouble::Late, error.to_string()),
        })
    }

    /// As [`Self::own`], one that is shared. None if there is none to be had now.
    async fn shared(&self, left: Duration) -> Result<Option<Taken>, (Trouble, String)> {
        match tokio::time::timeout(left.min(self.options.connect_timeout), self.lines.take()).await {
            Ok(taken) => taken.map_err(|error| unreachable(&error)),
            Err(_) if left >= self.options.connect_timeout => Err(too_slow()),
            Err(late) => Err((Trouble::Late, late.to_string())),
        }
    }

    /// Lets go of all that wait: they are hardly better off than one that broke or says nothing.
    pub(super) fn leave(&self) {
        self.reading.retain(|_, _| false);
        self.lines.leave();
        self.writing.retain(|_, _| false);
    }

    /// Makes none any more.
    pub(super) fn close(&self) {
        self.reading.close();
        self.lines.close();
        self.writing.close();
    }
}

/// Where a read takes its connections from, and until when it waits for them.
pub(super) struct Lender {
    pub(super) connections: Arc<Connections>,
    pub(super) deadline: Deadline,
}

impl Lender {
    /// One for this read alone.
    pub(super) async fn own(&self) -> Result<Client, (Trouble, String)> {
        self.connections.own(Kind::Read, self.left()).await
    }

    /// One that others use as well, if there is one that gets on.
    pub(super) async fn shared(&self) -> Result<Option<Taken>, (Trouble, String)> {
        self.connections.shared(self.left()).await
    }

    /// Asks the server to end what a connection is at.
    pub(super) async fn cancel(&self, token: CancelToken) {
        self.connections.options.cancel(token).await;
    }

    fn left(&self) -> Duration {
        self.deadline.remaining(self.connections.options.clock.instant())
    }
}

fn unreachable(error: &tokio_postgres::Error) -> (Trouble, String) {
    (trouble_of(error).unwrap_or(Trouble::Unreachable), words(error))
}

fn too_slow() -> (Trouble, String) {
    (Trouble::Unreachable, "connecting took too long".to_owned())
}
