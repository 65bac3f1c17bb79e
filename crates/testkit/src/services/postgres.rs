//! PostgreSQL: a primary, streaming replicas, failover.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::Signal;

use super::{Authority, Home, PASSWORD, Plan, Process, Ready, USER, programs, template};
use crate::wait::wait_until;

const PACKAGE: &str = "postgresql";

/// How to start a server.
#[derive(Clone, Default)]
pub struct PostgresOptions {
    /// Settings of `postgresql.conf`, as `("work_mem", "8MB")`. They win over the others.
    pub settings: Vec<(String, String)>,
    /// Whether a commit waits for the disk. Off by default: a killed process loses nothing by it,
    /// and a test machine's disk is the slowest thing in a suite.
    pub fsync: bool,
    /// Whether connections over TCP need the password (SCRAM). By default they do not, since each
    /// handshake costs milliseconds.
    pub password: bool,
    /// Takes only TLS over TCP, with a certificate of this authority for 127.0.0.1 and localhost.
    pub tls: Option<Arc<Authority>>,
    /// Keeps its data on a [disk](crate::SmallDisk) of this size. It takes some 40 MB to begin with,
    /// 16 of them for the log of changes.
    pub disk: Option<&'static str>,
    /// Keeps the log of changes somewhere else than the data, as careful operators do.
    pub log_elsewhere: bool,
}

/// How a replica follows.
#[derive(Debug, Clone, Default)]
pub struct ReplicaOptions {
    /// Where it finds the primary if not directly: a fault proxy, for instance.
    pub upstream: Option<SocketAddr>,
    /// Whether a commit on the primary waits for this replica to have written it down. It holds
    /// for this one replica only, and from the moment it is ready.
    pub synchronous: bool,
    /// How much later it applies what it receives.
    pub delay: Duration,
    /// More settings of its own.
    pub settings: Vec<(String, String)>,
    /// Environment variables of its process: those of libfaketime give it a clock of its own.
    pub env: Vec<(String, String)>,
}

/// A running server.
pub struct Postgres {
    process: Process,
    options: PostgresOptions,
    next: AtomicUsize,
}

impl Postgres {
    /// Starts a server with an empty cluster.
    pub fn start() -> Self {
        Self::start_with(PostgresOptions::default())
    }

