//! The copying itself: see the parent module for how it goes.

use std::fmt;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::SharedClock;
use inkstone_core::{Context, Deadline, Error, Result};

use super::digest::Hashing;
use super::limits::Limits;
use super::mark::State;
use super::tables::{COUNTERS, INDEXABLE, INDEXED, INDEXED_TEXTS, NUMBERED, TABLES, TOGETHER, Table};
use super::walk::{Datum, Record, Walk};
use super::{Comparison, Copied, How, Manifest, Phase, Progress, Stopped, TableDigest, Watch, identities, mark};
use crate::db::{BoxFuture, Conn, Db, Dialect};
use crate::posts;

/// How long a page may take.
const PAGE_DEADLINE: Duration = Duration::from_mins(10);

/// The most bytes of rows that come many to a statement, far below what any server takes at once.
const TOGETHER_BYTES: u64 = 256 << 10;

/// Copies one database to another. Both have the schema of this program.
#[derive(Clone)]
pub struct Copier {
    /// The source. Nothing is written to it.
    pub from: Db,
    /// The target.
    pub to: Db,
    /// For deadlines.
    pub clock: SharedClock,
    /// Is told of the progress.
    pub watch: Watch,
}

impl fmt::Debug for Copier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

/// Which database, and so which of the two is asked for the index of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

