//! A connection for the length of one unit of work: one transaction.

use std::fmt;

use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use futures_util::future::{join, try_join_all};
use inkstone_core::{Error, Result};
use tokio_postgres::types::{ToSql, Type};

use crate::db::{FromRow, Row, SqlError, Statement, Value};

use super::trouble::{Trouble, statement_error, trouble_of, words};

/// Statements of one batch that are on their way at once.
const PIPELINE: usize = 24;

/// A connection out of the pool. Dropped in the middle of a transaction it is closed, which takes
/// the transaction back; otherwise it goes back to the pool.
pub(in crate::db) struct Session {
    client: Option<Client>,
    /// Opens the transaction. Goes out with the first statement, so that it costs no round trip.
    begin: Option<String>,
    /// Statements are sent as text each time, for a pooler that keeps none of them prepared.
    unprepared: bool,
    is_open: bool,
    /// A statement failed, after which PostgreSQL takes the transaction back, whatever is asked.
    has_failed: bool,
    trouble: Option<(Trouble, String)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_open", &self.is_open)
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
    /// A session whose transaction is opened by `begin` when the first statement comes.
    pub(super) fn new(client: Client, begin: String, unprepared: bool) -> Self {
        Self { client: Some(client), begin: Some(begin), unprepared, is_open: false, has_failed: false, trouble: None }
    }

    /// Every row of a statement.
    pub(in crate::db) async fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        let rows = self.run(statement, values, Answer::Rows).await?.rows;
        rows.iter().map(|row| T::from_row(&Row::postgres(statement, row))).collect()
    }

    /// Runs a statement; the number of rows that it touched.
    pub(in crate::db) async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        Ok(self.run(statement, values, Answer::Count).await?.count)
    }

    /// Runs a statement for each of these rows: sent one behind the other, without waiting for the
    /// answers in between.
    pub(in crate::db) async fn execute_each(
        &mut self,
        statement: &'static Statement,
        rows: &[Vec<Value<'_>>],
    ) -> Result<u64> {
        let Some((first, rest)) = rows.split_first() else { return Ok(0) };
        // The first opens the transaction, and has the statement prepared.
        let mut touched = self.execute(statement, first).await?;
        for some in rest.chunks(PIPELINE) {
            let closed = || Error::internal(SqlError::new(statement.name, "the session has ended"));
            let client = self.client.as_ref().ok_or_else(closed)?;
            let asked = some.iter().map(|values| ask(client, statement, values, Answer::Count, self.unprepared));
            let answered = try_join_all(asked).await.map_err(|error| self.failed(statement, &error))?;
            touched += answered.iter().map(|answer| answer.count).sum::<u64>();
        }
        Ok(touched)
    }

    async fn run(&mut self, statement: &'static Statement, values: &[Value<'_>], answer: Answer) -> Result<Answered> {
        let closed = || Error::internal(SqlError::new(statement.name, "the session has ended"));
        let client = self.client.as_ref().ok_or_else(closed)?;
        let ask = ask(client, statement, values, answer, self.unprepared);
        let outcome = match self.begin.take() {
            None => ask.await,
            Some(begin) => {
                self.is_open = true;
                // In this order on the wire; neither waits for the other.
                let (begun, outcome) = join(client.batch_execute(&begin), ask).await;
                begun.and(outcome)
            }
        };
        outcome.map_err(|error| self.failed(statement, &error))
    }

    fn failed(&mut self, statement: &'static Statement, error: &tokio_postgres::Error) -> Error {
        self.has_failed = true;
        if let Some(trouble) = trouble_of(error) {
            self.trouble.get_or_insert_with(|| (trouble, words(error)));
        }
        statement_error(statement.name, error)
    }

    /// What went wrong with the database, even if the unit of work hid it.
    pub(super) fn take_trouble(&mut self) -> Option<(Trouble, String)> {
        self.trouble.take()
    }

    /// Closes the connection, so that nobody gets it any more.
    pub(super) fn close(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Client::take(client));
        }
    }

    /// Ends a transaction of which nothing is to stay. Does not wait: whoever gets the connection
    /// next speaks after this.
    pub(super) fn take_back(mut self) {
        let Some(client) = self.client.as_ref().filter(|_| self.is_open) else { return };
        let _sent = client.batch_execute("rollback").now_or_never();
        self.is_open = false;
    }

    /// Commits, and waits until the server says so. On any error the connection is closed.
    pub(super) async fn commit(mut self) -> Result<(), Lost> {
        let Some(client) = self.client.as_ref().filter(|_| self.is_open) else { return Ok(()) };
        if self.has_failed {
            let text = "a statement failed, and the unit of work went on as if it had not";
            return Err(Lost::TakenBack(Error::internal(SqlError::new("commit", text))));
        }
        match client.batch_execute("commit").await {
            Ok(()) => {
                self.is_open = false;
                Ok(())
            }
            Err(error) => {
                let said_so = error.as_db_error().is_some_and(|error| !error.code().code().starts_with("57"));
                Err(if said_so {
                    Lost::TakenBack(statement_error("commit", &error))
                } else {
                    Lost::Unknown(words(&error))
                })
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_open {
            self.close();
        }
    }
}

#[derive(Clone, Copy)]
enum Answer {
    Rows,
    Count,
}

#[derive(Default)]
struct Answered {
    rows: Vec<tokio_postgres::Row>,
    count: u64,
}

async fn ask(
    client: &Client,
    statement: &'static Statement,
    values: &[Value<'_>],
    answer: Answer,
    unprepared: bool,
) -> Result<Answered, tokio_postgres::Error> {
    if unprepared {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
        return Ok(match answer {
            Answer::Rows => Answered { rows: client.query_typed(statement.sql, &values).await?, count: 0 },
            Answer::Count => Answered { rows: Vec::new(), count: client.execute_typed(statement.sql, &values).await? },
        });
    }
    let prepared = client.prepare_cached(statement.sql).await?;
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    Ok(match answer {
        Answer::Rows => Answered { rows: client.query(&prepared, &values).await?, count: 0 },
        Answer::Count => Answered { rows: Vec::new(), count: client.execute(&prepared, &values).await? },
    })
}
