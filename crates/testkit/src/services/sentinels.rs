//! Three Redis sentinels that watch one primary and fail over.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::{Authority, Home, PASSWORD, Plan, Process, Ready, Redis, programs, redis};
use crate::wait::wait_until;

const COUNT: usize = 3;

/// How to start them.
#[derive(Clone)]
pub struct SentinelOptions {
    /// A primary that is silent for so long is down.
    pub down_after: Duration,
    /// Whether their default user needs [`PASSWORD`], which is not what the primary wants.
    pub password: bool,
    /// Their users and what they may, as ACL rules.
    pub users: Vec<String>,
}

/// Three sentinels, two of which must agree.
pub struct Sentinels {
    processes: Vec<Process>,
    name: &'static str,
    options: SentinelOptions,
    tls: Option<Arc<Authority>>,
}

impl Sentinels {
    /// Starts them on a primary, and waits until they know each other and at least `replicas`
    /// replicas. A primary that is silent for `down_after` is down.
    pub fn watch(primary: &Redis, replicas: usize, down_after: Duration) -> Self {
        Self::watch_with(primary, replicas, SentinelOptions { down_after, password: false, users: Vec::new() })
    }

    /// The same with more to say of it. They speak TLS where the primary does.
    pub fn watch_with(primary: &Redis, replicas: usize, options: SentinelOptions) -> Self {
        let name = "inkstone";
        let sentinels: Vec<Process> = (0..COUNT).map(|_| start(name, primary, &options)).collect();
        let sentinels = Self { processes: sentinels, name, options, tls: primary.options().tls.clone() };
        wait_until("the sentinels know each other and the replicas", || {
            (0..COUNT).all(|which| {
                let field = |field| sentinels.field(which, field).and_then(|value| value.parse::<usize>().ok());
                field("num-other-sentinels") == Some(COUNT - 1) && field("num-slaves") >= Some(replicas)
            })
        });
        sentinels
    }

    /// What the primary is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where each listens.
    pub fn ports(&self) -> Vec<u16> {
        self.processes.iter().map(|sentinel| sentinel.ports()[0]).collect()
    }

    /// The hosts for an address: all of them.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",")
    }

    /// Their processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// On which port the primary is, as one of them sees it.
    pub fn primary_port(&self, which: usize) -> u16 {
        self.field(which, "port").and_then(|port| port.parse().ok()).expect("a sentinel that knows its primary")
    }

    /// Waits until all of them say that the primary is there.
    pub fn wait_for_primary(&self, port: u16) {
        wait_until("the sentinels agree on the new primary", || {
            (0..COUNT).all(|which| self.primary_port(which) == port)
        });
    }

    /// One field of `SENTINEL MASTER`: names and values come in turn, a line each.
    fn field(&self, which: usize, field: &str) -> Option<String> {
        let sentinel = &self.processes[which];
        let mut cli = programs::command(&programs::program("redis-cli", redis::PACKAGE), sentinel.home());
        cli.args(["-e", "-h", "127.0.0.1", "-p", &sentinel.ports()[0].to_string()]);
        if self.options.password {
            cli.args(["--no-auth-warning", "-a", PASSWORD]);
        }
        if let Some(authority) = &self.tls {
            cli.arg("--tls").arg("--cacert").arg(authority.file());
        }
        cli.args(["sentinel", "master", self.name]);
        let answer = programs::try_run(&mut cli).ok()?;
        let lines: Vec<&str> = answer.lines().collect();
        lines.chunks(2).find(|pair| pair[0] == field).and_then(|pair| Some((*pair.get(1)?).to_owned()))
    }
}

fn start(name: &str, primary: &Redis, options: &SentinelOptions) -> Process {
    let home = Home::new("sentinel");
    let down_after = options.down_after.as_millis();
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", home.path().display()),
        format!("sentinel monitor {name} 127.0.0.1 {} 2", primary.port()),
        format!("sentinel down-after-milliseconds {name} {down_after}"),
        format!("sentinel failover-timeout {name} {}", down_after * 5),
    ];
    if primary.options().password {
        lines.push(format!("sentinel auth-pass {name} {PASSWORD}"));
    }
    if options.password {
        lines.push(format!("requirepass {PASSWORD}"));
        lines.push(format!("sentinel sentinel-pass {PASSWORD}"));
    }
    lines.extend(options.users.iter().map(|user| format!("user {user}")));
    let tls = primary.options().tls.as_ref();
    lines.extend(tls.iter().flat_map(|authority| redis::tls_lines(authority, &home)));
    let (lines, port) = (lines.join("\n"), if tls.is_some() { "port 0\ntls-port" } else { "port" });
    let plan = Plan {
        name: "sentinel",
        program: programs::program("redis-server", redis::PACKAGE),
        ports: 1,
        arguments: Box::new(move |home, ports| {
            // Its own port belongs into the file, which it rewrites.
            let file = home.write("sentinel.conf", &format!("{port} {}\n{lines}\n", ports[0]));
            vec![file.display().to_string(), "--sentinel".to_owned()]
        }),
        ready: Ready::Says("Sentinel ID is"),
        stop: Signal::TERM,
    };
    Process::start(plan, home)
}
