//! Memcached.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::{Home, Plan, Process, Ready, programs};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct MemcachedOptions {
    /// For how many MiB of items it has room.
    pub memory_mib: u32,
    /// More arguments, as `-I 2m`.
    pub arguments: Vec<String>,
}

/// A running server.
pub struct Memcached {
    process: Process,
    next: AtomicUsize,
}

impl Default for MemcachedOptions {
    fn default() -> Self {
        Self { memory_mib: 64, arguments: Vec::new() }
    }
}

impl Memcached {
    /// Starts an empty server.
    pub fn start() -> Self {
        Self::start_with(MemcachedOptions::default())
    }

    /// Starts an empty server.
    pub fn start_with(options: MemcachedOptions) -> Self {
        let plan = Plan {
            name: "memcached",
            program: programs::program("memcached", "memcached"),
            ports: 1,
            arguments: Box::new(move |_, ports| {
                let (port, memory) = (ports[0].to_string(), options.memory_mib.to_string());
                let mut arguments =
                    ["-l", "127.0.0.1", "-U", "0", "-t", "2", "-p", &port, "-m", &memory].map(str::to_owned).to_vec();
                arguments.extend(options.arguments.iter().cloned());
                arguments
            }),
            ready: Ready::Listens,
            stop: Signal::TERM,
        };
        Self { process: Process::start(plan, Home::new("memcached")), next: AtomicUsize::new(0) }
    }

    /// One server for the whole test process. Take a [`Memcached::prefix`], inject no faults.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Memcached> = OnceLock::new();
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

    /// Where it listens, as `127.0.0.1:11211`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// What the keys of one test begin with, since there are no databases.
    pub fn prefix(&self) -> String {
        format!("test{}:", self.next.fetch_add(1, Ordering::Relaxed))
    }
}
