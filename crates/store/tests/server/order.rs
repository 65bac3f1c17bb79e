//! Changes are numbered in the order of their commits, on however many nodes they are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock, SystemEntropy};
use inkstone_core::events::ChangeFeed as _;
use inkstone_core::tags::{self, NewTag, TagName, TagRepository};
use inkstone_core::text::Slug;
use inkstone_store::Store;

use crate::backend;
use crate::database::Database;

use super::bed::ctx;

const NODES: usize = 2;
const WRITERS: usize = 4;
const WRITES: usize = 25;

fn node(database: &Database) -> Store {
    let clock = Arc::new(SystemClock);
    Store::new(backend::connect(database.options(clock.clone())), clock, Arc::new(SystemEntropy))
}

async fn write(store: &Store, name: String) {
    let new = NewTag {
        slug: Slug::from_text(&name, "tag"),
        name: TagName::try_from(name).unwrap(),
        description: tags::TagDescription::default(),
        created_at: SystemClock.now(),
    };
    let permit = tags::policy::create(&Caller::Operator, new).unwrap();
    TagRepository::create(store, &ctx(), permit, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_never_passes_a_change_by() {
    let database = Database::migrated().await;
    let stores: Vec<Store> = (0..NODES).map(|_| node(&database)).collect();
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, ended) = (node(&database), Arc::clone(&ended));
        async move {
            let mut seen = vec![0];
            loop {
                let is_last = ended.load(Ordering::SeqCst);
                let cursor = *seen.last().unwrap();
                let found = store.changes_after(&ctx(), cursor, 10).await.unwrap();
                seen.extend(found.iter().map(|event| event.change_seq));
                if found.is_empty() && is_last {
                    return seen;
                }
            }
        }
    });
    let writers: Vec<_> = (0..NODES * WRITERS)
        .map(|writer| {
            let store = stores[writer % NODES].clone();
            tokio::spawn(async move {
                for number in 0..WRITES {
                    write(&store, format!("tag {writer} {number}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    ended.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();
    let all = i64::try_from(NODES * WRITERS * WRITES).unwrap();
    assert_eq!(seen, (0..=all).collect::<Vec<_>>());
}
