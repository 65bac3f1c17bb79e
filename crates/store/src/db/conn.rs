//! The connection that a unit of work gets, whichever database is behind it.

use std::sync::Arc;

use inkstone_core::context::Meter;
use inkstone_core::events::{Entity, Mark};
use inkstone_core::{Error, Result};
use jiff::Timestamp;

use super::sqlite::Link;
use super::{FromRow, SqlError, Statement, Value, mariadb, postgres};

/// A connection for the length of one unit of work. Every call counts in the request's meter.
#[derive(Debug)]
pub struct Conn {
    arm: Arm,
    pub(super) meter: Arc<Meter>,
}

#[derive(Debug)]
enum Arm {
    /// Answers on the spot.
    Sqlite(Link),
    Postgres(postgres::Session),
    MariaDb(mariadb::Session),
}

impl Arm {
    async fn fetch_all<T: FromRow>(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(link) => link.fetch_all(statement, values),
            Self::Postgres(session) => session.fetch_all(statement, values).await,
            Self::MariaDb(session) => session.fetch_all(statement, values).await,
        }
    }

    async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        match self {
            Self::Sqlite(link) => link.execute(statement, values),
            Self::Postgres(session) => session.execute(statement, values).await,
            Self::MariaDb(session) => session.execute(statement, values).await,
        }
    }
}

impl Conn {
    /// All rows.
    ///
    /// # Errors
    /// `TryLater` or `DeadlineExceeded` as the database is; `Internal` with a [`SqlError`]
    /// otherwise, constraints included: see [`constraint_of`](super::constraint_of).
    pub async fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        self.meter.count_statement();
        self.arm.fetch_all(statement, values).await
    }

    /// All rows of a statement that needs no snapshot in common with what follows in this unit of work: a read of one
    /// statement is cheapest so. It must not take long: others may wait for it, over the same connection.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`].
    pub async fn fetch_apart<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        self.meter.count_statement();
        match &mut self.arm {
            Arm::Postgres(session) => session.fetch_apart(statement, values).await,
            arm @ (Arm::Sqlite(_) | Arm::MariaDb(_)) => arm.fetch_all(statement, values).await,
        }
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`]; `Internal` if there are two.
    pub async fn fetch_optional<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Option<T>> {
        let mut rows = self.fetch_all(statement, values).await?;
        if rows.len() > 1 {
            return Err(Error::internal(SqlError::new(statement.name, "more than one row where at most one belongs")));
        }
        Ok(rows.pop())
    }

    /// The one row that must be there, such as a count or what `returning` gives.
    ///
    /// # Errors
    /// As [`Conn::fetch_optional`]; `Internal` if there is none.
    pub async fn fetch_one<T: FromRow>(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<T> {
        let row = self.fetch_optional(statement, values).await?;
        row.ok_or_else(|| Error::internal(SqlError::new(statement.name, "no row where one belongs")))
    }

    /// Runs an `insert … returning id` of one row and gives its id.
    ///
    /// # Errors
    /// As [`Conn::fetch_one`].
    pub async fn insert(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<i64> {
        if let Arm::MariaDb(session) = &mut self.arm {
            self.meter.count_statement();
            return session.insert(statement, values).await;
        }
        self.fetch_one(statement, values).await
    }

    /// Runs an `insert`, `update` or `delete` and says how many rows it touched.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`].
    pub async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        self.meter.count_statement();
        self.arm.execute(statement, values).await
    }

    /// Runs an `insert`, `update` or `delete` of which nobody here needs to know more than that it
    /// succeeds. A database far away may get it only with the next statement, or at the end of the
    /// unit of work; the error is given there, whoever is asking.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`], of this statement or of one before it.
    pub async fn execute_later(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<()> {
        self.meter.count_statement();
        match &mut self.arm {
            Arm::Postgres(session) => session.execute_later(statement, values).await,
            arm @ (Arm::Sqlite(_) | Arm::MariaDb(_)) => arm.execute(statement, values).await.map(drop),
        }
    }

    /// Runs one statement for each of these rows, in their order; how many rows that touched. Over
    /// a network it costs some round trips, not one for each row.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`], of the first row that failed.
    pub async fn execute_each(&mut self, statement: &'static Statement, rows: &[Vec<Value<'_>>]) -> Result<u64> {
        self.meter.count_statement();
        if let Arm::Postgres(session) = &mut self.arm {
            return session.execute_each(statement, rows).await;
        }
        let mut touched = 0;
        for values in rows {
            touched += self.arm.execute(statement, values).await?;
        }
        Ok(touched)
    }

    /// What time it is for all who share the database: its server says so, since the clocks of nodes
    /// differ. A file has no clock but that of its one process, which is `own`.
    ///
    /// # Errors
    /// As [`Conn::fetch_one`].
    pub(crate) async fn time(&mut self, own: Timestamp) -> Result<Timestamp> {
        match self.clock() {
            Some(clock) => self.fetch_one(clock, &[]).await,
            None => Ok(own),
        }
    }

    /// As [`Conn::time`], in one round trip and no transaction; `None` of a file.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn time_apart(&mut self) -> Result<Option<Timestamp>> {
        let Some(clock) = self.clock() else { return Ok(None) };
        Ok(self.fetch_apart(clock, &[]).await?.pop())
    }

    /// What asks a server for its time.
    fn clock(&self) -> Option<&'static Statement> {
        match &self.arm {
            Arm::Sqlite(_) => None,
            Arm::Postgres(_) => Some(&postgres::TIME),
            Arm::MariaDb(_) => Some(&mariadb::TIME),
        }
    }

    /// Notes in the request's meter that it has made this change.
    pub(crate) fn note_written(&self, change: Mark, touched: &[Entity]) {
        self.meter.note_written(change, touched);
    }
}

// Each arm makes its own connections, and no other.
impl Conn {
    pub(super) fn sqlite(link: Link) -> Self {
        Self { arm: Arm::Sqlite(link), meter: Arc::default() }
    }

    pub(super) fn postgres(session: postgres::Session, meter: Arc<Meter>) -> Self {
        Self { arm: Arm::Postgres(session), meter }
    }

    pub(super) fn mariadb(session: mariadb::Session, meter: Arc<Meter>) -> Self {
        Self { arm: Arm::MariaDb(session), meter }
    }

    pub(super) fn link(&mut self) -> &mut Link {
        let Arm::Sqlite(link) = &mut self.arm else { unreachable!("a session on a database thread") };
        link
    }

    pub(super) fn into_link(self) -> Link {
        let Arm::Sqlite(link) = self.arm else { unreachable!("a session on a database thread") };
        link
    }

    pub(super) fn session(&mut self) -> &mut postgres::Session {
        let Arm::Postgres(session) = &mut self.arm else { unreachable!("not a session of PostgreSQL") };
        session
    }

    pub(super) fn into_session(self) -> postgres::Session {
        let Arm::Postgres(session) = self.arm else { unreachable!("not a session of PostgreSQL") };
        session
    }

    pub(super) fn into_mariadb_session(self) -> mariadb::Session {
        let Arm::MariaDb(session) = self.arm else { unreachable!("not a session of MariaDB") };
        session
    }
}
