//! A disk that fills up, a database that is damaged, and a directory that two processes want.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inkstone_core::{Code, Context};
use inkstone_store::db::{DataDirLock, Db, Health, SqliteOptions, Statement, Step, Trouble};
use inkstone_store::migrate::Migrator;
use inkstone_testkit::HandClock;

use crate::bed::{Bed, SCHEMA, add_note, context_until, options_in, texts};

const DELETE_ALL: Statement = Statement { name: "notes.delete_all", sql: "delete from notes" };
const BODY_BYTES: usize = 20_000;

struct FilledUp {
    acknowledged: BTreeSet<String>,
    refused: BTreeSet<String>,
}

/// Writes until the disk has been full for 20 writes in a row, from eight tasks at once, so that
/// groups are hit in their middle.
async fn fill_up(db: &Db, ctx: &Context, from: usize) -> FilledUp {
    let mut filled = FilledUp { acknowledged: BTreeSet::new(), refused: BTreeSet::new() };
    let mut full_in_a_row = 0;
    for round in 0..500 {
        let writes: Vec<_> = (0..8)
            .map(|task| {
                let (db, ctx, text) = (db.clone(), ctx.clone(), format!("note {:06}", from + round * 8 + task));
                tokio::spawn(async move { (text.clone(), add_note(&db, &ctx, text, BODY_BYTES).await) })
            })
            .collect();
        for write in writes {
            match write.await.unwrap() {
                (text, Ok(_)) => {
                    full_in_a_row = 0;
                    filled.acknowledged.insert(text);
                }
                (text, Err(error)) => {
                    assert_eq!(error.code(), Code::StorageFull, "{error:?}");
                    assert!(error.is_retryable());
                    full_in_a_row += 1;
                    filled.refused.insert(text);
                }
            }
        }
        if full_in_a_row >= 20 {
            return filled;
        }
    }
    panic!("the disk never filled up");
}

/// Fills the disk, makes room, goes on, opens again: what was acknowledged is there, and what was
/// refused is not.
async fn survives_a_full_disk(
    options: SqliteOptions,
    clock: &HandClock,
    make_room: impl AsyncFnOnce(&Db, &Context),
) -> Vec<String> {
    Migrator::of(SCHEMA).run(&options).unwrap();
    let db = Db::open(options.clone()).unwrap();
    let ctx = context_until(clock.deadline_in(std::time::Duration::from_mins(1)));
    let filled = fill_up(&db, &ctx, 0).await;
    assert!(filled.acknowledged.len() >= 20, "only {} writes fitted", filled.acknowledged.len());
    assert_eq!(BTreeSet::from_iter(texts(&db, &ctx).await), filled.acknowledged, "reading goes on");
    assert_eq!(db.health(), Health::Sound, "a full disk is no broken disk");
    make_room(&db, &ctx).await;
    add_note(&db, &ctx, "first try".to_owned(), BODY_BYTES).await.unwrap();
    let before_closing = texts(&db, &ctx).await;
    db.close().await.unwrap();
    let db = Db::open(options).unwrap();
    assert_eq!(db.integrity_check().await.unwrap(), Vec::<String>::new());
    let after = texts(&db, &ctx).await;
    assert_eq!(after, before_closing);
    assert!(after.iter().all(|text| !filled.refused.contains(text)));
    db.close().await.unwrap();
    after.into_iter().filter(|text| filled.acknowledged.contains(text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_at_its_size_limit_loses_nothing_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let mut options = options_in(directory.path(), Arc::clone(&clock));
    options.max_pages = Some(400);
    let left = survives_a_full_disk(options, &clock, async |db, ctx| {
        let delete = db.write(ctx, "test", |conn| Box::pin(async move { conn.execute(&DELETE_ALL, &[]).await }));
        assert!(delete.await.unwrap() > 0);
    });
    assert_eq!(left.await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_loses_nothing_and_takes_the_first_write_once_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        eprintln!("no file system can be mounted here: the commits are made to fail instead");
        return commits_that_find_no_space_lose_nothing(directory.path()).await;
    };
    let clock = HandClock::new();
    let ballast = disk.0.join("ballast");
    File::create(&ballast).unwrap().write_all(&vec![1; 1 << 20]).unwrap();
    let mut options = options_in(&disk.0, Arc::clone(&clock));
    // Checkpoints now and then, so that the disk fills up in the middle of some, too.
    options.checkpoint_pages = 50;
    let left = survives_a_full_disk(options, &clock, async |_, _| std::fs::remove_file(&ballast).unwrap()).await;
    assert!(left.len() >= 20);
}

/// The same where nothing can be mounted: from the 30th transaction on there is no space for any.
async fn commits_that_find_no_space_lose_nothing(directory: &Path) {
    let clock = HandClock::new();
    let (is_full, commits) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
    let mut options = options_in(directory, Arc::clone(&clock));
    options.group_max = 4;
    let disk = Arc::clone(&is_full);
    options.faults = Some(Arc::new(move |step| {
        let had_space = step != Step::Commit || commits.fetch_add(1, Ordering::SeqCst) < 30;
        (!had_space && disk.load(Ordering::SeqCst)).then_some(Trouble::Full)
    }));
    let make_room = async |_: &Db, _: &Context| is_full.store(false, Ordering::SeqCst);
    assert!(survives_a_full_disk(options, &clock, make_room).await.len() >= 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_find_no_space_lose_nothing_and_recover() {
    let directory = tempfile::tempdir().unwrap();
    commits_that_find_no_space_lose_nothing(directory.path()).await;
}

/// A file system of 3 MB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails leaves files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn damage_is_found_by_the_integrity_check() {
    let bed = Bed::new();
    for number in 0..50 {
        add_note(&bed.db, &bed.ctx, format!("note {number}"), 4000).await.unwrap();
    }
    assert_eq!(bed.db.integrity_check().await.unwrap(), Vec::<String>::new());
    bed.db.close().await.unwrap();
    let mut file = File::options().write(true).open(&bed.options.path).unwrap();
    file.seek(SeekFrom::Start(10 * 4096)).unwrap();
    file.write_all(&[0xff; 4096 * 4]).unwrap();
    drop(file);
    let db = Db::open(bed.options.clone()).unwrap();
    // Either the check lists what it found, or it cannot even read the pages.
    assert_ne!(db.integrity_check().await.ok(), Some(Vec::new()));
}

#[test]
fn what_is_not_a_database_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let options = options_in(directory.path(), HandClock::new());
    std::fs::write(&options.path, vec![b'x'; 8192]).unwrap();
    let error = Db::open(options.clone()).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("test.db") && error.to_string().contains("not a database"), "{error}");
    assert_eq!(std::fs::read(&options.path).unwrap(), vec![b'x'; 8192]);
}

#[test]
fn a_data_directory_belongs_to_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let lock = DataDirLock::acquire(directory.path()).unwrap();
    let error = DataDirLock::acquire(directory.path()).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains(&format!("number {}", std::process::id())), "{error}");
    let file = directory.path().join("inkstone.lock").metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600, "nobody else can take it and keep the server from starting");
    drop(lock);
    DataDirLock::acquire(directory.path()).unwrap();
    let nowhere = DataDirLock::acquire(&directory.path().join("nowhere")).unwrap_err();
    assert_eq!(nowhere.code(), Code::Unavailable);
}
