//! What can be set of the store is what its connections do.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::{Code, Error};
use inkstone_store::db::{SqliteOptions, Statement};
use inkstone_testkit::HandClock;
use rusqlite::Connection;

use crate::bed::{Bed, options_in};

const PAGE_CACHE: Statement = Statement { name: "test.page_cache", sql: "pragma cache_size" };
const MIB: usize = 1 << 20;

#[tokio::test]
async fn as_many_reads_run_at_once_as_there_are_readers() {
    let bed = Arc::new(Bed::with(|options| options.readers = 3));
    assert_eq!(bed.db.stats().readers.threads, 3);
    let mut gates = Vec::new();
    for _ in 0..3 {
        let held = tokio::time::timeout(Duration::from_secs(30), bed.hold_reader()).await;
        gates.push(held.expect("a reader is free"));
    }
    let fourth = tokio::spawn({
        let bed = Arc::clone(&bed);
        async move { bed.texts().await }
    });
    bed.until_reads_wait(1).await;
    gates.pop().unwrap().open();
    assert_eq!(fourth.await.unwrap(), Vec::<String>::new());
}

#[test]
fn there_is_a_reader_for_each_processor_and_never_just_one() {
    let directory = tempfile::tempdir().unwrap();
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(options_in(directory.path(), HandClock::new()).readers, processors.max(2));
}

/// How many bytes of the database's file this process has mapped into memory, in the largest piece.
fn mapped(options: &SqliteOptions) -> usize {
    let file = options.path.canonicalize().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let pieces = maps.lines().filter(|line| line.ends_with(file.to_str().unwrap()));
    let length = |line: &str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(to, 16).ok()? - usize::from_str_radix(from, 16).ok()?)
    };
    pieces.map(|line| length(line).unwrap()).max().unwrap_or(0)
}

#[tokio::test]
async fn so_much_of_the_file_is_mapped_and_the_rest_is_read_all_the_same() {
    for mib in [0, 1] {
        let mut bed = Bed::with(|options| {
            options.readers = 1;
            options.mmap_mib = mib;
        });
        let mut written = Vec::new();
        for number in 0..30 {
            let text = format!("note {number}");
            crate::bed::add_note(&bed.db, &bed.ctx, text.clone(), 100_000).await.unwrap();
            written.push(text);
        }
        // Closed and opened again, everything stands in the file, and nothing in its log.
        bed.db.close().await.unwrap();
        bed.db = inkstone_store::db::Db::open(bed.options.clone()).unwrap();
        assert!(bed.options.path.metadata().unwrap().len() > 2 * MIB as u64);
        assert_eq!(bed.texts().await, written);
        assert_eq!(mapped(&bed.options), usize::try_from(mib).unwrap() * MIB);
    }
}

#[tokio::test]
async fn readers_and_writer_keep_so_many_pages() {
    let bed = Bed::with(|options| options.cache_kib = 4321);
    let read = bed.db.read(&bed.ctx, "test", |conn| Box::pin(async { conn.fetch_one::<i64>(&PAGE_CACHE, &[]).await }));
    let write =
        bed.db.write(&bed.ctx, "test", |conn| Box::pin(async { conn.fetch_one::<i64>(&PAGE_CACHE, &[]).await }));
    // SQLite's way to say KiB instead of pages.
    assert_eq!((read.await.unwrap(), write.await.unwrap()), (-4321, -4321));
}

#[tokio::test]
async fn a_lock_of_somebody_else_is_waited_for_so_long_and_no_longer() {
    let patience = Duration::from_millis(300);
    let bed = Bed::with(|options| options.busy_timeout = patience);
    let other = Connection::open(&bed.options.path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let began = SystemClock.instant();
    let error = bed.add("too early").await.unwrap_err();
    let waited = SystemClock.instant() - began;
    assert!(matches!(&error, Error::TryLater { code: Code::Unavailable, .. }), "{error:?}");
    assert!(waited >= patience, "it gave up after {waited:?}");
    assert!(bed.texts().await.is_empty(), "reading goes on");
    other.execute_batch("rollback").unwrap();
    bed.add("in time").await.unwrap();
    assert_eq!(bed.texts().await, ["in time"]);
}
