//! A connection for the length of one unit of work: one transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, ClientWrapper};
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all, try_join_all};
use inkstone_core::{Deadline, Error, Result};
use tokio_postgres::Statement as Prepared;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};

use crate::db::server::{GRACE, Kind, Trouble};
use crate::db::{FromRow, Row, SqlError, Statement, Value};

use super::Shared;
use super::lines::{Line, Lines};
use super::options::PostgresOptions;
use super::trouble::{statement_error, trouble_of, words};

/// The most statements that are put off.
const PUT_OFF: usize = 16;
/// How often the server is asked to end what it does, until it has.
const CANCEL_AGAIN: Duration = Duration::from_millis(25);
/// Statements of one batch that are on their way at once.
const PIPELINE: usize = 24;

/// A connection out of the pool, for one transaction. Dropped in the middle of a transaction it is closed, which takes
/// the transaction back; otherwise it goes back to the pool.
pub(in crate::db) struct Session {
    /// Where connections come from, for a session that takes them when it knows what for.
    lender: Option<Lender>,
    client: Option<Client>,
    /// What a statement was asked over last that needs no connection for itself.
    line: Option<Arc<Line>>,
    /// What opens the transaction, or ends one unit of work in it and begins the next. Goes out with
    /// the next statement, so that it costs no round trip.
    before: String,
    /// Statements that go out with the next one.
    later: Vec<Later>,
    /// Statements are sent as text each time, for a pooler that keeps none of them prepared.
    unprepared: bool,
    is_open: bool,
    /// A statement failed, after which PostgreSQL takes the transaction back, whatever is asked.
    has_failed: bool,
    /// The connection broke, whether that shows already or not.
    is_broken: bool,
    trouble: Option<(Trouble, String)>,
    /// Whether the server was asked anything.
    has_asked: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_open", &self.is_open)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

/// Where a read takes its connections from, and until when it waits for them.
pub(super) struct Lender {
    pub(super) shared: Arc<Shared>,
    pub(super) deadline: Deadline,
}

impl Lender {
    async fn own(&self) -> Result<Client, (Trouble, String)> {
        self.shared.connect(Kind::Read, self.left()).await
    }

    async fn line(&self) -> Result<Option<Arc<Line>>, (Trouble, String)> {
        self.shared.line(self.left()).await
    }

    fn left(&self) -> Duration {
        self.deadline.remaining(self.shared.options.clock.instant())
    }
}

/// What came of asking the server to end what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer, or there was no connection to ask over.
    Word,
    /// The connection broke.
    End,
    Nothing,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing of it happened.
    TakenBack(Option<Trouble>, String),
    /// The connection broke before the server had said whether it happened.
    Unknown(String),
}

impl Session {
    /// A session for writing, whose transaction is opened by `begin` when the first statement comes.
    pub(super) fn for_writing(client: Client, begin: String, unprepared: bool) -> Self {
        Self::new(None, Some(client), begin, unprepared)
    }

    /// A session for reading, which has no connection yet. Its transaction, if it needs one, is opened by `begin`.
    pub(super) fn for_reading(lender: Lender, begin: String, unprepared: bool) -> Self {
        Self::new(Some(lender), None, begin, unprepared)
    }

    fn new(lender: Option<Lender>, client: Option<Client>, begin: String, unprepared: bool) -> Self {
        Self {
            lender,
            client,
            line: None,
            before: begin,
            later: Vec::new(),
            unprepared,
            is_open: false,
            has_failed: false,
            is_broken: false,
            trouble: None,
            has_asked: false,
        }
    }

