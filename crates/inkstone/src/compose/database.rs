//! Which database a configuration means, and what is done with it before it is open.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inkstone_core::clock::SharedClock;
use inkstone_core::progress::Progress;
use inkstone_store::db::{
    DataDirLock, Db, MariaDbAddress, MariaDbOptions, PostgresAddress, PostgresOptions, Replicas, ReplicasOptions,
    ServerAddress, SqliteOptions,
};
use inkstone_store::migrate::{self, Applied, Fit};

use super::{Ambient, guards};
use crate::config::Config;
use crate::data_dir;
use crate::failure::{Failure, Result};

/// The database of a blog.
#[derive(Debug)]
pub enum Database {
    /// A file in the data directory.
    Sqlite {
        /// How it is opened.
        options: SqliteOptions,
        /// Where the file is.
        data_dir: PathBuf,
    },
    /// A server. Nothing is kept in the data directory.
    Postgres(Box<PostgresOptions>),
    /// Another, of MariaDB or MySQL.
    MariaDb(Box<MariaDbOptions>),
}

/// The number and the name of a migration.
pub type Step = (u32, String);

/// Without the password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { options, .. } => write!(f, "{}", options.path.display()),
            Self::Postgres(options) => write!(f, "{}", options.address),
            Self::MariaDb(options) => write!(f, "{}", options.address),
        }
    }
}

impl Database {
    /// The one that the configuration names.
    pub fn of(config: &Config, clock: &SharedClock) -> Self {
        match &config.store.url {
            Some(ServerAddress::Postgres(address)) => {
                Self::Postgres(Box::new(postgres_options(config, (**address).clone(), clock)))
            }
            Some(ServerAddress::MariaDb(address)) => {
                Self::MariaDb(Box::new(mariadb_options(config, address.clone(), clock)))
            }
            None => Self::Sqlite { options: sqlite_options(config, clock), data_dir: config.store.data_dir.clone() },
        }
    }

    /// One server by itself, be it a replica or one host of several.
    pub fn alone(config: &Config, address: &PostgresAddress, clock: &SharedClock) -> Self {
        Self::Postgres(Box::new(postgres_options(config, address.clone(), clock)))
    }

    /// The one at this place, with everything else as the configuration says: `postgres://…`,
    /// `mysql://…`, or `sqlite:` and a data directory or the `inkstone.db` in one, of which `sqlite:` may
    /// be left out.
    ///
    /// # Errors
    /// What is wrong with the place, without the place itself, which may hold a password.
    pub fn at(place: &str, config: &Config, clock: &SharedClock) -> Result<Self, String> {
        if PostgresAddress::is_meant(place) {
            let address = place.parse().map_err(|error| format!("the address of the database {error}"))?;
            return Ok(Self::Postgres(Box::new(postgres_options(config, address, clock))));
        }
        if MariaDbAddress::is_meant(place) {
            let address = place.parse().map_err(|error| format!("the address of the database {error}"))?;
            return Ok(Self::MariaDb(Box::new(mariadb_options(config, address, clock))));
        }
        let path = place.strip_prefix("sqlite:").unwrap_or(place);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains("://") {
            let forms = "must be postgres://user@host/database, mysql://user@host/database, or sqlite: and a data \
                         directory";
            return Err(forms.to_owned());
        }
        let data_dir = data_dir::of_database(Path::new(path));
        let mut config = config.clone();
        config.store.data_dir.clone_from(&data_dir);
        Ok(Self::Sqlite { options: sqlite_options(&config, clock), data_dir })
    }