    /// Starts a server with an empty cluster.
    pub fn start_with(options: PostgresOptions) -> Self {
        let mut home = Home::new("postgres");
        if let Some(size) = options.disk {
            home.mount_data(size);
        }
        let version = programs::run(tool("postgres", home.path(), ["--version"]));
        template::copy(&version, &home, |place| {
            let secret = place.join("password");
            std::fs::write(&secret, PASSWORD).expect("a file in a directory of ours");
            programs::give_away(&secret);
            let mut initdb = tool("initdb", place, ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
            initdb.args(["--data-checksums", "--auth=trust", "--username", USER, "--pwfile"]).arg(&secret);
            initdb.arg("--pgdata").arg(place.join("cluster"));
            programs::run(initdb);
            std::fs::remove_file(&secret).expect("our own file");
        });
        if options.log_elsewhere {
            let (from, to) = (home.path().join("data/cluster/pg_wal"), home.path().join("log"));
            let mut moving = programs::command(Path::new("/bin/mv"), home.path());
            moving.args([&from, &to]);
            programs::run(moving);
            std::os::unix::fs::symlink(&to, &from).expect("a link in a directory of ours");
        }
        Self::start_on(home, options, &[], &[])
    }

    /// One server for the whole test process. Take a [`Postgres::database`], inject no faults.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start_with(PostgresOptions {
                settings: vec![("max_connections".to_owned(), "400".to_owned())],
                ..PostgresOptions::default()
            })
        })
    }

    fn start_on(home: Home, options: PostgresOptions, more: &[(&str, String)], env: &[(String, String)]) -> Self {
        let (kind, method) = match (&options.tls, options.password) {
            (Some(_), true) => ("hostssl", "scram-sha-256"),
            (Some(_), false) => ("hostssl", "trust"),
            (None, true) => ("host", "scram-sha-256"),
            (None, false) => ("host", "trust"),
        };
        let access = format!(
            "local all all trust\n{kind} all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 trust\n"
        );
        let access = home.write("pg_hba.conf", &access);
        let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
        let mut settings: Vec<(&str, String)> = vec![
            ("hba_file", access.display().to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", home.path().display().to_string()),
            ("fsync", on(options.fsync)),
            ("shared_buffers", "32MB".to_owned()),
            // Its files would stay in /dev/shm when the server is killed.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
            ("wal_level", "replica".to_owned()),
            ("wal_keep_size", "256MB".to_owned()),
            ("max_wal_senders", "8".to_owned()),
            ("log_line_prefix", "%m [%p] %a ".to_owned()),
        ];
        if let Some(authority) = &options.tls {
            let issued = authority.issue_into(&home, &["localhost", "127.0.0.1"]);
            settings.extend([
                ("ssl", on(true)),
                ("ssl_cert_file", issued.certificate.display().to_string()),
                ("ssl_key_file", issued.key.display().to_string()),
                ("ssl_ca_file", authority.copy_into(&home).display().to_string()),
            ]);
        }
        settings.extend(more.iter().cloned());
        settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let program = programs::program("postgres", PACKAGE);
        // By way of env(1), which becomes the program.
        let mut before: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        before.push(program.display().to_string());
        let plan = Plan {
            name: "postgres",
            program: programs::program("env", "coreutils"),
            ports: 1,
            arguments: Box::new(move |home, ports| {
                let data = home.path().join("data/cluster").display().to_string();
                let mut arguments = before.clone();
                arguments.extend(["-D".to_owned(), data, "-p".to_owned(), ports[0].to_string()]);
                arguments.extend(settings.iter().flat_map(|setting| ["-c".to_owned(), setting.clone()]));
                arguments
            }),
            ready: Ready::Says("ready to accept "),
            stop: Signal::INT,
        };
        Self { process: Process::start(plan, home), options, next: AtomicUsize::new(0) }
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.ports()[0]
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        self.url_through(&format!("127.0.0.1:{}", self.port()), database)
    }

    /// The address of one of its databases through somebody else: a proxy, or several hosts.
    pub fn url_through(&self, hosts: &str, database: &str) -> String {
        let mut url = format!("postgres://{USER}:{PASSWORD}@{hosts}/{database}");
        if let Some(authority) = &self.options.tls {
            let _ = write!(url, "?sslmode=verify-full&sslrootcert={}", authority.file().display());
        }
        url
    }

    /// Makes an empty database of a name of its own. Gives the name.
    pub fn database(&self) -> String {
        self.database_from("template0")
    }

    /// Makes a copy of a database that nobody is connected to. Gives its name.
    pub fn database_from(&self, template: &str) -> String {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} template {template}"));
        name
    }

    /// Runs SQL as the superuser with `psql`. Gives the rows: a line each, `|` between columns.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|complaint| panic!("{sql}: {complaint}"))
    }

    /// Like [`Postgres::sql`]; gives what was complained about when it fails.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql =
            tool("psql", self.process.home(), ["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database]);
        psql.arg("-h").arg(self.process.home()).args(["-p", &self.port().to_string(), "-c", sql]);
        programs::try_run(&mut psql)
    }

    /// Starts a replica that streams from here (or, cascading, from a replica). It has this
    /// server's options. Returns when it answers queries and has received all that was committed.
    pub fn replica(&self, options: ReplicaOptions) -> Self {
        static REPLICAS: AtomicUsize = AtomicUsize::new(1);
        let name = format!("replica{}", REPLICAS.fetch_add(1, Ordering::Relaxed));
        let upstream = options.upstream.unwrap_or_else(|| ([127, 0, 0, 1], self.port()).into());
        let home = Home::new("postgres");
        let data = home.path().join("data");
        std::fs::create_dir(&data).expect("a directory in a directory of ours");
        programs::give_away(&data);
        let port = self.port().to_string();
        let mut backup = tool("pg_basebackup", home.path(), ["--no-sync", "-c", "fast", "-X", "stream", "-U", USER]);
        backup.args(["-h", "127.0.0.1", "-p", &port, "-D"]).arg(data.join("cluster"));
        programs::run(backup);
        home.write("data/cluster/standby.signal", "");
        let primary = format!("host={} port={} user={USER} application_name={name}", upstream.ip(), upstream.port());
        let mut own = self.options.clone();
        own.settings.extend(options.settings);
        let more = [
            ("primary_conninfo", primary),
            ("recovery_min_apply_delay", format!("{}ms", options.delay.as_millis())),
            ("wal_retrieve_retry_interval", "200ms".to_owned()),
            ("hot_standby", "on".to_owned()),
        ];
        let replica = Self::start_on(home, own, &more, &options.env);
        replica.wait_for(self, &self.position(), "pg_last_wal_receive_lsn()");
        if options.synchronous {
            self.sql("postgres", &format!("alter system set synchronous_standby_names = '{name}'"));
            self.sql("postgres", "select pg_reload_conf()");
            let state = format!("select sync_state from pg_stat_replication where application_name = '{name}'");
            wait_until("the replica is synchronous", || self.sql("postgres", &state) == "sync");
        }
        replica
    }

    /// Waits until this replica shows everything that `primary` has committed up to now.
    pub fn catch_up_with(&self, primary: &Self) {
        self.wait_for(primary, &primary.position(), "pg_last_wal_replay_lsn()");
    }

    fn wait_for(&self, primary: &Self, position: &str, reached: &str) {
        let ask = format!("select coalesce({reached} >= '{position}'::pg_lsn, false)");
        wait_until("the replica has caught up", || self.sql("postgres", &ask) == "t");
        debug_assert_ne!(self.port(), primary.port());
    }

    /// How far the log of changes has come, here or, on a replica, as received.
    fn position(&self) -> String {
        let ask = "select case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end";
        self.sql("postgres", ask)
    }

    /// Whether this is a replica at this moment.
    pub fn is_replica(&self) -> bool {
        self.sql("postgres", "select pg_is_in_recovery()") == "t"
    }

    /// Makes this replica a primary. Returns when it takes writes.
    pub fn promote(&self) {
        assert_eq!(self.sql("postgres", "select pg_promote(true, 60)"), "t", "promoted in time");
    }
}

fn tool<const N: usize>(name: &str, home: &Path, arguments: [&str; N]) -> Command {
    let program: PathBuf = programs::program(name, PACKAGE);
    let mut command = programs::command(&program, home);
    command.args(arguments);
    command
}
