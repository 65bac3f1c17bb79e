//! The numbers that a database gives to new rows: copied, so that none is given twice.

use inkstone_core::{Code, Error, Result};

use crate::db::{Conn, Dialect, Statement, Value};

const SQLITE_LAST: Statement =
    Statement { name: "copy.sqlite.last_number", sql: "select max(seq) from sqlite_sequence where name = $1" };

/// There is no row for a table that never had one.
const SQLITE_ADD: Statement = Statement {
    name: "copy.sqlite.add_number",
    sql: "insert into sqlite_sequence (name, seq)
          select $1, 0 where not exists (select 1 from sqlite_sequence where name = $1)",
};

const SQLITE_ADVANCE: Statement =
    Statement { name: "copy.sqlite.advance", sql: "update sqlite_sequence set seq = $2 where name = $1 and seq < $2" };

const POSTGRES_LAST: Statement = Statement {
    name: "copy.postgres.last_number",
    sql: "select pg_sequence_last_value(cast(pg_get_serial_sequence($1, 'id') as regclass))",
};

const POSTGRES_ADVANCE: Statement = Statement {
    name: "copy.postgres.advance",
    sql: "select setval(cast(pg_get_serial_sequence($1, 'id') as regclass), $2)",
};

pub(super) const SQLITE_STATEMENTS: &[&Statement] = &[&SQLITE_LAST, &SQLITE_ADD, &SQLITE_ADVANCE];
pub(super) const POSTGRES_STATEMENTS: &[&Statement] = &[&POSTGRES_LAST, &POSTGRES_ADVANCE];

/// The last number that a table has given, as far as the database keeps it apart from the rows: 0
/// if it never gave one, or does not keep it.
pub(super) async fn last(conn: &mut Conn, dialect: Dialect, table: &str) -> Result<i64> {
    let statement = match dialect {
        Dialect::Sqlite => &SQLITE_LAST,
        Dialect::Postgres => &POSTGRES_LAST,
        Dialect::MariaDb => return Err(not_yet()),
    };
    let last: Option<i64> = conn.fetch_one(statement, &[Value::Text(table)]).await?;
    Ok(last.unwrap_or(0))
}

/// Makes sure that a table gives only numbers after this one. `keeps` says whether rows with the
/// highest numbers may be gone: only then SQLite keeps the number apart from the rows.
pub(super) async fn advance(conn: &mut Conn, dialect: Dialect, table: &str, keeps: bool, to: i64) -> Result<()> {
    if to == 0 || last(conn, dialect, table).await? >= to {
        return Ok(());
    }
    match dialect {
        Dialect::Sqlite if keeps => {
            conn.execute(&SQLITE_ADD, &[Value::Text(table)]).await?;
            conn.execute(&SQLITE_ADVANCE, &[Value::Text(table), to.into()]).await?;
        }
        Dialect::Sqlite => {}
        Dialect::Postgres => {
            let _given: i64 = conn.fetch_one(&POSTGRES_ADVANCE, &[Value::Text(table), to.into()]).await?;
        }
        Dialect::MariaDb => return Err(not_yet()),
    }
    Ok(())
}

/// Where MariaDB keeps its numbers cannot be set in a transaction.
fn not_yet() -> Error {
    Error::refused(
        Code::BadQuery,
        "Blogs are copied between SQLite and PostgreSQL; with MariaDB this cannot be done yet.",
    )
}
