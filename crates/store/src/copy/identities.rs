//! The numbers that a database gives to new rows: copied, so that none is given twice.

use inkstone_core::{Error, Result};

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

/// Under MySQL it is asked for what is, not for what was once counted: see `db/mariadb/flavor.rs`.
const MARIADB_LAST: Statement = Statement {
    name: "copy.mariadb.last_number",
    sql: "select max(cast(t.auto_increment as bigint)) - 1
          from information_schema.tables t
          where t.table_schema = database() and t.table_name = $1",
};

/// A row that bears a number, and goes again at once: the numbers go on after it, since MariaDB takes
/// none back. What would set the number itself ends the transaction, and takes no parameter.
struct Passing {
    table: &'static str,
    come: Statement,
    go: Statement,
}

const MARIADB_PASSING: &[Passing] = &[
    Passing {
        table: "tags",
        come: Statement {
            name: "copy.mariadb.tag_comes",
            sql: "insert into tags (id, name, slug, created_at, updated_at) values ($1, '', '', 0, 0)",
        },
        go: Statement { name: "copy.mariadb.tag_goes", sql: "delete from tags where id = $1" },
    },
    // Who gave these numbers is still there: people are never removed.
    Passing {
        table: "sessions",
        come: Statement {
            name: "copy.mariadb.session_comes",
            sql: "insert into sessions (id, user_id, scopes, created_at, last_used_at, expires_at)
                  select $1, u.id, '', 0, 0, 0 from users u order by u.id limit 1",
        },
        go: Statement { name: "copy.mariadb.session_goes", sql: "delete from sessions where id = $1" },
    },
    Passing {
        table: "personal_tokens",
        come: Statement {
            name: "copy.mariadb.personal_token_comes",
            sql: "insert into personal_tokens (id, user_id, name, hint, hash, scopes, created_at, expires_at)
                  select $1, u.id, '', '', '', '', 0, 0 from users u order by u.id limit 1",
        },
        go: Statement { name: "copy.mariadb.personal_token_goes", sql: "delete from personal_tokens where id = $1" },
    },
];

pub(super) const SQLITE_STATEMENTS: &[&Statement] = &[&SQLITE_LAST, &SQLITE_ADD, &SQLITE_ADVANCE];
pub(super) const POSTGRES_STATEMENTS: &[&Statement] = &[&POSTGRES_LAST, &POSTGRES_ADVANCE];

pub(super) fn mariadb_statements() -> Vec<&'static Statement> {
    let passing = MARIADB_PASSING.iter().flat_map(|passing| [&passing.come, &passing.go]);
    [&MARIADB_LAST].into_iter().chain(passing).collect()
}

/// The last number that a table has given, as far as the database keeps it apart from the rows: 0
/// if it never gave one, or does not keep it.
pub(super) async fn last(conn: &mut Conn, dialect: Dialect, table: &str) -> Result<i64> {
    let statement = match dialect {
        Dialect::Sqlite => &SQLITE_LAST,
        Dialect::Postgres => &POSTGRES_LAST,
        Dialect::MariaDb => &MARIADB_LAST,
    };
    let last: Option<i64> = conn.fetch_one(statement, &[Value::Text(table)]).await?;
    Ok(last.unwrap_or(0))
}

/// Makes sure that a table gives only numbers after this one. `keeps` says whether rows with the
/// highest numbers may be gone: only then SQLite keeps the number apart from the rows, and only then
/// MariaDB does not know it from them.
pub(super) async fn advance(conn: &mut Conn, dialect: Dialect, table: &str, keeps: bool, to: i64) -> Result<()> {
    if to == 0 || last(conn, dialect, table).await? >= to {
        return Ok(());
    }
    match dialect {
        Dialect::Sqlite if keeps => {
            conn.execute(&SQLITE_ADD, &[Value::Text(table)]).await?;
            conn.execute(&SQLITE_ADVANCE, &[Value::Text(table), to.into()]).await?;
        }
        Dialect::MariaDb if keeps => {
            let passing = MARIADB_PASSING.iter().find(|passing| passing.table == table);
            let Passing { come, go, .. } =
                passing.ok_or_else(|| Error::internal(format!("nothing advances the numbers of {table}")))?;
            conn.execute(come, &[to.into()]).await?;
            conn.execute(go, &[to.into()]).await?;
        }
        Dialect::Sqlite | Dialect::MariaDb => {}
        Dialect::Postgres => {
            let _given: i64 = conn.fetch_one(&POSTGRES_ADVANCE, &[Value::Text(table), to.into()]).await?;
        }
    }
    Ok(())
}
