//! Whether a program and a database belong together.

use inkstone_core::{Code, Context, Error, Result};

use super::{Applied, Migration, Migrator, SQLITE, checksum};
use crate::db::{Db, Statement};

const NEWEST: Statement =
    Statement { name: "schema.newest", sql: "select coalesce(max(number), 0) from schema_migrations" };
const NEWER: Statement = Statement {
    name: "schema.newer",
    sql: "select number, name, coalesce(needs, number) from schema_migrations where number > $1 order by number",
};

/// Every statement here, for the tests that prepare each.
pub const STATEMENTS: &[&Statement] = &[&NEWEST, &NEWER];

/// How the schema of a database stands to a program that can work on it, or can bring it to where it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit<'a> {
    /// How many migrations the program knows.
    pub known: u32,
    /// Those that the database has not had yet.
    pub missing: &'a [Migration],
    /// Those that the database has had and the program does not know, by number and name. It can live with
    /// them.
    pub newer: Vec<(u32, String)>,
}

/// How the schema stands to this program *now*, while it works on it: another program may have changed it.
///
/// # Errors
/// `Conflict` if this program cannot work on it any more; those of the database.
pub async fn fit_of(db: &Db, ctx: &Context) -> Result<Fit<'static>> {
    let known = number(SQLITE.len());
    let newer = db.read(ctx, "schema.fit", move |conn| {
        Box::pin(async move {
            // The same in every database, and all that is asked as long as nobody is ahead.
            if conn.fetch_one::<i64>(&NEWEST, &[]).await? <= i64::from(known) {
                return Ok(Vec::new());
            }
            conn.fetch_all::<(i64, String, i64)>(&NEWER, &[i64::from(known).into()]).await
        })
    });
    let whole = |number: i64| u32::try_from(number).map_err(Error::internal);
    let newer = newer.await?.into_iter().map(|(number, name, needs)| Ok((whole(number)?, name, whole(needs)?)));
    Fit { known, missing: &[], newer: Vec::new() }.with(newer.collect::<Result<Vec<_>>>()?)
}

impl<'a> Migrator<'a> {
    /// Holds what a database has had against the list.
    pub(super) fn compare(&self, applied: Vec<Applied>) -> Result<Fit<'a>> {
        for (position, theirs) in applied.iter().enumerate() {
            if number(position + 1) != theirs.number {
                return Err(refused(format!(
                    "The database's migrations have a gap before number {}. It was changed by hand; restore a backup.",
                    theirs.number
                )));
            }
        }
        for (theirs, ours) in applied.iter().zip(self.migrations) {
            if theirs.checksum != checksum(ours.sql) {
                return Err(refused(format!(
                    "Migration {} ({}) is not the one that this database was made with ({}). \
                     Use the version of the program that made it.",
                    ours.number, ours.name, theirs.name
                )));
            }
        }
        let missing = self.migrations.get(applied.len()..).unwrap_or_default();
        let newer = applied.into_iter().skip(self.migrations.len());
        let fit = Fit { known: number(self.migrations.len()), missing, newer: Vec::new() };
        fit.with(newer.map(|Applied { number, name, needs, .. }| (number, name, needs)))
    }
}

impl Fit<'_> {
    /// Takes these in: number, name, what each needs. Refused where that is more than the program knows.
    fn with(mut self, newer: impl IntoIterator<Item = (u32, String, u32)>) -> Result<Self> {
        for (number, name, needs) in newer {
            if needs > self.known {
                return Err(refused(format!(
                    "The database is newer than this program: it has migration {number} ({name}), which only programs \
                     can work with that know migration {needs}, and this one knows {}. Use a newer version of the \
                     program, or restore the backup made before the update.",
                    self.known
                )));
            }
            self.newer.push((number, name));
        }
        Ok(self)
    }

    /// What to know where the database is ahead of the program.
    pub fn ahead(&self) -> Option<String> {
        let (number, name) = self.newer.last()?;
        Some(format!(
            "newer than this program, which can work with it: it has migration {number} ({name}), and the program \
             knows {}",
            self.known
        ))
    }

    /// Tells the log so.
    pub(super) fn tell(&self) {
        if let Some((number, name)) = self.newer.last() {
            tracing::warn!(
                migration.number = number,
                migration.name = %name,
                migration.known = self.known,
                "the database is newer than this program, which can work with it"
            );
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn refused(detail: String) -> Error {
    Error::refused(Code::Conflict, detail)
}
