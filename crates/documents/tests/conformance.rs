//! What every store of documents must do. SQLite, PostgreSQL and MariaDB are always asked;
//! MongoDB and DynamoDB, by their stand-ins, with the features of those names: `crates/documents/test-all`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
mod stand_in;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Context, Deadline};
use inkstone_documents::{Document, Documents, Listing, MAX_BODY_BYTES, StoreDocuments};
use inkstone_store::db::{Db, MariaDbOptions, PostgresOptions, SqliteOptions};
use inkstone_store::migrate;
use inkstone_testkit::services::{MariaDb, Postgres};
use jiff::Timestamp;
use serde_json::{Value, json};

fn context() -> Context {
    let deadline = Deadline::at(SystemClock.instant() + Duration::from_mins(1));
    Context::new(Caller::Operator, "test", deadline)
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

fn document(collection: &str, key: &str, micros: i64, body: Value) -> Document {
    Document::new(collection, key, at(micros), body).unwrap()
}

fn listing(collection: &str) -> Listing {
    Listing {
        collection: collection.to_owned(),
        prefix: String::new(),
        from: at(-1_000_000_000),
        until: at(1_000_000_000),
        after: None,
        limit: 100,
    }
}

async fn keys(documents: &dyn Documents, listing: &Listing) -> Vec<String> {
    let found = documents.list(&context(), listing).await.unwrap();
    assert!(found.iter().all(|document| document.collection() == listing.collection));
    found.iter().map(|document| document.key().to_owned()).collect()
}

/// All of it, on one store, in collections of their own.
async fn conforms(documents: &dyn Documents) {
    what_was_put_is_got(documents).await;
    another_takes_the_place(documents).await;
    lists_are_in_order_and_bounded(documents).await;
    pages_neither_skip_nor_repeat(documents).await;
    the_old_go_first(documents).await;
}

async fn what_was_put_is_got(documents: &dyn Documents) {
    let bodies = [
        json!(null),
        json!([]),
        json!({}),
        json!("\u{1f58b} \u{202e} \u{ffff} \u{10ffff} \" \\ \u{1} e\u{301}"),
        json!({"": 1, "a.b": 2, "$set": {"$x": [1, "two", null, {"three": []}]}, "_id": "x", "z": 0, "a": 1}),
        json!({"least": i64::MIN, "most": i64::MAX, "small": 5e-324, "large": 1.5e308, "float": 1.0, "minus": -0.5}),
        json!("x".repeat(MAX_BODY_BYTES - 2)),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        for time in [-62_000_000_000_000_000, -1, 0, 1_700_000_000_123_456] {
            let document = document("got", &format!("k/{number}:{time}~!"), time, body.clone());
            documents.put(&context(), &document).await.unwrap();
            let found = documents.get(&context(), "got", document.key()).await.unwrap();
            assert_eq!(found.as_ref(), Some(&document));
        }
    }
    assert_eq!(documents.get(&context(), "got", "k").await.unwrap(), None);
    assert_eq!(documents.get(&context(), "elsewhere", "k/0:0~!").await.unwrap(), None);
}

async fn another_takes_the_place(documents: &dyn Documents) {
    for (time, body) in [(10, json!({"old": 1})), (20, json!({"new": 2})), (15, json!("newest"))] {
        documents.put(&context(), &document("place", "one", time, body.clone())).await.unwrap();
        let found = documents.list(&context(), &listing("place")).await.unwrap();
        assert_eq!(found, [document("place", "one", time, body)], "in its place and at its time");
    }
}

async fn lists_are_in_order_and_bounded(documents: &dyn Documents) {
    for (key, time) in [("post:2/b", 5), ("post:1/a", 5), ("post:10", -7), ("Post:1", 5), ("user:1", 9), ("post:1", 6)]
    {
        documents.put(&context(), &document("lists", key, time, json!(time))).await.unwrap();
        documents.put(&context(), &document("lists2", key, time, json!(time))).await.unwrap();
    }
    let all = listing("lists");
    let list = |listing| async move { keys(documents, &listing).await };
    assert_eq!(list(all.clone()).await, ["post:10", "Post:1", "post:1/a", "post:2/b", "post:1", "user:1"]);
    assert_eq!(list(Listing { limit: 2, ..all.clone() }).await, ["post:10", "Post:1"]);
    assert_eq!(list(Listing { from: at(5), until: at(6), ..all.clone() }).await, ["Post:1", "post:1/a", "post:2/b"]);
    let prefix = Listing { prefix: "post:1".to_owned(), ..all.clone() };
    assert_eq!(list(prefix.clone()).await, ["post:10", "post:1/a", "post:1"]);
    assert_eq!(list(Listing { limit: 2, ..prefix.clone() }).await, ["post:10", "post:1/a"]);
    assert_eq!(list(Listing { after: Some((at(5), "post:1/a".to_owned())), ..prefix }).await, ["post:1"]);
    let empty: [&str; 0] = [];
    assert_eq!(list(Listing { from: at(7), until: at(7), ..all }).await, empty);
    assert_eq!(list(Listing { limit: 0, ..listing("lists") }).await, empty);
    assert_eq!(list(listing("nothing")).await, empty);
}

async fn pages_neither_skip_nor_repeat(documents: &dyn Documents) {
    let mut expected = BTreeSet::new();
    for number in 0..230_i64 {
        let key = format!("k{}", (number * 37) % 230);
        expected.insert((number / 9, key.clone()));
        documents
            .put(&context(), &document("pages", &key, number / 9, json!({"text": "x".repeat(3000)})))
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut next = Listing { limit: 7, ..listing("pages") };
    loop {
        let page = documents.list(&context(), &next).await.unwrap();
        let Some(last) = page.last() else { break };
        next.after = Some((last.at(), last.key().to_owned()));
        seen.extend(page.iter().map(|document| (document.at().as_microsecond(), document.key().to_owned())));
    }
    assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
    // Larger than what a server sends at once.
    assert_eq!(keys(documents, &Listing { limit: 1000, ..listing("pages") }).await.len(), 230);
}

async fn the_old_go_first(documents: &dyn Documents) {
    for number in 0..60 {
        documents.put(&context(), &document("old", &format!("k{number:02}"), number, json!(1))).await.unwrap();
        documents.put(&context(), &document("old2", &format!("k{number:02}"), number, json!(1))).await.unwrap();
    }
    let remove =
        |before, most| async move { documents.remove_older(&context(), "old", at(before), most).await.unwrap() };
    assert_eq!(remove(50, 3).await, 3);
    assert_eq!(keys(documents, &Listing { limit: 1, ..listing("old") }).await, ["k03"]);
    assert_eq!(remove(50, 0).await, 0);
    assert_eq!(remove(50, 1000).await, 47, "what is of that time itself stays");
    assert_eq!(remove(50, 1000).await, 0);
    assert_eq!(keys(documents, &listing("old")).await.len(), 10);
    assert_eq!(keys(documents, &listing("old2")).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(directory.path().join("blog.db"), Arc::new(SystemClock));
    migrate::run(&options).unwrap();
    let db = Db::open(options).unwrap();
    conforms(&StoreDocuments::prepare(db.clone(), &context()).await.unwrap()).await;
    StoreDocuments::prepare(db, &context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_conforms() {
    let postgres = Postgres::shared();
    let url = postgres.url(&postgres.database()).parse().unwrap();
    let db = Db::connect(PostgresOptions::new(url, Arc::new(SystemClock))).unwrap();
    conforms(&StoreDocuments::prepare(db.clone(), &context()).await.unwrap()).await;
    StoreDocuments::prepare(db, &context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_conforms() {
    let mariadb = MariaDb::shared();
    let url = mariadb.url(&mariadb.database()).parse().unwrap();
    let options = MariaDbOptions::new(url, Arc::new(SystemClock));
    // A write locks a row of the blog's.
    migrate::mariadb::run(&options).await.unwrap();
    let db = Db::connect_mariadb(options);
    conforms(&StoreDocuments::prepare(db.clone(), &context()).await.unwrap()).await;
    StoreDocuments::prepare(db, &context()).await.unwrap();
}

#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread")]
async fn mongodb_conforms() {
    let server = stand_in::StandIn::start("mongodb");
    let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", server.port);
    let connect = || inkstone_documents::MongoDocuments::connect(&url, "blog", Arc::new(SystemClock));
    conforms(&connect().await.unwrap()).await;
    connect().await.unwrap();
}

#[cfg(feature = "dynamodb")]
#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_conforms() {
    let server = stand_in::StandIn::start("dynamodb");
    let address = inkstone_documents::DynamoAddress {
        table: "blog".to_owned(),
        region: "eu-central-1".to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{}", server.port)),
        credentials: Some(("key".to_owned(), "secret".to_owned())),
    };
    let connect = || inkstone_documents::DynamoDocuments::connect(address.clone(), Arc::new(SystemClock));
    conforms(&connect().await.unwrap()).await;
    connect().await.unwrap();
}

/// A store that does not answer costs the caller its deadline and no more.
#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_not_waited_for() {
    use inkstone_testkit::{Fault, Proxy, Toward};
    let server = stand_in::StandIn::start("mongodb");
    let proxy = Proxy::before(server.port);
    let url = format!("mongodb://{}/?directConnection=true", proxy.address());
    let documents = inkstone_documents::MongoDocuments::connect(&url, "blog", Arc::new(SystemClock)).await.unwrap();
    proxy.set(Fault::Hang(Toward::Both));
    let deadline = Deadline::at(SystemClock.instant() + Duration::from_millis(300));
    let error = documents.get(&Context { deadline, ..context() }, "c", "k").await.unwrap_err();
    assert_eq!(error.code(), inkstone_core::Code::DeadlineExceeded);
}
