//! A server that is away, or says nothing.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::Health;
use inkstone_testkit::{Fault, Proxy, Toward};
use tokio::sync::oneshot;

use crate::backend::{self, Options, SCHEME, runner};

use super::bed::{NOTE_TEXTS, add, ctx_for, texts, write_note};

#[tokio::test]
async fn a_database_that_goes_away_is_found_again() {
    let (server, address) = backend::server();
    let db = backend::connect(Options::new(address.parse().unwrap(), Arc::new(SystemClock)));
    write_note(&db, "one").await.unwrap();
    server.process().kill();
    for _ in 0..3 {
        assert_eq!(write_note(&db, "lost").await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(matches!(db.health(), Health::Unreachable { .. }));
    server.process().restart();
    while write_note(&db, "two").await.is_err() {}
    assert_eq!(db.health(), Health::Sound);
    assert_eq!(texts(&db).await.unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{SCHEME}://inkstone@{}/blog", mute.local_addr().unwrap());
    let options = Options {
        connect_timeout: Duration::from_millis(100),
        ..Options::new(address.parse().unwrap(), Arc::new(SystemClock))
    };
    let error = runner::run(&options).await.unwrap_err();
    assert!(error.to_string().contains("no connection within 100ms"), "{error}");
    let db = backend::connect(options);
    assert_eq!(texts(&db).await.unwrap_err().code(), Code::Unavailable);
    assert!(matches!(db.health(), Health::Unreachable { .. }));
}

/// What was swallowed on the way is never answered. The limit of a write is too long to be waited for.
#[tokio::test]
async fn a_write_whose_answer_was_lost_stands_in_nobodys_way_once_the_server_is_known_to_be_silent() {
    let (server, address) = backend::server();
    let database = address.rsplit('/').next().unwrap();
    let proxy = Proxy::before(server.port());
    let address = server.url_through(&proxy.address().to_string(), database);
    let options = Options {
        write_timeout: Duration::from_hours(1),
        ..Options::new(address.parse().unwrap(), Arc::new(SystemClock))
    };
    let db = backend::connect(options);
    let read = |time| {
        let ctx = ctx_for(time);
        let db = db.clone();
        async move { db.read(&ctx, "notes.texts", |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await }
    };
    assert!(texts(&db).await.unwrap().is_empty());
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
    while write_note(&db, "found").await.is_err() {}
    assert_eq!(texts(&db).await.unwrap(), ["found"]);
}
