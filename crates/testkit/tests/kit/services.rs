//! Each real server is started, used, hurt and started again.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inkstone_testkit::services::{
    Authority, HaProxy, MariaDb, MariaDbOptions, Memcached, PASSWORD, PgBouncer, Postgres, PostgresOptions, Process,
    Redis, RedisCluster, RedisOptions, ReplicaOptions, Sentinels, USER,
};
use inkstone_testkit::wait_until;

/// Asks something over a bare socket; empty if no answer comes in a while.
fn ask(port: u16, question: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.write_all(question).unwrap();
    let mut answer = [0; 256];
    let length = socket.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// What every server has to go through.
fn suffers(process: &Process, mut answers: impl FnMut() -> bool) {
    assert!(answers());
    process.pause();
    assert!(!answers(), "a paused server answers nobody");
    process.resume();
    wait_until("it answers again", &mut answers);
    let before = process.pid().unwrap();
    process.kill();
    assert_eq!((process.pid(), process.pids()), (None, vec![]));
    assert!(TcpStream::connect(("127.0.0.1", process.ports()[0])).is_err());
    process.restart();
    assert_ne!(process.pid(), Some(before));
    assert!(answers());
    process.terminate();
    assert_eq!(process.pids(), Vec::<u32>::new());
    process.restart();
    assert!(answers());
}

/// `psql` as a client from outside would use it: with an address.
fn psql(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-XqAt", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn postgres_keeps_what_it_has_through_everything() {
    let server = Postgres::start();
    let database = server.database();
    server.sql(&database, "create table kept (what text)");
    server.sql(&database, "insert into kept values ('all of it')");
    // A request for TLS, which it answers with a letter.
    suffers(server.process(), || ask(server.port(), &[0, 0, 0, 8, 4, 210, 22, 47]) == "N");
    assert_eq!(server.sql(&database, "select what from kept"), "all of it");
    let copy = server.database_from(&database);
    assert_eq!(psql(&server.url(&copy), "select what from kept").unwrap(), "all of it");
    let home = server.process().home().to_owned();
    drop(server);
    assert!(!home.exists());
}

#[test]
fn postgres_is_shared_by_a_test_process_with_a_database_for_each() {
    let (one, other) = (Postgres::shared().database(), Postgres::shared().database());
    assert_ne!(one, other);
    Postgres::shared().sql(&one, "create table mine ()");
    assert_eq!(Postgres::shared().sql(&other, "select to_regclass('mine') is null"), "t");
}

#[test]
fn postgres_asks_for_tls_and_password_where_it_shall() {
    let authority = Arc::new(Authority::new());
    let server =
        Postgres::start_with(PostgresOptions { tls: Some(authority), password: true, ..PostgresOptions::default() });
    let url = server.url("postgres");
    let mine = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&url, mine).unwrap(), "t");
    let plain = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=disable", server.port());
    assert!(psql(&plain, mine).unwrap_err().contains("no encryption"));
    assert!(psql(&url.replace(PASSWORD, "wrong"), mine).unwrap_err().contains("password"));
    let stranger = Authority::new();
    let distrustful = url.split("&sslrootcert").next().unwrap().to_owned();
    let distrustful = format!("{distrustful}&sslrootcert={}", stranger.file().display());
    assert!(psql(&distrustful, mine).unwrap_err().contains("certificate verify failed"));
}

#[test]
fn a_synchronous_replica_takes_over_with_everything() {
    let primary = Postgres::start();
    let database = primary.database();
    primary.sql(&database, "create table kept (n int)");
    let replica = primary.replica(ReplicaOptions { synchronous: true, ..ReplicaOptions::default() });
    assert!(replica.is_replica());
    primary.sql(&database, "insert into kept select generate_series(1, 1000)");
    primary.process().kill();
    replica.promote();
    assert!(!replica.is_replica());
    assert_eq!(replica.sql(&database, "select count(*) from kept"), "1000");
    replica.sql(&database, "insert into kept values (1001)");
}

