//! MariaDB, or MySQL in its place.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::Signal;

use super::{Authority, Home, PASSWORD, Plan, Process, Ready, USER, programs, template};

const PACKAGE: &str = "mariadb-server";

/// The environment variable that names a `mysqld`, which then is started instead: Debian's stable release has
/// MariaDB alone, and what is promised of MySQL wants to be seen on MySQL (`tests/mysql`).
const MYSQL: &str = "INKSTONE_TEST_MYSQL";

/// How to start a server.
#[derive(Clone, Default)]
pub struct MariaDbOptions {
    /// Settings, as `("max_connections", "200")`. They win over the others.
    pub settings: Vec<(String, String)>,
    /// Whether a commit waits for the disk. Off by default: a killed process loses nothing by it.
    pub fsync: bool,
    /// Takes only TLS over TCP, with a certificate of this authority for 127.0.0.1 and localhost.
    pub tls: Option<Arc<Authority>>,
}

/// A running server.
pub struct MariaDb {
    process: Process,
    /// Whom clients are to trust, for as long as there is something to trust.
    _authority: Option<Arc<Authority>>,
    next: AtomicUsize,
}

impl MariaDb {
    /// Starts a server without databases.
    pub fn start() -> Self {
        Self::start_with(MariaDbOptions::default())
    }

    /// Starts a server without databases.
    pub fn start_with(options: MariaDbOptions) -> Self {
        let home = Home::new("mariadb");
        let mysql = mysql();
        let program = mysql.clone().unwrap_or_else(|| programs::program("mariadbd", PACKAGE));
        let mut version = programs::command(&program, home.path());
        version.arg("--version");
        let version = programs::run(version);
        template::copy(&version, &home, |place| {
            let mut install = if mysql.is_some() {
                let mut install = programs::command(&program, place);
                install.args(["--no-defaults", "--initialize-insecure"]);
                install
            } else {
                let mut install = programs::command(&programs::program("mariadb-install-db", PACKAGE), place);
                install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                install.arg("--innodb-log-file-size=16M");
                install
            };
            install.arg(format!("--datadir={}", place.display()));
            programs::run(install);
        });
        // Run at every start, and harmless the second time.
        let users = format!(
            "create user if not exists '{USER}'@'%' identified by '{PASSWORD}';\n\
             grant all privileges on *.* to '{USER}'@'%' with grant option;\n"
        );
        let users = home.write("users.sql", &users).display().to_string();
        let flush = if options.fsync { "1" } else { "2" };
        let mut settings: Vec<(&str, String)> = vec![
            ("bind-address", "127.0.0.1".to_owned()),
            ("datadir", home.path().join("data").display().to_string()),
            ("socket", home.path().join("socket").display().to_string()),
            ("pid-file", home.path().join("pid").display().to_string()),
            ("tmpdir", home.path().display().to_string()),
            ("init-file", users),
            ("innodb-flush-log-at-trx-commit", flush.to_owned()),
            ("innodb-buffer-pool-size", "64M".to_owned()),
            ("character-set-server", "utf8mb4".to_owned()),
            ("skip-name-resolve", "ON".to_owned()),
            // What MariaDB takes by default; MySQL takes more.
            ("max-allowed-packet", "16M".to_owned()),
        ];
        if mysql.is_some() {
            // Otherwise it listens on a port of its own for another protocol, and wants a directory that is not there.
            settings.extend([("mysqlx", "OFF".to_owned()), ("secure-file-priv", String::new())]);
        } else {
            settings.push(("innodb-log-file-size", "16M".to_owned()));
        }
        if let Some(authority) = &options.tls {
            let issued = authority.issue_into(&home, &["localhost", "127.0.0.1"]);
            settings.extend([
                ("ssl-cert", issued.certificate.display().to_string()),
                ("ssl-key", issued.key.display().to_string()),
                ("ssl-ca", authority.copy_into(&home).display().to_string()),
                ("require-secure-transport", "ON".to_owned()),
            ]);
        }
        settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        let plan = Plan {
            name: "mariadb",
            program,
            ports: 1,
            arguments: Box::new(move |_, ports| {
                let mut arguments = vec!["--no-defaults".to_owned(), format!("--port={}", ports[0])];
                arguments.extend(settings.iter().cloned());
                arguments
            }),
            ready: Ready::Says("ready for connections"),
            stop: Signal::TERM,
        };
        Self { process: Process::start(plan, home), _authority: options.tls, next: AtomicUsize::new(0) }
    }

    /// One server for the whole test process. Take a [`MariaDb::database`], inject no faults.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start_with(MariaDbOptions {
                settings: vec![("max-connections".to_owned(), "400".to_owned())],
                ..MariaDbOptions::default()
            })
        })
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.ports()[0]
    }

    /// The address of one of its databases. Says nothing of TLS: how that is asked for differs
    /// between clients.
    pub fn url(&self, database: &str) -> String {
        self.url_through(&format!("127.0.0.1:{}", self.port()), database)
    }

    /// The address of one of its databases through somebody else: a proxy.
    pub fn url_through(&self, address: &str, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@{address}/{database}")
    }

    /// Makes an empty database of a name of its own, in utf8mb4. Gives the name.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql("mysql", &format!("create database {name} character set utf8mb4"));
        name
    }

    /// Runs SQL as root with `mariadb`. Gives the rows: a line each, tabs between columns.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|complaint| panic!("{sql}: {complaint}"))
    }

    /// Like [`MariaDb::sql`]; gives what was complained about when it fails.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut client: Command = programs::command(&programs::program("mariadb", PACKAGE), self.process.home());
        client.args(["--no-defaults", "-u", "root", "-B", "-N", "--default-character-set=utf8mb4", "-S"]);
        // MySQL has the same order of texts under another name.
        let sql = if mysql().is_some() { &sql.replace("utf8mb4_nopad_bin", "utf8mb4_0900_bin") } else { sql };
        client.arg(self.process.home().join("socket")).args(["-e", sql, database]);
        programs::try_run(&mut client)
    }
}

/// How the tests are run is said where they are started.
fn mysql() -> Option<PathBuf> {
    std::env::var_os(MYSQL).filter(|program| !program.is_empty()).map(PathBuf::from)
}