impl Copier {
    /// How many rows the source has.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rows(&self) -> Result<u64> {
        self.read(Side::From, "copy.count", |conn| Box::pin(count(conn))).await
    }

    /// Copies, or goes on with an interrupted copy of this source as it is now. With `restart` an
    /// unfinished copy of whatever is thrown away first.
    ///
    /// # Errors
    /// Why it was not done, or not to its end; then the same call goes on.
    pub async fn run(&self, restart: bool) -> Result<Copied, Stopped> {
        if self.read(Side::From, "copy.mark", |conn| Box::pin(mark::read(conn))).await?.is_some() {
            return Err(Stopped::SourceUnfinished);
        }
        let source = self.manifest(Side::From, Phase::Read).await?;
        let identity = source.identity();
        let mut how = How::Afresh;
        match self.read(Side::To, "copy.state", |conn| Box::pin(mark::state(conn))).await? {
            State::Empty | State::Marked(mark::PREPARED) => {
                self.write("copy.begin", move |conn| Box::pin(mark::begin(conn, identity))).await?;
            }
            State::Marked(mark) if restart => self.empty(mark, identity).await?,
            State::Marked(mark) if mark == identity => how = How::Resumed,
            State::Marked(_) => return Err(Stopped::OtherCopy),
            State::Taken(rows) => return self.is_already_there(source, rows).await,
        }
        for table in TABLES.iter() {
            self.copy(table, identity).await?;
        }
        self.index(identity).await?;
        self.check(&source).await?;
        self.finish(&source).await?;
        Ok(Copied { how, manifest: source })
    }

    /// Compares both as they are now. Writes nothing.
    ///
    /// # Errors
    /// Those of the databases.
    pub async fn compare(&self) -> Result<Comparison, Stopped> {
        let (from, to) =
            tokio::try_join!(self.manifest(Side::From, Phase::Check), self.manifest(Side::To, Phase::Check))?;
        Ok(Comparison { from, to, behind: self.behind().await? })
    }

    fn context(&self) -> Context {
        Context::new(Caller::Operator, "store.copy", Deadline::at(self.clock.instant() + PAGE_DEADLINE))
    }

    async fn read<T, W>(&self, side: Side, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let db = match side {
            Side::From => &self.from,
            Side::To => &self.to,
        };
        db.read_once(&self.context(), name, work).await
    }

    async fn write<T, W>(&self, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.to.write(&self.context(), name, work).await
    }

    fn tell(&self, phase: Phase, table: &'static str, rows: usize) {
        (self.watch)(Progress { phase, table, rows: rows as u64 });
    }

    async fn page(&self, side: Side, walk: &'static Walk, after: Option<Record>) -> Result<Vec<Record>> {
        self.read(side, "copy.page", move |conn| Box::pin(async move { walk.page(conn, after.as_ref()).await })).await
    }

    /// Reads a database from end to end.
    async fn manifest(&self, side: Side, phase: Phase) -> Result<Manifest, Stopped> {
        let indexed = if side == Side::From { &*INDEXABLE } else { &*INDEXED };
        let limits = if side == Side::From { self.limits().await? } else { Limits::none() };
        let walks = TABLES.iter().map(|table| &table.walk).chain([indexed, &COUNTERS.walk]);
        let mut tables = Vec::new();
        for walk in walks {
            tables.push(self.digest(side, walk, phase, &limits).await?);
        }
        Ok(Manifest { tables })
    }

    /// What the target can hold.
    async fn limits(&self) -> Result<Limits> {
        let dialect = self.to.dialect();
        self.read(Side::To, "copy.limits", move |conn| Box::pin(Limits::of(conn, dialect))).await
    }

    async fn digest(
        &self,
        side: Side,
        walk: &'static Walk,
        phase: Phase,
        limits: &Limits,
    ) -> Result<TableDigest, Stopped> {
        let mut hashing = Hashing::of(walk.name);
        let mut after = None;
        loop {
            let rows = self.page(side, walk, after).await?;
            let Some(last) = rows.last() else { return Ok(hashing.finish()) };
            limits.check(walk, &rows)?;
            hashing.add(&rows);
            after = Some(walk.key_of(last));
            self.tell(phase, walk.name, rows.len());
        }
    }

    /// A target that holds something is refused, unless it is what would be copied.
    async fn is_already_there(&self, source: Manifest, rows: Vec<(&'static str, u64)>) -> Result<Copied, Stopped> {
        let counted =
            |table: &TableDigest| rows.iter().find(|(name, _)| *name == table.table).map_or(0, |(_, rows)| *rows);
        let ours = source.tables.iter().filter(|table| TABLES.iter().any(|listed| listed.walk.name == table.table));
        if ours.filter(|table| table.table != "site").any(|table| table.rows != counted(table)) {
            return Err(Stopped::NotEmpty(rows));
        }
        if self.manifest(Side::To, Phase::Check).await? != source || !self.behind().await?.is_empty() {
            return Err(Stopped::NotEmpty(rows));
        }
        Ok(Copied { how: How::AlreadyThere, manifest: source })
    }

    /// Throws away what an unfinished copy has brought so far.
    async fn empty(&self, mark: i64, identity: i64) -> Result<()> {
        // Said first, so that nobody takes what is left for the beginning of a copy.
        self.write("copy.empty", move |conn| Box::pin(mark::change(conn, mark, mark::EMPTYING))).await?;
        while self.write("copy.empty", |conn| Box::pin(mark::empty_some(conn))).await? {}
        self.write("copy.begin", move |conn| Box::pin(mark::change(conn, mark::EMPTYING, identity))).await
    }

    /// Copies what is missing of a table.
    async fn copy(&self, table: &'static Table, identity: i64) -> Result<()> {
        let (walk, dialect) = (&table.walk, self.to.dialect());
        let mut after = self.last_copied(walk).await?;
        loop {
            let rows = self.page(Side::From, walk, after.clone()).await?;
            let Some(last) = rows.last().map(|row| walk.key_of(row)) else { return Ok(()) };
            let count = rows.len();
            let before = after.replace(last);
            self.write("copy.write", move |conn| {
                Box::pin(async move {
                    mark::expect(conn, identity).await?;
                    mark::expect_last(conn, walk, before.as_ref()).await?;
                    insert(conn, dialect, table, &rows).await
                })
            })
            .await?;
            self.tell(Phase::Copy, walk.name, count);
        }
    }

    /// Puts the words of the posts into the index that are not in it yet.
    async fn index(&self, identity: i64) -> Result<()> {
        let (texts, walk) = (&*INDEXED_TEXTS, &*INDEXED);
        let mut after = self.last_copied(walk).await?;
        loop {
            let rows = self.page(Side::From, texts, after.clone()).await?;
            let Some(last) = rows.last().map(|row| texts.key_of(row)) else { return Ok(()) };
            let count = rows.len();
            let before = after.replace(last);
            self.write("copy.index", move |conn| {
                Box::pin(async move {
                    mark::expect(conn, identity).await?;
                    mark::expect_last(conn, walk, before.as_ref()).await?;
                    for row in &rows {
                        let [Datum::Int(post), Datum::Text(title), given, Datum::Text(html)] = row.0.as_slice() else {
                            return Err(Error::internal("a post without texts"));
                        };
                        let given = if let Datum::Text(given) = given { Some(given.as_str()) } else { None };
                        posts::insert_words(conn, *post, title, given, html).await?;
                    }
                    Ok(())
                })
            })
            .await?;
            self.tell(Phase::Copy, walk.name, count);
        }
    }

    /// The last row that an interrupted copy brought, which counts as done.
    async fn last_copied(&self, walk: &'static Walk) -> Result<Option<Record>> {
        let (last, rows) = self
            .read(Side::To, "copy.last", move |conn| {
                Box::pin(async move {
                    let last = walk.last(conn).await?;
                    let rows = if last.is_some() { walk.count(conn).await? } else { 0 };
                    Ok((last, rows))
                })
            })
            .await?;
        (self.watch)(Progress { phase: Phase::Copy, table: walk.name, rows });
        Ok(last)
    }

    /// Compares both with what the source was at the beginning.
    async fn check(&self, source: &Manifest) -> Result<(), Stopped> {
        let (from, to) =
            tokio::try_join!(self.manifest(Side::From, Phase::Check), self.manifest(Side::To, Phase::Check))?;
        let changed = source.differences(&from);
        if !changed.is_empty() {
            return Err(Stopped::SourceChanged(changed));
        }
        // The target's are still the mark and a nought.
        let other: Vec<_> = source.differences(&to).into_iter().filter(|table| *table != COUNTERS.walk.name).collect();
        if other.is_empty() { Ok(()) } else { Err(Stopped::Differs(other)) }
    }

    async fn finish(&self, source: &Manifest) -> Result<(), Stopped> {
        let walk = &COUNTERS.walk;
        let (identity, dialect) = (source.identity(), self.to.dialect());
        let numbers: Vec<i64> =
            self.numbers(Side::From).await?.iter().map(|(last, highest)| *last.max(highest)).collect();
        let rows = self.page(Side::From, walk, None).await?;
        let mut hashing = Hashing::of(walk.name);
        hashing.add(&rows);
        let digest = hashing.finish();
        let is_counters = |digest: &TableDigest| source.tables.last() == Some(digest);
        if !is_counters(&digest) {
            return Err(Stopped::SourceChanged(vec![walk.name]));
        }
        self.write("copy.finish", move |conn| {
            Box::pin(async move { mark::finish(conn, dialect, identity, &rows, &numbers).await })
        })
        .await?;
        if !is_counters(&self.digest(Side::To, walk, Phase::Check, &Limits::none()).await?) {
            return Err(Stopped::Differs(vec![walk.name]));
        }
        let behind = self.behind().await?;
        if behind.is_empty() { Ok(()) } else { Err(Stopped::Behind(behind)) }
    }

    /// For each table that numbers its rows, the last number that it says to have given, and the
    /// highest one that a row has.
    async fn numbers(&self, side: Side) -> Result<Vec<(i64, i64)>> {
        let dialect = if side == Side::From { self.from.dialect() } else { self.to.dialect() };
        self.read(side, "copy.numbers", move |conn| Box::pin(numbers(conn, dialect))).await
    }

    /// The tables of the target whose next number may not be new.
    async fn behind(&self) -> Result<Vec<&'static str>> {
        let (ours, theirs) = (self.numbers(Side::From).await?, self.numbers(Side::To).await?);
        let keeps_all = self.to.dialect() != Dialect::Sqlite;
        let mut behind = Vec::new();
        for (((table, keeps), (ours, _)), (theirs, highest)) in NUMBERED.iter().zip(ours).zip(theirs) {
            let wanted = if *keeps { highest.max(ours) } else { highest };
            if (*keeps || keeps_all) && theirs < wanted {
                behind.push(*table);
            }
        }
        Ok(behind)
    }
}

