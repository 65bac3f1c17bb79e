//! A database that is away, only reads, or has no room.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, Health, MariaDbOptions};
use inkstone_store::migrate;
use inkstone_testkit::services::{Authority, MariaDb, MariaDbOptions as Server};
use inkstone_testkit::{Fault, Proxy, Toward};
use tokio::sync::oneshot;

use crate::bed::{NOTE_TEXTS, NOTES, add, ctx, ctx_for};

/// A server of its own with notes on it, for a user who may do no more than an operator grants.
fn server(options: Server) -> (MariaDb, String) {
    let server = MariaDb::start_with(options);
    let database = server.database();
    server.sql(&database, NOTES);
    server.sql(
        "mysql",
        &format!(
            "create user 'blog'@'%' identified by 'sesame'; \
             grant select, insert, update, delete on {database}.* to 'blog'@'%'"
        ),
    );
    let address = format!("mysql://blog:sesame@127.0.0.1:{}/{database}", server.port());
    (server, address)
}

fn connect(address: &str) -> Db {
    Db::connect_mariadb(MariaDbOptions::new(address.parse().unwrap(), Arc::new(SystemClock)))
}

async fn write(db: &Db, text: &'static str) -> inkstone_core::Result<i64> {
    db.write(&ctx(), "notes.add", move |conn| Box::pin(add(conn, text))).await
}

async fn texts(db: &Db) -> inkstone_core::Result<Vec<String>> {
    db.read(&ctx(), "notes.texts", |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await
}

#[tokio::test]
async fn a_database_that_only_reads_is_known_and_left_by_itself() {
    let (server, address) = server(Server::default());
    let db = connect(&address);
    write(&db, "one").await.unwrap();
    server.sql("mysql", "set global read_only = 1");
    let refused = write(&db, "two").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.to_string().contains("Reading goes on"), "{refused}");
    assert_eq!(texts(&db).await.unwrap(), ["one"]);
    assert!(matches!(db.health(), Health::ReadOnly { .. }), "reads say nothing about writes");
    db.recover().await.unwrap_err();
    server.sql("mysql", "set global read_only = 0");
    db.recover().await.unwrap();
    assert_eq!(db.health(), Health::Sound);
    write(&db, "two").await.unwrap();
}