    /// Whether there is a blog in it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn exists(&self) -> Result<bool> {
        match self {
            Self::Sqlite { options, .. } => Ok(options.path.exists()),
            Self::Postgres(options) => Ok(!migrate::postgres::applied(options).await?.is_empty()),
            Self::MariaDb(options) => Ok(!migrate::mariadb::applied(options).await?.is_empty()),
        }
    }

    /// Makes a table on a server and takes it back: whether one could make a blog there.
    ///
    /// # Errors
    /// What the server said against it.
    pub async fn try_table(&self) -> Result<()> {
        match self {
            Self::Sqlite { .. } => {}
            Self::Postgres(options) => migrate::postgres::try_table(options).await?,
            Self::MariaDb(options) => migrate::mariadb::try_table(options).await?,
        }
        Ok(())
    }

    /// Says that there is no blog in it, where that is so.
    ///
    /// # Errors
    /// Just that, or that it cannot be reached.
    pub async fn require(&self) -> Result<()> {
        match self {
            Self::Sqlite { data_dir, .. } => data_dir::require(data_dir),
            Self::Postgres(_) | Self::MariaDb(_) if self.exists().await? => Ok(()),
            Self::Postgres(_) | Self::MariaDb(_) => Err(Failure::with_hint(
                format!("there is no blog in {self}"),
                "name its database with --database, or start one with `inkstone serve`",
            )),
        }
    }

    /// What [`Database::migrate`] would do, or what the database has had that this program does not know.
    ///
    /// # Errors
    /// When the database is newer than this program can work with, or cannot be read.
    pub async fn fit(&self) -> Result<Fit<'static>> {
        Ok(match self {
            Self::Sqlite { options, .. } => migrate::fit(options)?,
            Self::Postgres(options) => migrate::postgres::fit(options).await?,
            Self::MariaDb(options) => migrate::mariadb::fit(options).await?,
        })
    }

    /// Says whether opening it would lose what was acknowledged: SQLite cuts a damaged write-ahead log off without a
    /// word. Where a server, or this process, has the directory, it has been asked before.
    ///
    /// # Errors
    /// Just that.
    pub fn require_sound(&self) -> Result<()> {
        let Self::Sqlite { data_dir, .. } = self else { return Ok(()) };
        if !data_dir.exists() || DataDirLock::acquire(data_dir).is_err() {
            return Ok(());
        }
        data_dir::require_sound_log(data_dir)
    }

    /// Makes the database, or brings it to this version of the program; gives what was done.
    ///
    /// # Errors
    /// When it is newer than this program can work with, is damaged, or cannot be written to.
    pub async fn migrate(&self) -> Result<Vec<Step>> {
        self.bring_up(false).await
    }

    /// As [`Database::migrate`]; where there was nothing, it is an unfinished copy from the first moment on.
    ///
    /// # Errors
    /// As there.
    pub async fn migrate_for_copy(&self) -> Result<Vec<Step>> {
        self.bring_up(true).await
    }

    async fn bring_up(&self, is_for_copy: bool) -> Result<Vec<Step>> {
        self.require_sound()?;
        let applied = match self {
            Self::Sqlite { options, data_dir } => {
                data_dir::prepare(data_dir)?;
                let options = options.clone();
                let run = if is_for_copy { migrate::run_for_copy } else { migrate::run };
                beside(move || Ok(run(&options)?)).await?
            }
            Self::Postgres(options) if is_for_copy => migrate::postgres::run_for_copy(options).await?,
            Self::Postgres(options) => migrate::postgres::run(options).await?,
            Self::MariaDb(options) if is_for_copy => migrate::mariadb::run_for_copy(options).await?,
            Self::MariaDb(options) => migrate::mariadb::run(options).await?,
        };
        Ok(applied.into_iter().map(|Applied { number, name, .. }| (number, name)).collect())
    }

    /// As [`Database::open`], while what else the caller waits for goes on: a file that somebody has locked is
    /// waited for.
    ///
    /// # Errors
    /// As there.
    pub async fn open_beside(self) -> Result<Db> {
        beside(move || self.open()).await
    }

    /// Opens it, as it is.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(self) -> Result<Db> {
        Ok(match self {
            Self::Sqlite { options, .. } => Db::open(options)?,
            Self::Postgres(options) => Db::connect(*options)?,
            Self::MariaDb(options) => Db::connect_mariadb(*options),
        })
    }
}

/// Runs what blocks on a thread of its own, so that whoever waits for it hears signals meanwhile.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(error.to_string()))?
}

/// The replicas of the database, if there are any. `progress` is what they must have reached.
///
/// # Errors
/// When there cannot be a pool of connections to one of them.
pub fn replicas(config: &Config, ambient: &Ambient, progress: Arc<Progress>) -> Result<Option<Arc<Replicas>>> {
    let (settings, clock) = (&config.store, &ambient.clock);
    if settings.replicas.is_empty() {
        return Ok(None);
    }
    let mut named = Vec::new();
    for address in &settings.replicas {
        let name = address.to_string();
        let db = Db::connect(postgres_options(config, address.clone(), clock))?;
        let db = guards::before_replica(db, &name, settings.timeout, ambient)?;
        named.push((name, db));
    }
    let options = ReplicasOptions { max_lag: settings.max_lag, clock: clock.clone(), progress };
    Ok(Some(Arc::new(Replicas::new(named, options))))
}

/// The same database on each of its hosts, if it is one of several hosts, as the host that takes writes.
pub fn hosts(config: &Config) -> Vec<PostgresAddress> {
    let Some(ServerAddress::Postgres(address)) = &config.store.url else { return Vec::new() };
    let hosts = address.hosts();
    if hosts.len() < 2 { Vec::new() } else { hosts }
}

fn sqlite_options(config: &Config, clock: &SharedClock) -> SqliteOptions {
    let settings = &config.store;
    let mut options = SqliteOptions::new(data_dir::database(&settings.data_dir), clock.clone());
    if settings.readers > 0 {
        options.readers = settings.readers;
    }
    options.read_queue = settings.read_queue;
    options.write_queue = settings.write_queue;
    options.group_max = settings.write_group;
    options.mmap_mib = settings.mmap_mib;
    options.cache_kib = settings.page_cache_kib;
    options.busy_timeout = settings.busy_timeout;
    options
}

fn postgres_options(config: &Config, address: PostgresAddress, clock: &SharedClock) -> PostgresOptions {
    let settings = &config.store;
    let mut options = PostgresOptions::new(address, clock.clone());
    if let Ok(readers @ 1..) = u32::try_from(settings.readers) {
        options.readers = readers;
    }
    options.read_queue = settings.read_queue;
    options.write_queue = settings.write_queue;
    options.group_max = settings.write_group;
    options.pooler = settings.pooler;
    options.connect_timeout = settings.connect_timeout;
    options.write_timeout = settings.write_timeout;
    options
}

fn mariadb_options(config: &Config, address: MariaDbAddress, clock: &SharedClock) -> MariaDbOptions {
    let settings = &config.store;
    let mut options = MariaDbOptions::new(address, clock.clone());
    if let Ok(readers @ 1..) = u32::try_from(settings.readers) {
        options.readers = readers;
    }
    options.read_queue = settings.read_queue;
    options.write_queue = settings.write_queue;
    options.connect_timeout = settings.connect_timeout;
    options.write_timeout = settings.write_timeout;
    options
}
