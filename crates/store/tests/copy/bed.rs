//! Databases to copy from and to, a blog with something of everything, and a way past the executor.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Context, Deadline};
use inkstone_store::copy::{Copied, Copier, Phase, Progress, Stopped, Watch};
use inkstone_store::db::{Db, FaultHook, MariaDbOptions, PostgresOptions, SqliteOptions};
use inkstone_store::migrate;
use inkstone_testkit::services::MariaDb;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::database::Database;
use crate::mariadb_database;

/// A database in a file.
pub(crate) struct File {
    directory: TempDir,
}

impl File {
    /// One that is not there yet.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// One without a blog.
    pub(crate) fn empty() -> Self {
        static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let file = Self::new();
            migrate::run(&file.options()).unwrap();
            std::fs::read(file.path()).unwrap()
        });
        let file = Self::new();
        std::fs::write(file.path(), template).unwrap();
        file
    }

    /// One with something in every table, and what is at the edge of what can be kept.
    pub(crate) fn full() -> Self {
        let file = Self::empty();
        file.sql(FULL);
        let connection = file.connection();
        let mut add =
            connection.prepare("insert into slug_history (slug, post_id, created_at) values (?, 1, ?)").unwrap();
        for (place, text) in EDGES.iter().enumerate() {
            add.execute((text, i64::MIN + i64::try_from(place).unwrap())).unwrap();
        }
        let mut add = connection.prepare("insert into secrets (name, value) values (?, ?)").unwrap();
        let secrets = [&b""[..], &[0], &[0, 0], &[0xff, 0xfe], b"\\x41", &[0x80; 300]];
        for (place, bytes) in secrets.iter().enumerate() {
            add.execute((format!("secret-{place}"), bytes)).unwrap();
        }
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("blog.db")
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Runs SQL past the executor.
    pub(crate) fn sql(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions { readers: 1, ..SqliteOptions::new(self.path(), Arc::new(SystemClock)) }
    }

    pub(crate) fn open(&self) -> Db {
        Db::open(self.options()).unwrap()
    }

    pub(crate) fn open_with(&self, faults: FaultHook) -> Db {
        Db::open(SqliteOptions { faults: Some(faults), ..self.options() }).unwrap()
    }

    /// Every row of every table but the index of words, in words of SQL: what the copy's own way
    /// of reading is held against.
    pub(crate) fn dump(&self) -> Vec<String> {
        let connection = self.connection();
        let lines = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let tables = "select name from sqlite_schema where type = 'table' and name not like 'sqlite%'
                      and name not like 'posts_search%' and name <> 'schema_migrations' order by name";
        let mut dump = Vec::new();
        for table in lines(tables) {
            let columns = lines(&format!("select name from pragma_table_info('{table}') order by name"));
            let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
            let mut rows = lines(&format!("select '{table}: ' || {} from {table}", quoted.join(" || ', ' || ")));
            rows.sort();
            dump.extend(rows);
        }
        dump
    }
}

/// A database on the shared server.
pub(crate) struct Remote {
    pub(crate) db: Db,
    // After the executor: a database in use cannot go.
    pub(crate) database: Database,
}

impl Remote {
    pub(crate) async fn empty() -> Self {
        Self::with(|options, _| options).await
    }

    pub(crate) async fn with(alter: impl FnOnce(PostgresOptions, &str) -> PostgresOptions) -> Self {
        let database = Database::migrated().await;
        let options = alter(database.options(Arc::new(SystemClock)), database.name());
        Self { db: Db::connect(PostgresOptions { readers: 1, ..options }).unwrap(), database }
    }
}

/// A database of MariaDB on the shared server.
pub(crate) struct Maria {
    pub(crate) db: Db,
    // After the executor: a database in use cannot go.
    database: mariadb_database::Database,
}

impl Maria {
    pub(crate) async fn empty() -> Self {
        let database = mariadb_database::Database::migrated().await;
        let options = database.options(Arc::new(SystemClock));
        Self { db: Db::connect_mariadb(options), database }
    }

    /// Runs SQL past the executor.
    pub(crate) fn sql(&self, sql: &str) -> String {
        MariaDb::shared().sql(self.database.name(), sql)
    }

    pub(crate) fn name(&self) -> String {
        self.database.name().to_owned()
    }

    pub(crate) fn options(&self) -> MariaDbOptions {
        self.database.options(Arc::new(SystemClock))
    }
}

/// A copier that nobody watches.
pub(crate) fn copier(from: &Db, to: &Db) -> Copier {
    watched(from, to, |_| {})
}

pub(crate) fn watched(from: &Db, to: &Db, watch: impl Fn(Progress) + Send + Sync + 'static) -> Copier {
    let watch: Watch = Arc::new(watch);
    Copier { from: from.clone(), to: to.clone(), clock: Arc::new(SystemClock), watch }
}

/// Copies, and holds the two against one another.
pub(crate) async fn copy(from: &Db, to: &Db) -> Copied {
    let copier = copier(from, to);
    let copied = copier.run(false).await.unwrap();
    let comparison = copier.compare().await.unwrap();
    assert!(comparison.is_same(), "{comparison:#?}");
    assert_eq!(comparison.from, copied.manifest);
    copied
}

/// Does something once, when the rows of this table have been copied.
pub(crate) fn after_copying(
    table: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> impl Fn(Progress) + Send + Sync {
    let work = Mutex::new(Some(work));
    move |progress: Progress| {
        if progress.phase == Phase::Copy && progress.table == table && progress.rows > 0 {
            let work = work.lock().unwrap().take();
            if let Some(work) = work {
                work();
            }
        }
    }
}

/// An operator's, for a minute.
pub(crate) fn context() -> Context {
    let deadline = Deadline::at(SystemClock.instant() + Duration::from_mins(1));
    Context::new(Caller::Operator, "test", deadline)
}

/// The tables that it stopped at.
pub(crate) fn tables_of(stopped: Stopped) -> Vec<&'static str> {
    match stopped {
        Stopped::SourceChanged(tables) | Stopped::Differs(tables) => tables,
        other => panic!("{other:?}"),
    }
}