    /// Every row of a statement.
    pub(in crate::db) async fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        read_rows(statement, &self.run(Some(Ask { statement, values, answer: Answer::Rows })).await?.rows)
    }

    /// Every row of a statement that needs no transaction around it; what follows has one. It is asked over a connection
    /// that is shared; over one of its own if there is none, or if somebody else's statement was ended there and this one
    /// in its place.
    pub(in crate::db) async fn fetch_apart<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        let Some((lines, line)) = self.take_line().await? else { return self.fetch_all(statement, values).await };
        self.has_asked = true;
        self.line = Some(Arc::clone(&line));
        let asked = async {
            let prepared = prepare(&line.client, statement, false).await?;
            ask(&line.client, statement, prepared, values, Answer::Rows).await
        };
        let outcome = asked.await;
        lines.heard(&line);
        self.line = None;
        match outcome {
            Ok(answered) => read_rows(statement, &answered.rows),
            Err((_, error)) if trouble_of(&error) == Some(Trouble::Late) && lines.is_retired(&line) => {
                drop(line);
                self.fetch_all(statement, values).await
            }
            Err(failed) => Err(self.failed_apart(failed)),
        }
    }

    /// A connection that is shared, if one will do.
    async fn take_line(&mut self) -> Result<Option<(Arc<Lines>, Arc<Line>)>> {
        // Behind a pooler nothing but the transaction says how long a statement may take.
        let Some(lender) = self.lender.as_ref().filter(|_| !self.is_open && !self.unprepared) else { return Ok(None) };
        match lender.line().await {
            Ok(line) => Ok(line.map(|line| (Arc::clone(&lender.shared.lines), line))),
            Err(trouble) => Err(self.unconnected(trouble)),
        }
    }

    /// A connection for this session alone.
    async fn connect(&mut self) -> Result<()> {
        let Some(lender) = self.lender.as_ref().filter(|_| self.client.is_none()) else { return Ok(()) };
        match lender.own().await {
            Ok(client) => {
                self.client = Some(client);
                Ok(())
            }
            Err(trouble) => Err(self.unconnected(trouble)),
        }
    }

    fn unconnected(&mut self, (trouble, text): (Trouble, String)) -> Error {
        self.trouble.get_or_insert((trouble, text));
        trouble.to_error()
    }

    /// Runs a statement; the number of rows that it touched.
    pub(in crate::db) async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        Ok(self.run(Some(Ask { statement, values, answer: Answer::Count })).await?.count)
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
            let (had_failed, unprepared) = (std::mem::replace(&mut self.has_failed, true), self.unprepared);
            let asked = async {
                let prepared = prepare(client, statement, unprepared).await?;
                let asked = some.iter().map(|values| ask(client, statement, prepared.clone(), values, Answer::Count));
                try_join_all(asked).await
            };
            let answered = asked.await.map_err(|failed| self.failed(failed))?;
            self.has_failed = had_failed;
            touched += answered.iter().map(|answer| answer.count).sum::<u64>();
        }
        Ok(touched)
    }

    /// Runs a statement with the next one, or at the end of the unit of work.
    pub(in crate::db) async fn execute_later(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<()> {
        self.later.push(Later { statement, values: values.iter().map(Kept::from).collect() });
        if self.later.len() < PUT_OFF { Ok(()) } else { self.flush().await }
    }

    /// Runs what was put off.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.later.is_empty() {
            return Ok(());
        }
        self.run(None).await.map(drop)
    }

    /// Sends what goes before, what was put off, and what is asked, in this order and at once:
    /// none waits for another.
    async fn run(&mut self, last: Option<Ask<'_>>) -> Result<Answered> {
        self.connect().await?;
        let name = last.as_ref().map_or("flush", |ask| ask.statement.name);
        let closed = || Error::internal(SqlError::new(name, "the session has ended"));
        let client = self.client.as_ref().ok_or_else(closed)?;
        let (before, later) = (std::mem::take(&mut self.before), std::mem::take(&mut self.later));
        // Who does not wait for the answer does not learn of a failure, and a transaction in which
        // something failed is taken back without a word when it is committed.
        let had_failed = std::mem::replace(&mut self.has_failed, true);
        let asked = ask_all(client, &later, last, self.unprepared);
        let outcome = if before.is_empty() {
            asked.await
        } else {
            self.is_open = true;
            let (begun, outcome) = join(client.batch_execute(&before), asked).await;
            begun.map_err(|error| (name, error)).and(outcome)
        };
        self.has_asked = true;
        let answered = outcome.map_err(|failed| self.failed(failed))?;
        self.has_failed = had_failed;
        Ok(answered)
    }

    fn failed(&mut self, failed: Failed) -> Error {
        self.has_failed = true;
        self.failed_apart(failed)
    }

    fn failed_apart(&mut self, (statement, error): Failed) -> Error {
        if let Some(trouble) = trouble_of(&error) {
            self.is_broken |= trouble == Trouble::Unreachable;
            self.trouble.get_or_insert_with(|| (trouble, words(&error)));
        }
        statement_error(statement, &error)
    }

    /// What went wrong with the database, even if the unit of work hid it.
    pub(super) fn take_trouble(&mut self) -> Option<(Trouble, String)> {
        self.trouble.take()
    }

    /// Whether a statement failed since the transaction began, or since it was taken back to its mark.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether anything was asked of the server.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the server was asked anything.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// Whether a connection broke that had been made.
    pub(super) fn has_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether the connection is gone.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken || self.client.as_ref().is_none_or(|client| client.is_closed())
    }

    /// Marks the place to which the next unit of work in this transaction is taken back if it fails.
    pub(super) fn mark(&mut self) {
        self.before_next("savepoint unit");
    }

    /// Takes the mark away, and keeps what was done since.
    pub(super) fn keep(&mut self) {
        self.before_next("release savepoint unit");
    }

    /// Takes back what was done since the mark, and the mark away.
    pub(super) fn take_back_to_mark(&mut self) {
        self.before_next("rollback to savepoint unit; release savepoint unit");
        self.later.clear();
        self.has_failed = false;
    }

    fn before_next(&mut self, text: &str) {
        if !self.before.is_empty() {
            self.before.push_str("; ");
        }
        self.before.push_str(text);
    }

    /// Nobody is to get the connection any more.
    pub(super) fn give_up(&mut self) {
        self.is_broken = true;
    }

    /// Gives up a read whose time is over, and closes the connection once the server has ended what it does there. Over a
    /// shared one that may be what others asked before: it is asked until there is nothing left before this.
    pub(super) async fn end_late(mut self, options: &PostgresOptions, lines: &Lines) -> Heard {
        let (client, line) = (self.client.take().map(Client::take), self.line.take());
        if let Some(line) = &line {
            lines.retire(line);
        }
        let Some(client) = client.as_ref().or(line.as_ref().map(|line| &line.client)) else { return Heard::Word };
        let cancelling = async {
            loop {
                options.cancel(client.cancel_token()).await;
                tokio::time::sleep(CANCEL_AGAIN).await;
            }
        };
        let heard = async {
            tokio::select! {
                never = cancelling => never,
                heard = client.batch_execute("") => heard,
            }
        };
        let moved = || line.as_ref().map(|line| line.moved());
        let before = moved();
        match tokio::time::timeout(GRACE, heard).await {
            // Somebody else got an answer.
            Err(_) if moved() > before => Heard::Word,
            Ok(Ok(())) => Heard::Word,
            Ok(Err(error)) if error.as_db_error().is_some() => Heard::Word,
            Ok(Err(_)) => Heard::End,
            Err(_) => Heard::Nothing,
        }
    }

    /// Ends a transaction of which nothing is to stay. Does not wait: whoever gets the connection
    /// next speaks after this.
    pub(super) fn take_back(mut self) {
        let Some(client) = self.client.as_ref().filter(|_| self.is_open && !self.is_broken) else { return };
        let _sent = client.batch_execute("rollback").now_or_never();
        self.is_open = false;
    }

    /// Commits, and waits until the server says so. On any error the connection is closed.
    pub(super) async fn commit(mut self) -> Result<(), Lost> {
        let Some(client) = self.client.as_ref().filter(|_| self.is_open) else { return Ok(()) };
        let mut text = std::mem::take(&mut self.before);
        text.push_str(if text.is_empty() { "commit" } else { "; commit" });
        match client.batch_execute(&text).await {
            Ok(()) => {
                self.is_open = false;
                Ok(())
            }
            Err(error) => {
                let (trouble, text) = (trouble_of(&error), words(&error));
                Err(if was_refused(&error, trouble) { Lost::TakenBack(trouble, text) } else { Lost::Unknown(text) })
            }
        }
    }
}

