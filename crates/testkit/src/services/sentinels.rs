//! Three Redis sentinels that watch one primary and fail over.

use std::time::Duration;

use rustix::process::Signal;

use super::{Home, PASSWORD, Plan, Process, Ready, Redis, programs, redis};
use crate::wait::wait_until;

const COUNT: usize = 3;

/// Three sentinels, two of which must agree.
pub struct Sentinels {
    sentinels: Vec<Process>,
    name: &'static str,
}

impl Sentinels {
    /// Starts them on a primary (without TLS), and waits until they know each other and at least
    /// `replicas` replicas. A primary that is silent for `down_after` is down.
    pub fn watch(primary: &Redis, replicas: usize, down_after: Duration) -> Self {
        assert!(primary.options().tls.is_none(), "sentinels here speak without TLS");
        let name = "inkstone";
        let sentinels: Vec<Process> = (0..COUNT).map(|_| start(name, primary, down_after)).collect();
        let sentinels = Self { sentinels, name };
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
        self.sentinels.iter().map(|sentinel| sentinel.ports()[0]).collect()
    }

    /// Their processes.
    pub fn processes(&self) -> &[Process] {
        &self.sentinels
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
        let sentinel = &self.sentinels[which];
        let mut cli = programs::command(&programs::program("redis-cli", redis::PACKAGE), sentinel.home());
        cli.args(["-e", "-p", &sentinel.ports()[0].to_string(), "sentinel", "master", self.name]);
        let answer = programs::try_run(&mut cli).ok()?;
        let lines: Vec<&str> = answer.lines().collect();
        lines.chunks(2).find(|pair| pair[0] == field).and_then(|pair| Some((*pair.get(1)?).to_owned()))
    }
}

fn start(name: &str, primary: &Redis, down_after: Duration) -> Process {
    let home = Home::new("sentinel");
    let down_after = down_after.as_millis();
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
    let lines = lines.join("\n");
    let plan = Plan {
        name: "sentinel",
        program: programs::program("redis-server", redis::PACKAGE),
        ports: 1,
        arguments: Box::new(move |home, ports| {
            // Its own port belongs into the file, which it rewrites.
            let file = home.write("sentinel.conf", &format!("port {}\n{lines}\n", ports[0]));
            vec![file.display().to_string(), "--sentinel".to_owned()]
        }),
        ready: Ready::Says("Sentinel ID is"),
        stop: Signal::TERM,
    };
    Process::start(plan, home)
}
