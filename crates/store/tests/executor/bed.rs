//! A database in a directory of its own, and a clock that only moves when told to.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::{Context, Deadline, Result};
use inkstone_store::db::{Conn, Db, FaultHook, SqliteOptions, Statement, Step, Trouble};
use inkstone_store::migrate::{Migration, Migrator};
use inkstone_testkit::HandClock;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) const SCHEMA: &[Migration] = &[Migration {
    number: 1,
    name: "test",
    needs: 1,
    sql: "
        create table notes (
            id   integer not null constraint notes_pkey primary key,
            text text not null,
            body blob,
            constraint notes_text_key unique (text),
            constraint notes_text_length check (length(text) <= 255)
        );
        create table links (
            note integer not null constraint links_note_fkey references notes (id),
            position integer not null,
            constraint links_note_position_key unique (note, position)
        );
        create table counters (name text not null constraint counters_pkey primary key, value integer not null);
        insert into counters (name, value) values ('hits', 0);",
}];

pub(crate) const ADD_NOTE: Statement =
    Statement { name: "notes.add", sql: "insert into notes (text, body) values ($1, $2) returning id" };
pub(crate) const NOTE_TEXTS: Statement = Statement { name: "notes.texts", sql: "select text from notes order by id" };
pub(crate) const HITS: Statement =
    Statement { name: "counters.get", sql: "select value from counters where name = 'hits'" };
pub(crate) const SET_HITS: Statement =
    Statement { name: "counters.set", sql: "update counters set value = $1 where name = 'hits'" };

pub(crate) struct Bed {
    pub(crate) db: Db,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) options: SqliteOptions,
    /// A context to share; [`Bed::ctx`] makes one with a meter of its own.
    pub(crate) ctx: Context,
    _directory: TempDir,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut SqliteOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = HandClock::new();
        let mut options = options_in(directory.path(), Arc::clone(&clock));
        change(&mut options);
        Migrator::of(SCHEMA).run(&options).unwrap();
        let db = Db::open(options.clone()).unwrap();
        let ctx = context_until(clock.deadline_in(Duration::from_mins(1)));
        Self { db, clock, options, ctx, _directory: directory }
    }

    pub(crate) fn ctx(&self) -> Context {
        context_until(self.clock.deadline_in(Duration::from_mins(1)))
    }

    pub(crate) async fn add(&self, text: &str) -> Result<i64> {
        add_note(&self.db, &self.ctx, text.to_owned(), 0).await
    }

    pub(crate) async fn texts(&self) -> Vec<String> {
        texts(&self.db, &self.ctx).await
    }

    /// Holds the writer inside a unit of work until the guard is opened.
    pub(crate) async fn hold_writer(&self) -> Gate {
        let (db, ctx) = (self.db.clone(), self.ctx());
        let (entered, gate, mut wait) = Gate::new();
        tokio::spawn(async move { db.write(&ctx, "test.hold", move |_| Box::pin(async move { wait() })).await });
        entered.await.unwrap();
        gate
    }

    /// Holds one reader until the guard is opened.
    pub(crate) async fn hold_reader(&self) -> Gate {
        let (db, ctx) = (self.db.clone(), self.ctx());
        let (entered, gate, mut wait) = Gate::new();
        tokio::spawn(async move { db.read_once(&ctx, "test.hold", move |_| Box::pin(async move { wait() })).await });
        entered.await.unwrap();
        gate
    }

    /// Lets the runtime go on until so many writes wait.
    pub(crate) async fn until_writes_wait(&self, count: u64) {
        while self.db.stats().writer.queued < count {
            tokio::task::yield_now().await;
        }
    }

    /// Lets the runtime go on until so many reads wait.
    pub(crate) async fn until_reads_wait(&self, count: u64) {
        while self.db.stats().readers.queued < count {
            tokio::task::yield_now().await;
        }
    }
}

/// Keeps a database thread busy until it is opened (or dropped).
pub(crate) struct Gate(std::sync::mpsc::Sender<()>);

impl Gate {
    pub(crate) fn new() -> (oneshot::Receiver<()>, Self, impl FnMut() -> Result<()> + Send + 'static) {
        let (enter, entered) = oneshot::channel();
        let (open, opened) = std::sync::mpsc::channel();
        let mut enter = Some(enter);
        let wait = move || {
            if let Some(enter) = enter.take() {
                enter.send(()).unwrap();
            }
            let _ = opened.recv();
            Ok(())
        };
        (entered, Self(open), wait)
    }

    pub(crate) fn open(self) {
        self.0.send(()).unwrap();
    }
}

pub(crate) fn options_in(directory: &Path, clock: Arc<HandClock>) -> SqliteOptions {
    SqliteOptions::new(directory.join("test.db"), clock)
}

pub(crate) fn context_until(deadline: Deadline) -> Context {
    Context::new(Caller::Anonymous, "test", deadline)
}

pub(crate) async fn add_note(db: &Db, ctx: &Context, text: String, body_bytes: usize) -> Result<i64> {
    db.write(ctx, "notes.add", move |conn| Box::pin(async move { insert_note(conn, &text, body_bytes).await })).await
}

pub(crate) async fn insert_note(conn: &mut Conn, text: &str, body_bytes: usize) -> Result<i64> {
    let body = vec![7_u8; body_bytes];
    conn.insert(&ADD_NOTE, &[text.into(), (&body).into()]).await
}

pub(crate) async fn texts(db: &Db, ctx: &Context) -> Vec<String> {
    db.read(ctx, "notes.texts", |conn| Box::pin(async move { conn.fetch_all(&NOTE_TEXTS, &[]).await })).await.unwrap()
}

/// Faults to come: each is given once, to the step that it is meant for.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<(Step, Trouble)>>>);

impl Faults {
    pub(crate) fn next(&self, step: Step, trouble: Trouble) {
        self.0.lock().unwrap().push((step, trouble));
    }

    pub(crate) fn hook(&self) -> FaultHook {
        let faults = Arc::clone(&self.0);
        Arc::new(move |step| {
            let mut faults = faults.lock().unwrap();
            let found = faults.iter().position(|(meant, _)| *meant == step)?;
            Some(faults.remove(found).1)
        })
    }
}
