//! Redis: alone, with replicas, as a node of a cluster, with a password or users, over TLS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::Signal;

use super::{Authority, Home, PASSWORD, Plan, Process, Ready, programs};
use crate::wait::wait_until;

pub(crate) const PACKAGE: &str = "redis-server";

/// How many numbered databases each server has: as many tests can share it.
const DATABASES: usize = 4096;

/// How to start a server.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// Lines of `redis.conf`, as `("maxmemory", "16mb")`.
    pub settings: Vec<(String, String)>,
    /// Whether the default user needs [`PASSWORD`].
    pub password: bool,
    /// Users and what they may, as ACL rules: `"blog on >secret ~ink:* &* +@all -@dangerous"`.
    pub users: Vec<String>,
    /// Takes only TLS, with a certificate of this authority for 127.0.0.1 and localhost.
    pub tls: Option<Arc<Authority>>,
    /// Whether it is a node of a cluster: of none yet, and without slots. See [`super::RedisCluster`].
    pub cluster: bool,
}

/// A running server.
pub struct Redis {
    process: Process,
    options: RedisOptions,
    next: AtomicUsize,
}

impl Redis {
    /// Starts an empty server.
    pub fn start() -> Self {
        Self::start_with(RedisOptions::default())
    }

    /// Starts an empty server.
    pub fn start_with(options: RedisOptions) -> Self {
        let home = Home::new("redis");
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "save \"\"".to_owned(),
            format!("databases {DATABASES}"),
            format!("dir {}", home.path().display()),
            // A replica is to have everything at once, not in five seconds.
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        if options.password {
            lines.push(format!("requirepass {PASSWORD}"));
            lines.push(format!("masterauth {PASSWORD}"));
        }
        lines.extend(options.users.iter().map(|user| format!("user {user}")));
        lines.extend(options.tls.iter().flat_map(|authority| tls_lines(authority, &home)));
        if options.cluster {
            // One that is silent for a second is gone; what the others hold is served on.
            lines.push("cluster-enabled yes\ncluster-node-timeout 1000\ncluster-require-full-coverage no".to_owned());
        }
        lines.extend(options.settings.iter().map(|(name, value)| format!("{name} {value}")));
        home.write("redis.conf", &lines.join("\n"));
        let (tls, is_node) = (options.tls.is_some(), options.cluster);
        let plan = Plan {
            name: "redis",
            program: programs::program("redis-server", PACKAGE),
            ports: if is_node { 2 } else { 1 },
            arguments: Box::new(move |home, ports| {
                let port = ports[0].to_string();
                let (plain, secured) = if tls { ("0", port.as_str()) } else { (port.as_str(), "0") };
                let file = home.path().join("redis.conf").display().to_string();
                let mut arguments = vec![file.as_str(), "--port", plain, "--tls-port", secured];
                let bus = ports.get(1).map(ToString::to_string);
                if let Some(bus) = &bus {
                    arguments.extend(["--cluster-port", bus]);
                }
                arguments.into_iter().map(str::to_owned).collect()
            }),
            ready: Ready::Says("Ready to accept connections"),
            stop: Signal::TERM,
        };
        Self { process: Process::start(plan, home), options, next: AtomicUsize::new(0) }
    }

    /// One server for the whole test process. Take a [`Redis::keyspace`], inject no faults.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.ports()[0]
    }

    /// Its address, without a database.
    pub fn url(&self) -> String {
        self.url_through(&format!("127.0.0.1:{}", self.port()))
    }

    /// Its address through somebody else: a proxy.
    pub fn url_through(&self, address: &str) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let who = if self.options.password { format!(":{PASSWORD}@") } else { String::new() };
        format!("{scheme}://{who}{address}")
    }

    /// The address of a database that nobody else has been given. What is published is heard in
    /// all of them.
    pub fn keyspace(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "{DATABASES} tests share one Redis at most");
        format!("{}/{number}", self.url())
    }

    /// Runs a command in database 0 with `redis-cli`, as the default user. Gives the raw answer.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|complaint| panic!("{arguments:?}: {complaint}"))
    }

    /// Like [`Redis::cli`]; gives what was complained about when it fails.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        let mut cli = programs::command(&programs::program("redis-cli", PACKAGE), self.process.home());
        cli.args(["-e", "-h", "127.0.0.1", "-p", &self.port().to_string()]);
        if self.options.password {
            cli.args(["--no-auth-warning", "-a", PASSWORD]);
        }
        if let Some(authority) = &self.options.tls {
            cli.arg("--tls").arg("--cacert").arg(authority.file());
        }
        programs::try_run(cli.args(arguments))
    }

    /// Starts a replica of this server, with the same options. Returns when it has caught up.
    pub fn replica(&self) -> Self {
        let mut options = self.options.clone();
        options.settings.push(("replicaof".to_owned(), format!("127.0.0.1 {}", self.port())));
        let replica = Self::start_with(options);
        wait_until("the replica follows", || replica.info("master_link_status").as_deref() == Some("up"));
        replica
    }

    /// `master` or `slave`, as it sees itself at this moment; empty if it does not say.
    pub fn role(&self) -> String {
        self.info("role").unwrap_or_default()
    }

    /// One line of `INFO`. None, too, if there is no answer: a server that changes its role breaks all connections.
    pub fn info(&self, name: &str) -> Option<String> {
        let info = self.try_cli(&["info"]).ok()?;
        info.lines().find_map(|line| Some(line.trim_end().strip_prefix(name)?.strip_prefix(':')?.to_owned()))
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }
}

/// Has a server speak TLS, with its clients, its replicas and the nodes of its cluster.
pub(super) fn tls_lines(authority: &Authority, home: &Home) -> Vec<String> {
    let issued = authority.issue_into(home, &["localhost", "127.0.0.1"]);
    vec![
        format!("tls-cert-file {}", issued.certificate.display()),
        format!("tls-key-file {}", issued.key.display()),
        format!("tls-ca-cert-file {}", authority.copy_into(home).display()),
        "tls-auth-clients no".to_owned(),
        "tls-replication yes".to_owned(),
        "tls-cluster yes".to_owned(),
    ]
}