/// Whether the server has said that it does not commit. That it stops (57…), that a pooler lost it (08…), and that
/// it could not write its log, of which a part may be there after all, say nothing of the kind.
fn was_refused(error: &tokio_postgres::Error, trouble: Option<Trouble>) -> bool {
    let Some(db) = error.as_db_error() else { return false };
    db.parsed_severity() == Some(Severity::Error)
        && !db.code().code().starts_with("57")
        && !matches!(trouble, Some(Trouble::Unreachable | Trouble::Damaged))
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_open
            && let Some(client) = self.client.take()
        {
            drop(Client::take(client));
        }
    }
}

/// A statement that was put off.
struct Later {
    statement: &'static Statement,
    values: Vec<Kept>,
}

/// A value that outlives what it was made from.
enum Kept {
    Null,
    Int(i64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

impl From<&Value<'_>> for Kept {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(value),
            Value::Text(text) => Self::Text(text.into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.into()),
        }
    }
}

impl Kept {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

struct Ask<'a> {
    statement: &'static Statement,
    values: &'a [Value<'a>],
    answer: Answer,
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

/// What failed, and why.
type Failed = (&'static str, tokio_postgres::Error);

async fn ask_all(
    client: &ClientWrapper,
    later: &[Later],
    last: Option<Ask<'_>>,
    unprepared: bool,
) -> Result<Answered, Failed> {
    // Prepared first: what is sent after that is sent in its order, and waits for nothing.
    let mut prepared = Vec::with_capacity(later.len());
    for Later { statement, .. } in later {
        prepared.push(prepare(client, statement, unprepared).await?);
    }
    let last = match last {
        Some(ask) => Some((prepare(client, ask.statement, unprepared).await?, ask)),
        None => None,
    };
    let last = async {
        let Some((prepared, Ask { statement, values, answer })) = last else { return Ok(Answered::default()) };
        ask(client, statement, prepared, values, answer).await
    };
    if later.is_empty() {
        return last.await;
    }
    let later = later.iter().zip(prepared).map(|(Later { statement, values }, prepared)| async move {
        let values: Vec<Value<'_>> = values.iter().map(Kept::as_value).collect();
        ask(client, statement, prepared, &values, Answer::Count).await
    });
    let (later, last) = join(join_all(later), last).await;
    // After the first that fails all fail.
    later.into_iter().find(Result::is_err).unwrap_or(last)
}

fn read_rows<T: FromRow>(statement: &'static Statement, rows: &[tokio_postgres::Row]) -> Result<Vec<T>> {
    rows.iter().map(|row| T::from_row(&Row::postgres(statement, row))).collect()
}

/// None for a statement that is sent as text.
async fn prepare(
    client: &ClientWrapper,
    statement: &'static Statement,
    unprepared: bool,
) -> Result<Option<Prepared>, Failed> {
    if unprepared {
        return Ok(None);
    }
    let prepared = client.prepare_cached(statement.sql).await;
    prepared.map(Some).map_err(|error| (statement.name, error))
}

async fn ask(
    client: &ClientWrapper,
    statement: &'static Statement,
    prepared: Option<Prepared>,
    values: &[Value<'_>],
    answer: Answer,
) -> Result<Answered, Failed> {
    let outcome = if let Some(prepared) = prepared {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        match answer {
            Answer::Rows => client.query(&prepared, &values).await.map(Answered::rows),
            Answer::Count => client.execute(&prepared, &values).await.map(Answered::count),
        }
    } else {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
        match answer {
            Answer::Rows => client.query_typed(statement.sql, &values).await.map(Answered::rows),
            Answer::Count => client.execute_typed(statement.sql, &values).await.map(Answered::count),
        }
    };
    outcome.map_err(|error| (statement.name, error))
}

impl Answered {
    fn rows(rows: Vec<tokio_postgres::Row>) -> Self {
        Self { rows, count: 0 }
    }

    fn count(count: u64) -> Self {
        Self { rows: Vec::new(), count }
    }
}
