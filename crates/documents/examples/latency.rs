//! How long a document takes, one after the other: the figures of `docs/decisions/0018-documents.md`.
//!
//! ```text
//! latency sqlite DIR | postgres URL | mongodb URL | dynamodb ENDPOINT
//! ```

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on panics")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Context, Deadline};
use inkstone_documents::{Document, Documents, Listing, StoreDocuments};
use inkstone_store::db::{Db, PostgresOptions, SqliteOptions};
use jiff::Timestamp;
use serde_json::json;

const DOCUMENTS: u32 = 500;
const LISTS: u32 = 100;

fn context() -> Context {
    let deadline = Deadline::at(SystemClock.instant() + Duration::from_mins(1));
    Context::new(Caller::Operator, "latency", deadline)
}

async fn open(kind: &str, place: &str) -> Box<dyn Documents> {
    let clock = Arc::new(SystemClock);
    match kind {
        "sqlite" => {
            let db = Db::open(SqliteOptions::new(format!("{place}/documents.db"), clock)).unwrap();
            Box::new(StoreDocuments::prepare(db, &context()).await.unwrap())
        }
        "postgres" => {
            let db = Db::connect(PostgresOptions::new(place.parse().unwrap(), clock)).unwrap();
            Box::new(StoreDocuments::prepare(db, &context()).await.unwrap())
        }
        #[cfg(feature = "mongodb")]
        "mongodb" => Box::new(inkstone_documents::MongoDocuments::connect(place, "latency", clock).await.unwrap()),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => {
            let address = inkstone_documents::DynamoAddress {
                table: "latency".to_owned(),
                region: "eu-central-1".to_owned(),
                endpoint: Some(place.to_owned()),
                credentials: Some(("key".to_owned(), "secret".to_owned())),
            };
            Box::new(inkstone_documents::DynamoDocuments::connect(address, clock).await.unwrap())
        }
        other => panic!("{other} is not built in"),
    }
}

fn say(what: &str, began: Instant, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let whole = SystemClock.instant().duration_since(began);
    println!("{what:6} median {median:>10.1?}  p99 {p99:>10.1?}  {} in {whole:.1?}", times.len());
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, place] = arguments.as_slice() else { panic!("a kind of store and where it is") };
    let documents = open(kind, place).await;
    let at = |number: u32| Timestamp::from_microsecond(i64::from(number)).unwrap();
    let (mut puts, mut gets, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let mut began = SystemClock.instant();
    for number in 0..DOCUMENTS {
        let body = json!({"action": "post.changed", "actor": number, "details": "x".repeat(1000)});
        let document = Document::new("audit", format!("entry:{number:06}"), at(number), body).unwrap();
        let start = SystemClock.instant();
        documents.put(&context(), &document).await.unwrap();
        puts.push(SystemClock.instant().duration_since(start));
    }
    say("put", began, &mut puts);
    began = SystemClock.instant();
    for number in 0..DOCUMENTS {
        let start = SystemClock.instant();
        let key = format!("entry:{number:06}");
        assert!(documents.get(&context(), "audit", &key).await.unwrap().is_some());
        gets.push(SystemClock.instant().duration_since(start));
    }
    say("get", began, &mut gets);
    began = SystemClock.instant();
    for number in 0..LISTS {
        let listing = Listing {
            collection: "audit".to_owned(),
            prefix: "entry:".to_owned(),
            from: at(number),
            until: at(DOCUMENTS),
            after: None,
            limit: 50,
        };
        let start = SystemClock.instant();
        assert_eq!(documents.list(&context(), &listing).await.unwrap().len(), 50);
        lists.push(SystemClock.instant().duration_since(start));
    }
    say("list50", began, &mut lists);
}