async fn count(conn: &mut Conn) -> Result<u64> {
    let mut rows = 0;
    for walk in TABLES.iter().map(|table| &table.walk).chain([&*INDEXABLE, &COUNTERS.walk]) {
        rows += walk.count(conn).await?;
    }
    Ok(rows)
}

async fn numbers(conn: &mut Conn, dialect: Dialect) -> Result<Vec<(i64, i64)>> {
    let mut numbers = Vec::new();
    for (name, _) in NUMBERED {
        let mut highest = 0;
        if let Some(table) = TABLES.iter().find(|table| table.walk.name == *name)
            && let Some(Record(key)) = table.walk.last(conn).await?
            && let [Datum::Int(number)] = key.as_slice()
        {
            highest = *number;
        }
        numbers.push((identities::last(conn, dialect, name).await?, highest));
    }
    Ok(numbers)
}

/// Brings rows. A statement for each is a round trip for each under MariaDB, so that small ones come
/// many to a statement there.
async fn insert(conn: &mut Conn, dialect: Dialect, table: &'static Table, rows: &[Record]) -> Result<()> {
    let Table { insert, insert_many, .. } = table;
    for rows in rows.chunks(if dialect == Dialect::MariaDb { TOGETHER } else { rows.len().max(1) }) {
        let bytes: u64 = rows.iter().map(Record::bytes).sum();
        if dialect == Dialect::MariaDb && rows.len() == TOGETHER && bytes <= TOGETHER_BYTES {
            let values: Vec<_> = rows.iter().flat_map(Record::values).collect();
            conn.execute(insert_many, &values).await?;
        } else {
            let rows: Vec<_> = rows.iter().map(Record::values).collect();
            conn.execute_each(insert, &rows).await?;
        }
    }
    Ok(())
}