#[test]
fn a_replica_that_is_told_to_lags() {
    let primary = Postgres::start();
    let hour = ReplicaOptions { delay: Duration::from_hours(1), ..ReplicaOptions::default() };
    let (late, prompt) = (primary.replica(hour), primary.replica(ReplicaOptions::default()));
    primary.sql("postgres", "create table new ()");
    let there = "select to_regclass('new') is not null";
    prompt.catch_up_with(&primary);
    assert_eq!(prompt.sql("postgres", there), "t");
    assert_eq!(late.sql("postgres", there), "f");
}

#[test]
fn pgbouncer_pools_by_transaction() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let bouncer = PgBouncer::start(postgres.port(), &[("default_pool_size", "1")]);
    let backend = || psql(&bouncer.url(&database), "select pg_backend_pid()").unwrap();
    assert_eq!(backend(), backend(), "two clients, one after the other, on one connection");
    suffers(bouncer.process(), || ask(bouncer.port(), &[0, 0, 0, 8, 4, 210, 22, 47]) == "N");
    assert!(backend().parse::<u32>().is_ok());
}

#[test]
fn redis_forgets_unless_it_is_told_not_to() {
    let server = Redis::start();
    suffers(server.process(), || ask(server.port(), b"PING\r\n") == "+PONG\r\n");
    assert_eq!(server.cli(&["set", "key", "value"]), "OK");
    server.process().restart();
    assert_eq!(server.cli(&["exists", "key"]), "0");
    let options = [("appendonly", "yes"), ("appendfsync", "always")].map(|(name, value)| (name.into(), value.into()));
    let server = Redis::start_with(RedisOptions { settings: options.to_vec(), ..RedisOptions::default() });
    server.cli(&["set", "key", "value"]);
    server.process().restart();
    assert_eq!(server.cli(&["get", "key"]), "value");
    assert_ne!(Redis::shared().keyspace(), Redis::shared().keyspace());
}

#[test]
fn redis_asks_who_is_there_and_what_they_may() {
    let server = Redis::start_with(RedisOptions {
        password: true,
        users: vec!["blog on >secret ~ink:* &* +@all -@dangerous".to_owned()],
        tls: Some(Arc::new(Authority::new())),
        ..RedisOptions::default()
    });
    assert!(server.url().starts_with(&format!("rediss://:{PASSWORD}@127.0.0.1:")));
    assert_eq!(server.cli(&["acl", "whoami"]), "default");
    let blog = |command: &[&str]| server.try_cli(&[&["--user", "blog", "--pass", "secret"], command].concat());
    assert_eq!(blog(&["set", "ink:1", "x"]).unwrap(), "OK");
    assert!(blog(&["set", "stone:1", "x"]).unwrap_err().contains("NOPERM"));
    assert!(blog(&["flushall"]).unwrap_err().contains("NOPERM"));
    assert_eq!(ask(server.port(), b"PING\r\n"), "", "nothing without TLS");
    let replica = server.replica();
    assert_eq!((server.role().as_str(), replica.role().as_str()), ("master", "slave"));
}

#[test]
fn sentinels_make_the_replica_the_primary() {
    let primary = Redis::start();
    let replica = primary.replica();
    primary.cli(&["set", "key", "value"]);
    assert_eq!(primary.cli(&["wait", "1", "0"]), "1");
    let sentinels = Sentinels::watch(&primary, 1, Duration::from_millis(500));
    assert_eq!(sentinels.primary_port(0), primary.port());
    primary.process().kill();
    sentinels.wait_for_primary(replica.port());
    wait_until("the replica is primary", || replica.role() == "master");
    assert_eq!(replica.cli(&["get", "key"]), "value");
    primary.process().restart();
    wait_until("the old primary follows the new one", || primary.role() == "slave");
}

#[test]
fn a_cluster_shares_the_slots_and_goes_on_without_a_node() {
    let cluster = RedisCluster::start(&RedisOptions::default());
    let [one, two, three] = cluster.nodes() else { panic!("three nodes") };
    // CRC16 of "a" modulo 16384 is 15495, of "b" 3300: the last third and the first.
    assert_eq!(one.cli(&["set", "b", "x"]), "OK");
    assert!(one.try_cli(&["set", "a", "x"]).unwrap_err().contains("MOVED 15495"));
    assert_eq!(three.cli(&["set", "a", "x"]), "OK");
    three.process().kill();
    wait_until("the loss is noticed", || two.cli(&["cluster", "info"]).contains("cluster_slots_ok:10922"));
    assert_eq!(one.cli(&["get", "b"]), "x");
    three.process().restart();
    cluster.wait_until_whole();
    assert_eq!(three.cli(&["exists", "a"]), "0");
}

