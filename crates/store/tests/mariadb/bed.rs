//! A database, the executor on it, and a way past both.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Context, Deadline, Result};
use inkstone_store::db::{BoxFuture, Conn, Db, MariaDbOptions, Statement};
use inkstone_testkit::services::MariaDb;

use crate::database::Database;

pub(crate) const ADD_NOTE: Statement =
    Statement { name: "notes.add", sql: "insert into notes (text) values ($1) returning id" };
pub(crate) const NOTE_TEXTS: Statement = Statement { name: "notes.texts", sql: "select text from notes order by id" };

/// The row of numbers is what a write locks.
pub(crate) const NOTES: &str = "create table counters (name varchar(64) primary key, value bigint not null);
insert into counters values ('change_seq', 0);
create table notes (
    id   bigint not null auto_increment primary key,
    text varchar(700) character set utf8mb4 collate utf8mb4_nopad_bin not null,
    next bigint,
    constraint notes_text_length check (length(text) <= 255),
    constraint notes_next_fkey foreign key (next) references notes (id),
    constraint notes_text_key unique (text)
)";

pub(crate) struct Bed {
    pub(crate) db: Db,
    // After the executor: a database in use cannot go.
    pub(crate) database: Database,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|options| options)
    }

    pub(crate) fn with(alter: impl FnOnce(MariaDbOptions) -> MariaDbOptions) -> Self {
        let database = Database::empty();
        let bed = Self { db: Db::connect_mariadb(alter(database.options(Arc::new(SystemClock)))), database };
        bed.sql(NOTES);
        bed
    }

    /// Runs SQL past the executor.
    pub(crate) fn sql(&self, sql: &str) -> String {
        MariaDb::shared().sql(self.database.name(), sql)
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
        self.db.write(&ctx(), "notes.add", move |conn| Box::pin(add(conn, text))).await
    }

    pub(crate) async fn texts(&self) -> Vec<String> {
        let texts = self.db.read(&ctx(), "notes.texts", |conn| Box::pin(conn.fetch_all(&NOTE_TEXTS, &[]))).await;
        texts.unwrap()
    }
}

pub(crate) async fn add(conn: &mut Conn, text: &str) -> Result<i64> {
    conn.insert(&ADD_NOTE, &[text.into()]).await
}

pub(crate) fn ctx() -> Context {
    ctx_for(Duration::from_mins(1))
}

pub(crate) fn ctx_for(time: Duration) -> Context {
    let deadline = Deadline::at(SystemClock.instant() + time);
    Context::new(Caller::Operator, "test", deadline)
}
