//! Battery row F18: a bit that flipped on the disk, a file that was cut off. What is damaged is not
//! shown rather than shown wrong, everything else is, and whoever runs the server is told what to do.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Answer, Client, Dice, Inkstone, Options, until};
use serde_json::json;

use crate::BINARY;
use crate::shared_cache::metric;

/// Where the database is; empty for a file.
const URL: &str = "INKSTONE__STORE__URL";
/// The size of a page of SQLite, and the header before each in its log.
const PAGE: usize = 4096;
const FRAME_HEADER: usize = 24;
const LOG_HEADER: usize = 32;

fn without_cache(mut options: Options) -> Options {
    options.env.push(("INKSTONE__CACHE__MAX_BYTES".to_owned(), "0".to_owned()));
    options
}

fn on_sqlite() -> Inkstone {
    Inkstone::start_with(BINARY, without_cache(Options::default().on_sqlite()))
}

/// A text that fills pages of its own, and in which `mark` stands here and there.
fn text(mark: &str) -> String {
    let mut dice = Dice::new(1);
    let words: Vec<String> = (0..800).map(|_| format!("{mark} {:016x}", dice.roll())).collect();
    words.join(" ")
}

/// Publishes posts whose texts have marks, and gives their addresses.
async fn publish(author: &Client, marks: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    for mark in marks {
        let body = json!({"title": mark, "content": {"markdown": text(mark)}, "status": "published"});
        let made = author.post("/api/v2/posts", &body).await.expect(201);
        paths.push(made.header("location").unwrap().to_owned());
    }
    paths
}

fn marks(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("mark{number:03}")).collect()
}

fn flip(path: &Path, at: usize, bit: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ bit], at as u64).unwrap();
}

/// Where these bytes are found in a file.
fn places(path: &Path, wanted: &str) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let starts = bytes.windows(wanted.len()).enumerate();
    starts.filter(|(_, window)| *window == wanted.as_bytes()).map(|(at, _)| at).collect()
}

