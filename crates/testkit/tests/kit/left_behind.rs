//! Nothing outlives a test process that is killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inkstone_testkit::services::{Memcached, Postgres, Redis, ReplicaOptions};
use inkstone_testkit::wait_until;

/// Set for the process that is to be killed.
const VICTIM: &str = "INKSTONE_TESTKIT_VICTIM";

/// Does nothing but in the process that the next test starts and kills.
#[test]
fn stays_until_it_is_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let (primary, redis, memcached) = (Postgres::start(), Redis::start(), Memcached::start());
    let replica = primary.replica(ReplicaOptions::default());
    let shared = Redis::shared();
    // One that stands still cannot even notice that its parent has died.
    replica.process().pause();
    for process in [primary.process(), replica.process(), redis.process(), memcached.process(), shared.process()] {
        println!("\n{VICTIM} {} {:?}", process.home().display(), process.pids());
    }
    println!("\n{VICTIM} end");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_process_leaves_nothing_behind() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "left_behind::stays_until_it_is_killed", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.filter_map(|line| line.strip_prefix(VICTIM).map(str::to_owned));
    let homes: Vec<PathBuf> = told
        .take_while(|line| line != " end")
        .map(|line| {
            let (home, pids) = line.trim().split_once(' ').unwrap();
            assert_ne!(pids, "[]", "{home}");
            home.into()
        })
        .collect();
    assert_eq!(homes.len(), 5);
    assert!(homes.iter().all(|home| works(home)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("all servers are gone, with their directories", || {
        homes.iter().all(|home| !works(home) && !home.exists())
    });
}

/// Whether any process works in this directory or below.
fn works(home: &Path) -> bool {
    let links = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path().join("cwd")));
    links.filter_map(|link| std::fs::read_link(link).ok()).any(|at| at.starts_with(home))
}

/// The kernel counts segments of shared memory and keeps those of the killed.
#[test]
fn a_killed_postgres_leaves_no_shared_memory() {
    let server = Postgres::start();
    let lock = std::fs::read_to_string(server.process().home().join("data/cluster/postmaster.pid")).unwrap();
    let segment = lock.lines().nth(6).unwrap().split_whitespace().last().unwrap().to_owned();
    let kept = || {
        let segments = Command::new("ipcs").arg("-m").output().unwrap().stdout;
        String::from_utf8_lossy(&segments).lines().any(|line| line.split_whitespace().nth(1) == Some(&segment))
    };
    assert!(kept());
    server.process().kill();
    assert!(kept(), "what is killed does not tidy up");
    drop(server);
    assert!(!kept());
}
