//! What the servers under test stand on, as `INKSTONE_TEST_BACKEND` says: the name of a database,
//! `sqlite` (a file of their own, the default), `postgres` or `mariadb` (a database of their own on one
//! server of the test process), then, after a `+`, that of a shared cache, if there is to be one: `redis` or
//! `memcached`. So `postgres+redis` is both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::services::{MariaDb, Memcached, Postgres, Redis};

/// The environment variable that says which.
const VARIABLE: &str = "INKSTONE_TEST_BACKEND";
/// The setting that names the database. Set in the options of a server it is left alone: what is
/// about SQLite's file runs on SQLite whatever the others do.
pub(crate) const DATABASE: &str = "INKSTONE__STORE__URL";
/// What it is for the file in the data directory.
pub(crate) const SQLITE: &str = "sqlite:";
/// The setting that names the shared cache, of which the same holds, also where it is nothing.
pub(crate) const SHARED_CACHE: &str = "INKSTONE__CACHE__SHARED__URL";

/// The address of the database that belongs to a data directory; [`SQLITE`] for the file in it. The
/// first time it is asked for, an empty database is made.
///
/// # Panics
/// When the environment names a backend that there is not.
pub(crate) fn database(data_dir: &Path) -> String {
    static DATABASES: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    let create: fn() -> String = match chosen().0.as_str() {
        "" | "sqlite" => return SQLITE.to_owned(),
        "postgres" => || Postgres::shared().url(&Postgres::shared().database()),
        "mariadb" => || MariaDb::shared().url(&MariaDb::shared().database()),
        other => panic!("{VARIABLE}: {other:?} is no database here: there are sqlite, postgres and mariadb"),
    };
    let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    databases.get_or_insert_default().entry(data_dir.to_owned()).or_insert_with(create).clone()
}

/// The address of the shared cache, which all servers of the test process share: sites keep apart
/// in it by themselves. Empty if there is none.
///
/// # Panics
/// When the environment names a cache that there is not.
pub(crate) fn shared_cache() -> String {
    match chosen().1.as_str() {
        "" => String::new(),
        "redis" => Redis::shared().url(),
        "memcached" => format!("memcached://{}", Memcached::shared().address()),
        other => panic!("{VARIABLE}: {other:?} is no cache here: there are redis and memcached"),
    }
}

#[expect(clippy::disallowed_methods, reason = "how the tests are run is said where they are started")]
fn chosen() -> (String, String) {
    let chosen = std::env::var(VARIABLE).unwrap_or_default();
    let (database, cache) = chosen.split_once('+').unwrap_or((&chosen, ""));
    (database.to_owned(), cache.to_owned())
}
