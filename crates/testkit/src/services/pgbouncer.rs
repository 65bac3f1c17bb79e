//! PgBouncer in front of a PostgreSQL.

use rustix::process::Signal;

use super::{Home, PASSWORD, Plan, Process, Ready, USER, programs};

/// A running PgBouncer.
pub struct PgBouncer {
    process: Process,
}

impl PgBouncer {
    /// Starts it in transaction mode in front of the PostgreSQL (without TLS) on this port of
    /// 127.0.0.1, for all of its databases. `settings` are lines of its section `[pgbouncer]`, as
    /// `("default_pool_size", "5")`, and win over the others.
    pub fn start(postgres_port: u16, settings: &[(&str, &str)]) -> Self {
        let mut lines: Vec<String> = [
            ("listen_addr", "127.0.0.1"),
            ("unix_socket_dir", ""),
            ("auth_type", "any"),
            ("pool_mode", "transaction"),
            ("max_client_conn", "1000"),
            ("ignore_startup_parameters", "extra_float_digits"),
        ]
        .iter()
        .filter(|(name, _)| !settings.iter().any(|(given, _)| given == name))
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
        lines.extend(settings.iter().map(|(name, value)| format!("{name} = {value}")));
        let lines = lines.join("\n");
        let plan = Plan {
            name: "pgbouncer",
            program: programs::program("pgbouncer", "pgbouncer"),
            ports: 1,
            arguments: Box::new(move |home, ports| {
                let text = format!(
                    "[databases]\n* = host=127.0.0.1 port={postgres_port} user={USER} password={PASSWORD}\n\
                     [pgbouncer]\nlisten_port = {}\n{lines}\n",
                    ports[0]
                );
                vec![home.write("pgbouncer.ini", &text).display().to_string()]
            }),
            ready: Ready::Listens,
            stop: Signal::INT,
        };
        Self { process: Process::start(plan, Home::new("pgbouncer")) }
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.ports()[0]
    }

    /// The address of one of PostgreSQL's databases through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port())
    }
}
