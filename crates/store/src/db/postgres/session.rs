//! A connection for the length of one unit of work: one transaction.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use futures_util::future::{join, try_join_all};
use inkstone_core::{Error, Result};
use tokio_postgres::error::Severity;

use crate::db::server::{GRACE, Trouble};
use crate::db::{FromRow, SqlError, Statement, Value};

use super::connections::Lender;
use super::lines::Taken;
use super::send::{Answer, Answered, Ask, Failed, Later, ask, ask_all, prepare};
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
    line: Option<Taken>,
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
        self.run(Some(Ask { statement, values, answer: Answer::Rows })).await?.read(statement)
    }

    /// Every row of a statement that needs no transaction around it; what follows has one. It is asked over a connection
    /// that is shared; over one of its own if there is none, or if somebody else's statement was ended there and this one
    /// in its place.
    pub(in crate::db) async fn fetch_apart<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        let Some(line) = self.shared().await? else { return self.fetch_all(statement, values).await };
        self.has_asked = true;
        self.line = Some(line.clone());
        let asked = async {
            let prepared = prepare(line.client(), statement, false).await?;
            ask(line.client(), statement, prepared, values, Answer::Rows).await
        };
        let outcome = asked.await;
        line.heard();
        self.line = None;
        match outcome {
            Ok(answered) => answered.read(statement),
            Err((_, error)) if trouble_of(&error) == Some(Trouble::Late) && line.is_retired() => {
                drop(line);
                self.fetch_all(statement, values).await
            }
            Err(failed) => Err(self.failed_apart(failed)),
        }
    }

    /// A connection that others use as well, if one will do.
    async fn shared(&mut self) -> Result<Option<Taken>> {
        // Behind a pooler nothing but the transaction says how long a statement may take.
        let Some(lender) = self.lender.as_ref().filter(|_| !self.is_open && !self.unprepared) else { return Ok(None) };
        lender.shared().await.map_err(|trouble| self.unconnected(trouble))
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
        self.later.push(Later::new(statement, values));
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
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken || self.client.as_ref().is_some_and(|client| client.is_closed())
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
    pub(super) async fn end_late(mut self) -> Heard {
        let (client, line) = (self.client.take().map(Client::take), self.line.take());
        if let Some(line) = &line {
            line.retire();
        }
        let client = client.as_ref().or(line.as_ref().map(Taken::client));
        let (Some(client), Some(lender)) = (client, &self.lender) else { return Heard::Word };
        let cancelling = async {
            loop {
                lender.cancel(client.cancel_token()).await;
                tokio::time::sleep(CANCEL_AGAIN).await;
            }
        };
        let heard = async {
            tokio::select! {
                never = cancelling => never,
                heard = client.batch_execute("") => heard,
            }
        };
        let moved = || line.as_ref().map(Taken::moved);
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
