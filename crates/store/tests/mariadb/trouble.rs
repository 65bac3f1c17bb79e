//! A database that only reads, has no room, has to prove itself, or is one of several.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, Health, MariaDbOptions};
use inkstone_testkit::services::{Authority, MariaDb, MariaDbOptions as Server};

use crate::backend::{server, server_with};
use crate::bed::{texts, write_note};

fn connect(address: &str) -> Db {
    Db::connect_mariadb(MariaDbOptions::new(address.parse().unwrap(), Arc::new(SystemClock)))
}

#[tokio::test]
async fn a_database_that_only_reads_is_known_and_left_by_itself() {
    let (server, address) = server();
    let db = connect(&address);
    write_note(&db, "one").await.unwrap();
    server.sql("mysql", "set global read_only = 1");
    let refused = write_note(&db, "two").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.to_string().contains("Reading goes on"), "{refused}");
    assert_eq!(texts(&db).await.unwrap(), ["one"]);
    assert!(matches!(db.health(), Health::ReadOnly { .. }), "reads say nothing about writes");
    db.recover().await.unwrap_err();
    server.sql("mysql", "set global read_only = 0");
    db.recover().await.unwrap();
    assert_eq!(db.health(), Health::Sound);
    write_note(&db, "two").await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_place_for_us_says_so() {
    let (server, address) = server();
    server.sql("mysql", "alter user 'blog'@'%' with max_user_connections 1");
    let first = connect(&address);
    texts(&first).await.unwrap();
    assert_eq!(texts(&connect(&address)).await.unwrap_err().code(), Code::Overloaded);
}

#[tokio::test]
async fn who_the_server_is_has_to_be_proved_where_tls_is_asked_for() {
    let authority = Arc::new(Authority::new());
    let (_server, address) = server_with(Server { tls: Some(Arc::clone(&authority)), ..Server::default() });
    let trusted = format!("{address}?sslmode=verify-full&sslrootcert={}", authority.file().display());
    let db = connect(&trusted);
    write_note(&db, "one").await.unwrap();
    assert_eq!(texts(&db).await.unwrap(), ["one"]);
    // In the clear, or with a proof that somebody else signed, nothing is said.
    let stranger = Authority::new();
    let untrusted = format!("{address}?sslmode=verify-full&sslrootcert={}", stranger.file().display());
    for refused in [address.as_str(), untrusted.as_str()] {
        assert_eq!(texts(&connect(refused)).await.unwrap_err().code(), Code::Unavailable, "{refused}");
    }
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let ((one, address), (other, _)) = (server(), server());
    let hosts = format!(":{},127.0.0.1:{}", one.port(), other.port());
    let db = connect(&address.replace(&format!(":{}", one.port()), &hosts));
    let only_reads = |server: &MariaDb, yes: u8| drop(server.sql("mysql", &format!("set global read_only = {yes}")));
    only_reads(&one, 1);
    // A write gives its connection back before it is acknowledged, so that the next one is on it.
    write_note(&db, "to the other").await.unwrap();
    let (_, database) = address.rsplit_once('/').unwrap();
    assert_eq!(other.sql(database, "select text from notes"), "to the other");
    // As after a switch-over: what took writes goes on answering. They are not replicas of one another.
    only_reads(&other, 1);
    only_reads(&one, 0);
    assert_eq!(write_note(&db, "refused").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(texts(&db).await.unwrap(), [""; 0], "its connections are left");
    write_note(&db, "to the first").await.unwrap();
    one.process().kill();
    write_note(&db, "lost").await.unwrap_err();
    assert!(matches!(db.health(), Health::Unreachable { .. }), "nobody takes writes");
    only_reads(&other, 0);
    write_note(&db, "to the other again").await.unwrap();
    assert_eq!(texts(&db).await.unwrap(), ["to the other", "to the other again"]);
}
