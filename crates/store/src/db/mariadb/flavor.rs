//! MariaDB and MySQL: what one says differently from the other.
//!
//! The tests run on MariaDB. What MySQL 8 does otherwise stands here, and nowhere else.

use std::time::Duration;

/// Text is compared byte by byte, spaces at its end included, so that a list has one order
/// everywhere. In MariaDB's words, which migrations and statements use.
pub(in crate::db) const COLLATION: &str = "utf8mb4_nopad_bin";

/// Standard SQL where there is a choice, and no value that is bent until it fits.
const MODES: &str = "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
                     NO_ENGINE_SUBSTITUTION";
/// Seconds after which a transaction in which nothing is asked is ended: a process that was stopped
/// must not hold a snapshot for ever.
const IDLE: u64 = 60;
/// Seconds to wait for a table that somebody is altering.
const SCHEMA_LOCK: u64 = 30;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl Flavor {
    /// Reads what `version()` says.
    pub(super) fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }

    /// What is wrong with a server of this version: one that is too old, or `None`. MariaDB's oldest is the oldest that
    /// is still maintained; MySQL knows the order of texts that lists go by from this one on.
    pub(super) fn too_old(self, version: &str) -> Option<String> {
        let (name, oldest) = match self {
            Self::MariaDb => ("MariaDB", [10, 11, 0]),
            Self::MySql => ("MySQL", [8, 0, 17]),
        };
        let number = version.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next().unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
        let found = [(); 3].map(|()| parts.next().flatten().unwrap_or_default());
        let [major, minor, patch] = oldest;
        let is_old = found[0] > 0 && found < oldest;
        is_old.then(|| format!("it is {name} {number}, and a blog needs {major}.{minor}.{patch} or newer"))
    }

    /// SQL that was written for MariaDB.
    pub(crate) fn in_its_words(self, sql: &str) -> String {
        match self {
            Self::MariaDb => sql.to_owned(),
            Self::MySql => sql.replace(COLLATION, "utf8mb4_0900_bin"),
        }
    }

    /// The settings of each connection.
    pub(super) fn settings(self) -> String {
        let own = match self {
            Self::MariaDb => format!("set session idle_transaction_timeout = {IDLE}"),
            // It ends no transaction, but connections. What it knows of tables may be a day old.
            Self::MySql => {
                "set session wait_timeout = 28800; set session information_schema_stats_expiry = 0".to_owned()
            }
        };
        let sql = format!(
            "set names utf8mb4 collate {COLLATION}; set session sql_mode = '{MODES}'; set session autocommit = 1; \
             set session time_zone = '+00:00'; \
             set session lock_wait_timeout = {SCHEMA_LOCK}; \
             set session transaction isolation level repeatable read; {own}"
        );
        self.in_its_words(&sql)
    }

    /// Opens a transaction that reads one snapshot; the server ends what runs for longer than `left`.
    pub(super) fn begin_read(self, left: Duration) -> String {
        let limit = match self {
            Self::MariaDb => format!("max_statement_time = {}", seconds(left)),
            Self::MySql => format!("max_execution_time = {}", left.as_millis().max(1)),
        };
        format!("set session {limit}; start transaction with consistent snapshot, read only")
    }

    /// Opens a transaction that writes, and waits for up to `left` until nobody else does. After
    /// that, the server ends it when it pauses for as long, or for `most`, or when a statement takes
    /// longer than both.
    ///
    /// The lock is that of the row from which changes are numbered. It is given when the
    /// transaction that had it can be seen by all, and to a transaction that sees at each statement
    /// what was committed before.
    pub(super) fn begin_write(self, left: Duration, most: Duration) -> String {
        const LOCK: &str = "select c.value from counters c where c.name = 'change_seq' for update";
        // A pause in it is a node that is gone or stands still; and when nobody waits for this write any
        // more, the others do.
        let pause = whole_seconds(left.min(most));
        let wait = whole_seconds(left);
        let limits = match self {
            Self::MariaDb => format!(
                "set session max_statement_time = {}; set session idle_transaction_timeout = {pause}",
                seconds(left.saturating_add(most))
            ),
            Self::MySql => format!("set session max_execution_time = 0; set session wait_timeout = {pause}"),
        };
        let lock = match self {
            Self::MariaDb => format!("set statement max_statement_time = {} for {LOCK}", seconds(left)),
            Self::MySql => LOCK.to_owned(),
        };
        format!(
            "{limits}; set session innodb_lock_wait_timeout = {wait}; \
             set transaction isolation level read committed; start transaction; {lock}"
        )
    }
}

impl Flavor {
    /// By when the server has ended a wait for the lock that may take `left`: MySQL counts whole seconds, and
    /// looks once in each.
    pub(super) fn longest_wait(self, left: Duration) -> Duration {
        match self {
            Self::MariaDb => left,
            Self::MySql => Duration::from_secs(whole_seconds(left).saturating_add(1)),
        }
    }
}

/// As MariaDB takes a time; zero would be no limit.
fn seconds(time: Duration) -> String {
    format!("{:.6}", time.max(Duration::from_millis(1)).as_secs_f64())
}

/// Rounded up, within what both take.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).clamp(1, 31_536_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_whose_it_is() {
        assert_eq!(Flavor::of("10.11.19-MariaDB-0+deb12u1"), Flavor::MariaDb);
        assert_eq!(Flavor::of("8.0.40"), Flavor::MySql);
        assert_eq!(Flavor::of("8.4.3-commercial"), Flavor::MySql);
    }

    #[test]
    fn no_limit_is_none_by_accident() {
        assert_eq!(seconds(Duration::ZERO), "0.001000");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.500000");
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert!(Flavor::MySql.begin_read(Duration::ZERO).contains("max_execution_time = 1;"));
    }

    #[test]
    fn mysql_is_told_nothing_that_only_mariadb_knows() {
        let all = [
            Flavor::MySql.settings(),
            Flavor::MySql.begin_read(Duration::from_secs(1)),
            Flavor::MySql.begin_write(Duration::from_secs(1), Duration::from_secs(30)),
        ];
        for sql in all {
            for word in ["nopad", "max_statement_time", "idle_transaction_timeout", "set statement"] {
                assert!(!sql.contains(word), "{sql}");
            }
        }
    }

    #[test]
    fn servers_that_are_too_old_are_known_by_what_they_say_of_themselves() {
        let verdict = |version: &str| Flavor::of(version).too_old(version);
        let new = ["10.11.6-MariaDB-1", "11.8.2-MariaDB", "8.0.17", "8.0.35-27", "9.1.0-commercial", "", "unheard of"];
        for version in new {
            assert_eq!(verdict(version), None, "{version}");
        }
        for (version, words) in [
            ("10.6.21-MariaDB-ubu2004", "MariaDB 10.6.21, and a blog needs 10.11.0 or newer"),
            ("10.11-MariaDB", ""),
            ("5.7.44-log", "MySQL 5.7.44, and a blog needs 8.0.17 or newer"),
            ("8.0.16", "MySQL 8.0.16"),
        ] {
            let said = verdict(version).unwrap_or_default();
            assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{version}: {said}");
        }
    }
}