/// Starts a server that is not expected to stay.
fn try_to_serve(server: &Inkstone) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", BINARY, "serve", "--listen", "127.0.0.1:0", "--operations-listen", "", "--data-dir"]);
    command.arg(server.data_dir()).env(URL, "sqlite:").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn doctor(server: &Inkstone) -> (Option<i32>, String) {
    let output = server.cli(&["doctor"]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_damaged(answer: &Answer) {
    assert_eq!(answer.problem(), "storage-damaged");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_page_is_met_with_503_and_what_is_sound_is_shown() {
    let mut server = on_sqlite();
    let author = server.with_token("ada", "author");
    let token = server.token("ada", "read posts:write");
    let marks = marks(20);
    let paths = publish(&author, &marks).await;
    server.terminate();
    // A page in the midst of a text begins with the number of the page on which the text goes on.
    let file = server.data_dir().join("inkstone.db");
    let within = places(&file, &marks[7])[400..].iter().find(|at| **at % PAGE > 1000).copied().unwrap();
    flip(&file, within / PAGE * PAGE, 0x80);
    server.restart();

    let author = server.client().with_token(&token);
    let draft = json!({"title": "Before", "content": {"markdown": "x"}});
    author.post("/api/v2/posts", &draft).await.expect(201);
    for _ in 0..3 {
        for (path, mark) in paths.iter().zip(&marks) {
            let answer = server.client().get(path).await;
            if *mark == marks[7] {
                is_damaged(&answer.expect(503));
            } else {
                assert!(answer.expect(200).text().contains(&format!("{mark} ")), "{mark} is whole");
            }
        }
    }
    server.client().get("/api/v2/posts?limit=100").await.expect(200);
    author.post("/api/v2/posts", &draft).await.expect(503);
    let readiness = server.operations().get("/readyz").await.expect(503);
    assert!(readiness.text().contains("malformed"), "{}", readiness.text());
    assert!(metric(&server, "inkstone_database_writable ").await < 0.5);
    let said = "the store takes no changes any more: it is damaged";
    assert_eq!(server.logged(said).matches(said).count(), 1, "said once");
    let (code, report) = doctor(&server);
    assert!(code == Some(1) && report.contains("is damaged") && report.contains("restore a backup"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_cut_off_is_refused_in_words() {
    let mut server = on_sqlite();
    let author = server.with_token("ada", "author");
    publish(&author, &marks(10)).await;
    server.terminate();
    let path = server.data_dir().join("inkstone.db");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2 / PAGE as u64 * PAGE as u64).unwrap();
    let refused = try_to_serve(&server);
    let words = stderr(&refused);
    assert!(refused.status.code() == Some(1) && words.contains("restore a backup"), "{words}");
    let (code, report) = doctor(&server);
    assert!(code == Some(1) && report.contains("malformed") && report.contains("restore a backup"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_not_cut_off_without_a_word() {
    let mut server = on_sqlite();
    let author = server.with_token("ada", "author");
    let marks = marks(8);
    let paths = publish(&author, &marks).await;
    server.kill();
    let log = server.data_dir().join("inkstone.db-wal");
    // A byte of a page, of one of the first posts.
    let at = places(&log, &marks[1])[5];
    assert!((at - LOG_HEADER) % (PAGE + FRAME_HEADER) > FRAME_HEADER);
    flip(&log, at, 1);
    let refused = try_to_serve(&server);
    let words = stderr(&refused);
    assert!(refused.status.code() == Some(1) && words.contains("write-ahead log is damaged"), "{words}");
    let (code, report) = doctor(&server);
    assert!(code == Some(1) && report.contains("write-ahead log is damaged"), "{report}");
    let sound = server.home().path().join("sound").display().to_string();
    let damaged = server.data_dir().display().to_string();
    let made = Command::new(BINARY).args(["migrate", "--data-dir", &sound]).env(URL, "sqlite:").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for command in [
        &["migrate"][..],
        &["migrate", "--dry-run"],
        &["user", "list"],
        &["store", "copy", "--from", &damaged, "--to", &sound],
        &["store", "copy", "--from", &sound, "--to", &damaged],
        &["store", "copy", "--from", &damaged, "--to", &sound, "--verify"],
        &["store", "copy", "--from", &sound, "--to", &damaged, "--verify"],
    ] {
        let refused = server.cli(command);
        let words = stderr(&refused);
        assert!(
            refused.status.code() == Some(1) && words.contains("write-ahead log is damaged"),
            "{command:?} is refused, and says why: {words}"
        );
    }
    // Nobody has cut it off: put right, it has everything.
    flip(&log, at, 1);
    server.restart();
    for (path, mark) in paths.iter().zip(&marks) {
        assert!(server.client().get(path).await.expect(200).text().contains(&format!("{mark} ")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_postgres_is_met_with_503_and_what_is_sound_is_shown() {
    let postgres = Arc::new(Postgres::start());
    let database = postgres.database();
    let env = vec![(URL.to_owned(), postgres.url(&database))];
    let server = Inkstone::start_with(BINARY, without_cache(Options { env, ..Options::default() }));
    let author = server.with_token("ada", "author");
    let marks = marks(12);
    let paths = publish(&author, &marks).await;
    let last = paths.last().unwrap();
    let texts = "select pg_relation_filepath(reltoastrelid) from pg_class where relname = 'revisions'";
    let file = postgres.process().home().join("data/cluster").join(postgres.sql(&database, texts));
    postgres.process().terminate();
    let blocks = File::open(&file).unwrap().metadata().unwrap().len() / 8192;
    // In the last page, of the last text.
    flip(&file, usize::try_from((blocks - 1) * 8192 + 8000).unwrap(), 1);
    postgres.process().restart();
    let is_found = async || server.client().get("/api/v2/posts").await.status == 200;
    until("the server finds it again", is_found).await;
    for _ in 0..10 {
        is_damaged(&server.client().get(last).await.expect(503));
        for (path, mark) in paths.iter().zip(&marks).take(marks.len() - 1) {
            assert!(server.client().get(path).await.expect(200).text().contains(&format!("{mark} ")));
        }
    }
    let draft = json!({"title": "Other", "content": {"markdown": "x"}});
    author.post("/api/v2/posts", &draft).await.expect(201);
    let said = "a part of the database is damaged";
    assert_eq!(server.logged(said).matches(said).count(), 1, "said once");
    let (code, report) = doctor(&server);
    assert!(code == Some(1) && report.contains("wrong checksums"), "{report}");
}
