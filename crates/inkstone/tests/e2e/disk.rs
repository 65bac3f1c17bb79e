//! Battery rows F10 and F11: a full disk, and a disk that fails at `fsync`. Nothing acknowledged
//! is lost, reads go on, and the server says what is wrong.

use std::io::BufRead as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use inkstone_testkit::{Client, Inkstone, Options, SmallDisk};
use serde_json::json;

use crate::BINARY;

async fn write(author: &Client, title: &str) -> u16 {
    let body = json!({"title": title, "content": {"markdown": "x".repeat(20_000)}, "status": "published"});
    author.post("/api/v2/posts", &body).await.status.as_u16()
}

/// The title of every public post.
pub(crate) async fn titles(client: &Client) -> Vec<String> {
    let (mut titles, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v2/posts?limit=100{cursor}")).await.expect(200).json();
        titles.extend(page["data"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return titles,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_heals_by_itself() {
    let home = Arc::new(tempfile::tempdir().unwrap());
    let disk = SmallDisk::mount(&home.path().join("disk"), "6m");
    let mut server =
        Inkstone::start_in(BINARY, Options::default().on_sqlite(), home.clone(), home.path().join("disk/data"));
    let author = server.with_token("ada", "author");

    let (mut kept, mut refused) = (Vec::new(), 0);
    for number in 0..400 {
        let title = format!("Post {number}");
        match write(&author, &title).await {
            201 => kept.push(title),
            503 => refused += 1,
            other => panic!("{other}"),
        }
        if refused == 20 {
            break;
        }
    }
    assert!(!kept.is_empty() && refused == 20, "{} kept, {refused} refused", kept.len());
    let full = author
        .post("/api/v2/posts", &json!({"title": "One more", "content": {"markdown": "x".repeat(100_000)}}))
        .await
        .expect(503);
    assert_eq!(full.problem(), "storage-full");
    assert_eq!(titles(&server.client()).await.len(), kept.len(), "reads go on");

    disk.resize("32m");
    assert_eq!(write(&author, "After").await, 201, "the first write after there is space again");
    kept.push("After".into());
    server.kill();
    server.restart();
    let mut found = titles(&server.client()).await;
    found.sort();
    kept.sort();
    assert_eq!(found, kept, "what was acknowledged, and nothing else");
    let doctor = server.cli(&["doctor"]);
    let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(report.contains("integrity"), "{report}");
}

/// Makes every `fsync` of the server fail from the n-th on, until dropped.
struct FailingDisk(std::process::Child);

impl FailingDisk {
    fn attach(pid: u32, from: usize) -> Self {
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null", "-e", "trace=fsync,fdatasync"])
            .args(["-e", &format!("inject=fsync,fdatasync:error=EIO:when={from}+")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed: ./test installs it");
        let mut lines = std::io::BufReader::new(strace.stderr.take().unwrap()).lines();
        let attached = lines.find_map(|line| line.ok().filter(|line| line.contains("attached")));
        assert!(attached.is_some(), "strace attaches to the server");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self(strace)
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_is_never_acknowledged() {
    let mut server = Inkstone::start_with(BINARY, Options::default().on_sqlite());
    let author = server.with_token("ada", "author");
    let token = server.token("ada", "read posts:write");
    drop(author);
    let mut kept = Vec::new();
    for nth in 1..=6 {
        let author = server.client().with_token(&token);
        let disk = FailingDisk::attach(server.pid(), nth);
        let mut refused = 0;
        for number in 0..12 {
            let title = format!("Round {nth} post {number}");
            match write(&author, &title).await {
                201 => kept.push(title),
                503 => refused += 1,
                other => panic!("{other}"),
            }
        }
        assert!(refused > 0, "round {nth}: the fault was felt");
        server.client().get("/api/v2/posts?limit=1").await.expect(200);
        let readiness = server.operations().get("/readyz").await.expect(503);
        assert!(readiness.text().contains("database"), "{}", readiness.text());
        drop(disk);
        server.kill();
        server.restart();
        let found = titles(&server.client()).await;
        for title in &kept {
            assert!(found.contains(title), "{title} was acknowledged");
        }
    }
}
