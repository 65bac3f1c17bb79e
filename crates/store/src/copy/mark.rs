//! The mark of an unfinished copy: a counter of this name, whose value says of what.
//!
//! The counters are copied last, in the transaction that takes the mark away: a target is either
//! marked or whole. A target that had no tables gets the mark with them ([`PREPARE`]), so that a copy that dies
//! before its first row does not leave what looks like a blog of nobody.

use inkstone_core::{Code, Error, Result};

use super::identities;
use super::tables::{COUNTERS, INDEXED, NUMBERED, REMOVE_INDEXED, TABLES, Table};
use super::walk::{Record, Walk};
use crate::db::{Conn, Dialect, Statement};

const READ: Statement =
    Statement { name: "copy.mark.read", sql: "select value from counters where name = 'store.copy'" };
const SET: Statement =
    Statement { name: "copy.mark.set", sql: "insert into counters (name, value) values ('store.copy', $1)" };
const REMOVE: Statement = Statement { name: "copy.mark.remove", sql: "delete from counters where name = 'store.copy'" };
const REMOVE_SITE: Statement = Statement { name: "copy.site.clear", sql: "delete from site" };
const REMOVE_COUNTERS: Statement = Statement { name: "copy.counters.clear", sql: "delete from counters" };

pub(super) const STATEMENTS: &[&Statement] = &[&READ, &SET, &REMOVE, &REMOVE_SITE, &REMOVE_COUNTERS];

/// What stands in the mark while a target is being emptied.
pub(super) const EMPTYING: i64 = 0;

/// What stands in the mark while nothing has been copied yet: a copy of whatever may begin here.
pub(super) const PREPARED: i64 = 1;

/// Marks a target with [`PREPARED`], in every dialect, in the same step that makes the table.
pub(crate) const PREPARE: &str = "insert into counters (name, value) values ('store.copy', 1)";

/// What a target holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing but what the migrations put there.
    Empty,
    /// A part of what this number stands for.
    Marked(i64),
    /// Something else: these tables have rows.
    Taken(Vec<(&'static str, u64)>),
}

/// The mark, if there is one.
pub(super) async fn read(conn: &mut Conn) -> Result<Option<i64>> {
    conn.fetch_optional(&READ, &[]).await
}

pub(super) async fn state(conn: &mut Conn) -> Result<State> {
    if let Some(mark) = read(conn).await? {
        return Ok(State::Marked(mark));
    }
    let mut taken = Vec::new();
    // The migrations put one row there.
    for table in TABLES.iter().filter(|table| table.walk.name != "site") {
        let rows = table.walk.count(conn).await?;
        if rows > 0 {
            taken.push((table.walk.name, rows));
        }
    }
    Ok(if taken.is_empty() { State::Empty } else { State::Taken(taken) })
}

/// Marks an empty target, or one in which nothing is but the mark that came with its tables.
pub(super) async fn begin(conn: &mut Conn, identity: i64) -> Result<()> {
    match state(conn).await? {
        State::Empty => {}
        State::Marked(PREPARED) => {
            conn.execute(&REMOVE, &[]).await?;
        }
        State::Marked(_) | State::Taken(_) => return Err(another()),
    }
    conn.execute(&REMOVE_SITE, &[]).await?;
    conn.execute(&SET, &[identity.into()]).await?;
    Ok(())
}

/// Gives a marked target another mark.
pub(super) async fn change(conn: &mut Conn, from: i64, to: i64) -> Result<()> {
    expect(conn, from).await?;
    conn.execute(&REMOVE, &[]).await?;
    conn.execute(&SET, &[to.into()]).await?;
    Ok(())
}

/// Refuses to go on if somebody else has changed the mark.
pub(super) async fn expect(conn: &mut Conn, mark: i64) -> Result<()> {
    if read(conn).await? == Some(mark) { Ok(()) } else { Err(another()) }
}

/// Refuses to go on if somebody else has written rows to the target.
pub(super) async fn expect_last(conn: &mut Conn, walk: &'static Walk, last: Option<&Record>) -> Result<()> {
    if walk.last(conn).await?.as_ref() == last { Ok(()) } else { Err(another()) }
}

/// Takes the mark away and puts the counters there: all at once, the copy is whole.
pub(super) async fn finish(
    conn: &mut Conn,
    dialect: Dialect,
    mark: i64,
    counters: &[Record],
    numbers: &[i64],
) -> Result<()> {
    expect(conn, mark).await?;
    for ((table, keeps), last) in NUMBERED.iter().zip(numbers) {
        identities::advance(conn, dialect, table, *keeps, *last).await?;
    }
    conn.execute(&REMOVE_COUNTERS, &[]).await?;
    let rows: Vec<_> = counters.iter().map(Record::values).collect();
    conn.execute_each(&COUNTERS.insert, &rows).await?;
    Ok(())
}

/// Removes a page of rows of a marked target, of the last table that has any; whether there was one.
pub(super) async fn empty_some(conn: &mut Conn) -> Result<bool> {
    expect(conn, EMPTYING).await?;
    if let Some(end) = INDEXED.end(conn, None).await? {
        conn.execute(&REMOVE_INDEXED, &end.values()).await?;
        return Ok(true);
    }
    for Table { walk, remove, .. } in TABLES.iter().rev() {
        if let Some(end) = walk.end(conn, None).await? {
            conn.execute(remove, &end.values()).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn another() -> Error {
    Error::refused(Code::Conflict, "Somebody else is writing to the target.")
}
