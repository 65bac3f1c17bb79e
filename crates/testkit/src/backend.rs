//! Which database the servers under test use: a file of their own, or, with
//! `INKSTONE_TEST_BACKEND=postgres`, a database of their own on one PostgreSQL server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::services::Postgres;

/// The environment variable that says which.
const VARIABLE: &str = "INKSTONE_TEST_BACKEND";
/// The setting that names the database. Set in the options of a server, even to nothing, it is
/// left alone: what is about SQLite's file runs on SQLite whatever the others do.
pub(crate) const SETTING: &str = "INKSTONE__STORE__URL";

/// The address of the database that belongs to a data directory; empty for the file in it. The
/// first time it is asked for, an empty database is made.
///
/// # Panics
/// When the environment names a backend that there is not.
pub(crate) fn url(data_dir: &Path) -> String {
    static DATABASES: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    match chosen().as_deref() {
        None | Some("" | "sqlite") => return String::new(),
        Some("postgres") => {}
        Some(other) => panic!("{VARIABLE} is {other:?}: there are sqlite and postgres"),
    }
    let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    let databases = databases.get_or_insert_default();
    databases
        .entry(data_dir.to_owned())
        .or_insert_with(|| Postgres::shared().url(&Postgres::shared().database()))
        .clone()
}

#[expect(clippy::disallowed_methods, reason = "how the tests are run is said where they are started")]
fn chosen() -> Option<String> {
    std::env::var(VARIABLE).ok()
}
