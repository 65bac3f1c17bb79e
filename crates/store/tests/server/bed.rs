//! A database, the executor on it, and a way past both.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Context, Deadline, Result};
use inkstone_store::db::{BoxFuture, Conn, Db, Statement};

use crate::backend::{self, NOTES, Options};
use crate::database::Database;

pub(crate) const ADD_NOTE: Statement =
    Statement { name: "notes.add", sql: "insert into notes (text) values ($1) returning id" };
pub(crate) const NOTE_TEXTS: Statement = Statement { name: "notes.texts", sql: "select text from notes order by id" };

pub(crate) struct Bed {
    pub(crate) db: Db,
    // After the executor: a database in use cannot go.
    pub(crate) database: Database,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|options| options)
    }

    pub(crate) fn with(alter: impl FnOnce(Options) -> Options) -> Self {
        Self::on(Database::empty(), alter)
    }

    pub(crate) fn on(database: Database, alter: impl FnOnce(Options) -> Options) -> Self {
        let options = alter(backend::options(&database));
        let bed = Self { db: backend::connect(options), database };
        bed.sql(NOTES);
        bed
    }

    /// The executor of another node.
    pub(crate) fn other_node(&self) -> Db {
        backend::connect(self.database.options(Arc::new(SystemClock)))
    }

    /// Runs SQL past the executor.
    pub(crate) fn sql(&self, sql: &str) -> String {
        backend::sql(self.database.name(), sql)
    }

    pub(crate) async fn read<T, W>(&self, ctx: Context, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.db.read_once(&ctx, "test.read", work).await
    }

    pub(crate) async fn write<T, W>(&self, ctx: Context, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.db.write(&ctx, "test.write", work).await
    }

    pub(crate) async fn add(&self, text: &'static str) -> Result<i64> {
        write_note(&self.db, text).await
    }

    pub(crate) async fn texts(&self) -> Vec<String> {
        texts(&self.db).await.unwrap()
    }
}

pub(crate) async fn add(conn: &mut Conn, text: &str) -> Result<i64> {
    conn.insert(&ADD_NOTE, &[text.into()]).await
}

pub(crate) async fn write_note(db: &Db, text: &'static str) -> Result<i64> {
    db.write(&ctx(), "notes.add", move |conn| Box::pin(add(conn, text))).await
}

pub(crate) async fn texts(db: &Db) -> Result<Vec<String>> {
    db.read(&ctx(), "notes.texts", |conn| Box::pin(conn.fetch_all(&NOTE_TEXTS, &[]))).await
}

pub(crate) fn ctx() -> Context {
    ctx_for(Duration::from_mins(1))
}

pub(crate) fn ctx_for(time: Duration) -> Context {
    let deadline = Deadline::at(SystemClock.instant() + time);
    Context::new(Caller::Operator, "test", deadline)
}