#[tokio::test]
async fn a_database_that_goes_away_is_found_again() {
    let (server, address) = server(Server::default());
    let db = connect(&address);
    write(&db, "one").await.unwrap();
    server.process().kill();
    for _ in 0..3 {
        assert_eq!(write(&db, "lost").await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(matches!(db.health(), Health::Unreachable { .. }));
    server.process().restart();
    while write(&db, "two").await.is_err() {}
    assert_eq!(db.health(), Health::Sound);
    assert_eq!(texts(&db).await.unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("mysql://inkstone@{}/blog", mute.local_addr().unwrap());
    let options = MariaDbOptions {
        connect_timeout: Duration::from_millis(100),
        ..MariaDbOptions::new(address.parse().unwrap(), Arc::new(SystemClock))
    };
    let error = migrate::mariadb::run(&options).await.unwrap_err();
    assert!(error.to_string().contains("no connection within 100ms"), "{error}");
    let db = Db::connect_mariadb(options);
    assert_eq!(texts(&db).await.unwrap_err().code(), Code::Unavailable);
    assert!(matches!(db.health(), Health::Unreachable { .. }));
}

#[tokio::test]
async fn a_server_without_a_place_for_us_says_so() {
    let (server, address) = server(Server::default());
    server.sql("mysql", "alter user 'blog'@'%' with max_user_connections 1");
    let first = connect(&address);
    texts(&first).await.unwrap();
    assert_eq!(texts(&connect(&address)).await.unwrap_err().code(), Code::Overloaded);
}

#[tokio::test]
async fn who_the_server_is_has_to_be_proved_where_tls_is_asked_for() {
    let authority = Arc::new(Authority::new());
    let (_server, address) = server(Server { tls: Some(Arc::clone(&authority)), ..Server::default() });
    let trusted = format!("{address}?sslmode=verify-full&sslrootcert={}", authority.file().display());
    let db = connect(&trusted);
    write(&db, "one").await.unwrap();
    assert_eq!(texts(&db).await.unwrap(), ["one"]);
    // In the clear, or with a proof that somebody else signed, nothing is said.
    let stranger = Authority::new();
    let untrusted = format!("{address}?sslmode=verify-full&sslrootcert={}", stranger.file().display());
    for refused in [address.as_str(), untrusted.as_str()] {
        assert_eq!(texts(&connect(refused)).await.unwrap_err().code(), Code::Unavailable, "{refused}");
    }
}

/// What was swallowed on the way is never answered. The limit of a write is too long to be waited for.
#[tokio::test]
async fn a_write_whose_answer_was_lost_stands_in_nobodys_way_once_the_server_is_known_to_be_silent() {
    let (server, address) = server(Server::default());
    let database = address.rsplit('/').next().unwrap();
    let proxy = Proxy::before(server.port());
    let address = server.url_through(&proxy.address().to_string(), database);
    let options = MariaDbOptions {
        write_timeout: Duration::from_hours(1),
        ..MariaDbOptions::new(address.parse().unwrap(), Arc::new(SystemClock))
    };
    let db = Db::connect_mariadb(options);
    let read = |time| {
        let ctx = ctx_for(time);
        let db = db.clone();
        async move { db.read(&ctx, "notes.texts", |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await }
    };
    assert!(read(Duration::from_mins(1)).await.unwrap().is_empty());
    let (begun, begins) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let lost = tokio::spawn({
        let db = db.clone();
        async move {
            let ctx = ctx_for(Duration::from_secs(5));
            let unit = db.write(&ctx, "notes.add", |conn| {
                Box::pin(async move {
                    add(conn, "lost").await?;
                    begun.send(()).unwrap();
                    gone.await.unwrap();
                    add(conn, "lost").await
                })
            });
            unit.await
        }
    });
    begins.await.unwrap();
    proxy.set(Fault::Swallow(Toward::Both));
    go.send(()).unwrap();
    // These have less time, and get no answer either.
    while !lost.is_finished() {
        read(Duration::from_millis(300)).await.unwrap_err();
    }
    lost.await.unwrap().unwrap_err();
    proxy.set_new(Fault::None);
    let write = || {
        let db = db.clone();
        async move { db.write(&ctx_for(Duration::from_mins(1)), "notes.add", |conn| Box::pin(add(conn, "found"))).await }
    };
    while write().await.is_err() {}
    let found = read(Duration::from_mins(1)).await.unwrap();
    assert_eq!(found, ["found"]);
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let ((one, address), (other, _)) = (server(Server::default()), server(Server::default()));
    let hosts = format!(":{},127.0.0.1:{}", one.port(), other.port());
    let db = connect(&address.replace(&format!(":{}", one.port()), &hosts));
    let only_reads = |server: &MariaDb, yes: u8| drop(server.sql("mysql", &format!("set global read_only = {yes}")));
    only_reads(&one, 1);
    // A write gives its connection back before it is acknowledged, so that the next one is on it.
    write(&db, "to the other").await.unwrap();
    let (_, database) = address.rsplit_once('/').unwrap();
    assert_eq!(other.sql(database, "select text from notes"), "to the other");
    // As after a switch-over: what took writes goes on answering. They are not replicas of one another.
    only_reads(&other, 1);
    only_reads(&one, 0);
    assert_eq!(write(&db, "refused").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(texts(&db).await.unwrap(), [""; 0], "its connections are left");
    write(&db, "to the first").await.unwrap();
    one.process().kill();
    write(&db, "lost").await.unwrap_err();
    assert!(matches!(db.health(), Health::Unreachable { .. }), "nobody takes writes");
    only_reads(&other, 0);
    write(&db, "to the other again").await.unwrap();
    assert_eq!(texts(&db).await.unwrap(), ["to the other", "to the other again"]);
}