#[test]
fn memcached_holds_what_it_has_room_for() {
    let server = Memcached::start();
    suffers(server.process(), || ask(server.port(), b"version\r\n").starts_with("VERSION "));
    let prefix = server.prefix();
    assert_eq!(ask(server.port(), format!("set {prefix}a 0 0 1\r\nx\r\n").as_bytes()), "STORED\r\n");
    assert!(ask(server.port(), format!("get {prefix}a\r\n").as_bytes()).contains("\r\nx\r\n"));
    assert_ne!(prefix, server.prefix());
    assert!(ask(Memcached::shared().port(), b"get a\r\n").starts_with("END"));
}

#[test]
fn mariadb_keeps_what_it_has_through_everything() {
    let server = MariaDb::start();
    let database = server.database();
    server.sql(&database, "create table kept (what text)");
    server.sql(&database, "insert into kept values ('all of it 🪨')");
    // It greets whoever comes, with its version.
    suffers(server.process(), || ask(server.port(), b"").contains("MariaDB"));
    assert_eq!(server.sql(&database, "select what from kept"), "all of it 🪨");
    assert!(server.url(&database).ends_with(&format!("@127.0.0.1:{}/{database}", server.port())));
    assert_ne!(MariaDb::shared().database(), MariaDb::shared().database());
}

#[test]
fn mariadb_asks_for_tls_and_password_where_it_shall() {
    let authority = Arc::new(Authority::new());
    let trusted = authority.file();
    let server = MariaDb::start_with(MariaDbOptions { tls: Some(authority), ..MariaDbOptions::default() });
    let client = |password: &str, more: &[&str]| {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", "127.0.0.1", "-P", &server.port().to_string(), "-u", USER]);
        let output = client.arg(format!("-p{password}")).args(more).args(["-BNe", "select 7"]).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let authority = format!("--ssl-ca={}", trusted.display());
    let tls: &[&str] = &["--ssl", "--ssl-verify-server-cert", &authority];
    let (answer, complaint) = client(PASSWORD, tls);
    assert_eq!(answer, "7\n", "{complaint}");
    assert!(client("wrong", tls).1.contains("Access denied"));
    let (answer, complaint) = client(PASSWORD, &["--skip-ssl"]);
    assert!(answer.is_empty() && complaint.contains("ERROR"), "nothing without TLS: {complaint}");
}

#[test]
fn haproxy_stands_in_front() {
    let backends = [Memcached::start(), Memcached::start()];
    let ports = [backends[0].port(), backends[1].port()];
    let front = HaProxy::start(1, move |own| {
        format!(
            "defaults\n mode tcp\n timeout connect 1s\n timeout client 1m\n timeout server 1m\n\
             listen cache\n bind 127.0.0.1:{}\n option redispatch\n retries 2\n\
             server one 127.0.0.1:{} check inter 100ms\n server two 127.0.0.1:{} check inter 100ms\n",
            own[0], ports[0], ports[1]
        )
    });
    let answers = || ask(front.ports()[0], b"version\r\n").starts_with("VERSION ");
    suffers(front.process(), answers);
    backends[0].process().kill();
    wait_until("it has noticed", || front.process().log_text().contains("cache/one is DOWN"));
    assert!((0..4).all(|_| answers()));
}

#[test]
fn who_finds_the_port_taken_gets_another() {
    let backend = Memcached::shared().port();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, tries) = (taken.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = tries.clone();
    let front = HaProxy::start(1, move |own| {
        // As if somebody had been quicker the first time.
        let own = if counted.fetch_add(1, Ordering::SeqCst) == 0 { port } else { own[0] };
        format!(
            "defaults\n mode tcp\n timeout connect 1s\n timeout client 1m\n timeout server 1m\n\
             listen cache\n bind 127.0.0.1:{own}\n server one 127.0.0.1:{backend}\n"
        )
    });
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert!(ask(front.ports()[0], b"version\r\n").starts_with("VERSION "));
}