/// Texts that something along the way could mistake for something else. In the order of a list by
/// bytes they stand otherwise than in most others.
const EDGES: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "a ",
    "\u{1}\t\r\n\u{7f}",
    "e\u{301}",
    "\u{e9}",
    "\u{df}",
    "ss",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{feff}x",
    "\u{202e}abc",
    "\u{1f469}\u{200d}\u{1f4bb}",
    "\u{d7ff}\u{e000}",
    "'; drop table posts; --",
    "\\x41\\N\\0",
    "$1 %s ? {}",
    "\u{130}\u{131}I\u{fb01}",
    "\u{1f469}\u{200d}\u{1f4bc}",
    "\"a\" `b` -- /* c */ %_",
];

const FULL: &str = "
    update site set settings = '{\"title\": \"Ink\"}', version = 3, updated_at = 7;
    update counters set value = 42 where name = 'change_seq';
    insert into users (id, handle, email, email_folded, display_name, role, is_public, password_hash, created_at, updated_at) values
        (1, 'ada', 'Ada@example.org', 'ada@example.org', 'Ada \u{2603}', 'administrator', 1, '$argon2id$x', 1, 2),
        (2, 'bob', null, null, 'Bob', 'reader', 0, null, 1, 2);
    insert into tags (id, name, slug, created_at, updated_at) values (1, 'Ink', 'ink', 1, 1), (9, 'Gone', 'gone', 1, 1);
    delete from tags where id = 9;
    insert into posts (id, slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at, updated_at,
                       words, revision, draft_revision, was_public, deleted_at) values
        (1, 'one', 'One stone', 'Text', 1, 1, 'published', 5, 1, 2, 3, 1, 2, 1, null),
        (2, null, 'Gone', '', 0, 1, 'deleted', null, 1, 2, 0, 1, null, 1, 9),
        (7, 'seven', 'Seven', '', 0, 2, 'draft', null, 1, 2, 0, 1, null, 0, null);
    insert into revisions (id, post_id, number, title, excerpt, summary, words, renderer, created_by, created_at, markdown, html) values
        (1, 1, 1, 'One stone', 'A word', 'Text', 1, 'r', 1, 1, 'Text', '<p>Pebbles</p>'),
        (2, 1, 2, 'One more', null, 'Text', 1, 'r', null, 1, 'More', '<p>More</p>'),
        (3, 2, 1, 'Gone', null, 'Text', 1, 'r', 1, 1, 'Lost', '<p>Lost</p>'),
        (4, 7, 1, 'Seven', null, 'Text', 1, 'r', 1, 1, 'Sand', '<p>Sand</p>');
    insert into posts_search (rowid, title, excerpt, body) values (1, 'one stone', 'a word', 'pebbles'), (7, 'seven', '', 'sand');
    insert into publications (id, post_id, revision, starts_at, ends_at, published_at, created_by) values (3, 1, 1, 5, null, 5, 1);
    insert into post_authors (post_id, position, user_id, published_at) values (1, 0, 1, 5), (1, 1, 2, 5), (2, 0, 1, null), (7, 0, 2, null);
    insert into post_tags (post_id, position, tag_id, published_at) values (1, 0, 1, 5);
    insert into redirects (path, post_id, created_at) values ('/old', 1, 1);
    insert into imports (source, key, post_id, fingerprint) values ('s', 'b', 1, x'00ff'), ('s', 'B', 1, x''), ('S', 'c', 1, x'01');
    insert into outbox (change_seq, event_id, kind, subject, entities, payload, request_id, at) values
        (41, 'e41', 'post.published', 'post:1', '[\"post:1\"]', '{}', 'r', 1), (42, 'e42', 'post.changed', 'post:1', '[]', '{}', 'r', 1);
    insert into outbox_cursors (consumer, change_seq, lease_owner, lease_until) values ('relay', 41, 'n', 3);
    insert into idempotency_keys (scope, key, fingerprint, status, headers, created_at, expires_at, body) values
        ('1', 'k', x'aa', 201, '[]', 1, 2, x'7b7d');
    insert into audit_log (id, at, actor_kind, actor_id, action, subject, request_id, details)
        with recursive n (n) as (select 1 union all select n + 1 from n where n < 600)
        select n, n, 'operator', null, 'test', 'user:1', 'r', '{\"n\": ' || n || '}' from n;
    insert into sessions (id, user_id, scopes, created_at, last_used_at, expires_at, revoked_at) values
        (5, 1, 'read', 1, 1, 9, null), (6, 1, 'read', 1, 1, 9, null);
    delete from sessions where id = 6;
    insert into refresh_tokens (hash, session_id, created_at, expires_at, used_at) values (x'00', 5, 1, 2, null), (x'ff00', 5, 1, 2, 2);
    insert into personal_tokens (id, user_id, name, hint, hash, scopes, created_at, expires_at) values (4, 1, 'n', 'h', x'0102', 'read', 1, 2);
    insert into signing_keys (kid, state, pkcs8, public, created_at, state_since) values ('k1', 'active', x'30', x'31', 1, 1);
    insert into leases (name, owner, token, held_since, held_until, done_at) values ('rotate', 'n', 7, 1, 2, null);
    insert into login_throttles (key, failures, blocked_until, expires_at) values ('ada', '[1]', null, 5);
";
