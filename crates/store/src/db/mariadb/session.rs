//! A connection for the length of one unit of work: one transaction.

use std::fmt;
use std::time::Duration;

use inkstone_core::{Error, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Error as Failure, Params};

use crate::db::server::Trouble;
use crate::db::{FromRow, Row, SqlError, Statement, Value};

use super::pool::{Connection, Pool, Prepared};
use super::trouble::{statement_error, trouble_of, words};

/// How long the server may take to take a transaction back. A connection that needs longer is closed.
const TAKING_BACK: Duration = Duration::from_secs(5);

/// A connection in a transaction. Dropped, it is closed, which takes the transaction back.
pub(in crate::db) struct Session {
    connection: Option<Connection>,
    /// A statement failed. MariaDB would go on; what a unit of work must not do under one database,
    /// it must not do under the other.
    has_failed: bool,
    trouble: Option<(Trouble, String)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("connection", &self.connection)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

/// Why a transaction was not committed.
pub(super) enum Lost {
    /// Nothing of it happened.
    TakenBack(Error),
    /// The connection broke before the server had said whether it happened.
    Unknown(String),
}

impl Session {
    /// A session on a connection whose transaction has begun.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Some(connection), has_failed: false, trouble: None }
    }

    /// Every row of a statement.
    pub(in crate::db) async fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        let rows = self.run(statement, values).await?.rows;
        rows.iter().map(|row| T::from_row(&Row::mariadb(statement, row))).collect()
    }

    /// Runs an `insert … returning id`; the id.
    pub(in crate::db) async fn insert(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<i64> {
        let id = self.run(statement, values).await?.id;
        let none = || Error::internal(SqlError::new(statement.name, "made no row with a number of its own"));
        id.and_then(|id| i64::try_from(id).ok()).ok_or_else(none)
    }

    /// Runs a statement; the number of rows that it touched, changed by that or not.
    pub(in crate::db) async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        Ok(self.run(statement, values).await?.count)
    }

    async fn run(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<Answered> {
        let closed = || Error::internal(SqlError::new(statement.name, "the session has ended"));
        let connection = self.connection.as_mut().filter(|connection| connection.is_in_step()).ok_or_else(closed)?;
        ask(connection, statement, values).await.map_err(|error| {
            self.has_failed = true;
            if let Some(trouble) = trouble_of(&error) {
                self.trouble.get_or_insert_with(|| (trouble, words(&error)));
            }
            statement_error(statement, &error)
        })
    }

    /// What went wrong with the database, even if the unit of work hid it.
    pub(super) fn take_trouble(&mut self) -> Option<(Trouble, String)> {
        self.trouble.take()
    }

    /// Nobody is to get the connection any more.
    pub(super) fn give_up(&mut self) {
        self.connection = None;
    }

    /// Ends a transaction of which nothing is to stay, and gives the connection back.
    pub(super) async fn take_back(mut self, pool: &Pool) {
        let Some(mut connection) = self.connection.take().filter(Connection::is_in_step) else { return };
        let taken_back = tokio::time::timeout(TAKING_BACK, connection.conn.query_drop("rollback")).await;
        if matches!(taken_back, Ok(Ok(()))) {
            pool.put(connection);
        }
    }

    /// Commits, and waits until the server says so. On any error the connection is closed.
    pub(super) async fn commit(mut self, pool: &Pool) -> Result<(), Lost> {
        if self.has_failed || self.connection.as_ref().is_some_and(|connection| !connection.is_in_step()) {
            let text = "a statement failed, and the unit of work went on as if it had not";
            return Err(Lost::TakenBack(Error::internal(SqlError::new(COMMIT.name, text))));
        }
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        match connection.conn.query_drop(COMMIT.sql).await {
            Ok(()) => {
                pool.put(connection);
                Ok(())
            }
            Err(error) if trouble_of(&error) == Some(Trouble::Unreachable) => Err(Lost::Unknown(words(&error))),
            Err(error) => Err(Lost::TakenBack(statement_error(&COMMIT, &error))),
        }
    }
}

static COMMIT: Statement = Statement { name: "commit", sql: "commit" };

#[derive(Default)]
struct Answered {
    rows: Vec<mysql_async::Row>,
    count: u64,
    id: Option<u64>,
}

/// Runs all parts of a statement; the answer is that of the last.
async fn ask(
    connection: &mut Connection,
    statement: &'static Statement,
    values: &[Value<'_>],
) -> Result<Answered, Failure> {
    let parts = connection.prepare(statement).await?;
    let mut answered = Answered::default();
    for Prepared { statement, order } in parts.iter() {
        // One that is not there is missed by the server, which says so.
        let values = order.iter().filter_map(|place| values.get(*place)).map(mysql_async::Value::from).collect();
        let rows = connection.conn.exec(statement, Params::Positional(values)).await?;
        let (count, id) = (connection.conn.affected_rows(), connection.conn.last_insert_id());
        answered = Answered { rows, count, id };
    }
    Ok(answered)
}
