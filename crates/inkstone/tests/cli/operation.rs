//! `inkstone migrate`, `doctor` and `serve`.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use inkstone_testkit::services::{MariaDb, Postgres};
use inkstone_testkit::{Inkstone, Options, until};
use serde_json::{Value, json};

use super::{BINARY, Home};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_dry_run_of_migrate_makes_nothing_and_a_real_one_is_private() {
    let home = Home::new();
    let planned = home.run(&["migrate", "--dry-run", "--json"]).json();
    assert!(!planned["migrations"].as_array().unwrap().is_empty());
    assert!(!home.data_dir().exists());
    let done = home.run(&["migrate", "--json"]).json();
    assert_eq!(done["migrations"], planned["migrations"]);
    assert_eq!(home.run(&["migrate"]).ok(), "The database is up to date.\n");
    assert_eq!(mode(&home.data_dir()), 0o700);
    for entry in std::fs::read_dir(home.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// The finding of a check, from the report of `doctor`.
fn finding(report: &Value, check: &str) -> (String, String) {
    let found = report.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {report}"));
    if found["status"] != "ok" {
        assert!(!found["advice"].as_str().unwrap().is_empty(), "what is not right comes with what to do");
    }
    (found["status"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
}

/// Runs `doctor` with addresses that are free; its exit code and report.
fn doctor(home: &Home, more: &[&str]) -> (i32, Value) {
    let listen =
        ["doctor", "--json", "--set", "server.listen=127.0.0.1:0", "--set", "server.operations_listen=127.0.0.1:0"];
    let outcome = home.run(&[&listen[..], more].concat());
    (outcome.code, serde_json::from_str(&outcome.out).unwrap())
}

#[test]
fn doctor_finds_nothing_wrong_where_nothing_is() {
    let home = Home::new();
    let (code, report) = doctor(&home, &[]);
    assert_eq!((code, finding(&report, "database").0.as_str()), (0, "warn"));
    assert!(!home.data_dir().exists(), "doctor looks and makes nothing");
    home.run(&["migrate"]).ok();
    let (code, report) = doctor(&home, &[]);
    assert_eq!(code, 0);
    assert!(report.as_array().unwrap().iter().all(|finding| finding["status"] == "ok"), "{report}");
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    home.run(&["migrate"]).ok();
    std::fs::set_permissions(home.data_dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("server.listen={}", taken.local_addr().unwrap());
    let (code, report) = doctor(&home, &["--set", &listen]);
    assert_eq!(code, 1);
    let (status, message) = finding(&report, "data directory");
    assert!(status == "warn" && message.contains("755"), "{message}");
    assert_eq!(finding(&report, "listen").0, "fail");
    let text = home.run(&["doctor", "--set", &listen]);
    assert!(text.code == 1 && text.out.contains("FAIL  listen:") && text.out.contains("→ chmod 700"), "{}", text.out);

    // A page of the database is overwritten.
    let database = home.data_dir().join("inkstone.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let end = bytes.len();
    bytes[end - 8192..].fill(0x55);
    std::fs::write(&database, bytes).unwrap();
    let (code, report) = doctor(&home, &[]);
    assert_eq!((code, finding(&report, "database").0.as_str()), (1, "fail"), "{report}");
    // It is no database at all.
    std::fs::write(&database, "this is a shopping list, not a database, and it is long enough to be read").unwrap();
    assert_eq!(doctor(&home, &[]).0, 1);
    home.run(&["user", "list"]).fails(1, &["error: "]);

    let (code, report) = doctor(&home, &["--set", "server.lisen=x"]);
    assert_eq!((code, finding(&report, "configuration").0.as_str()), (1, "fail"));
}

/// What `doctor` says of the database of this address, which a server would not start on.
#[track_caller]
fn fault_of(url: &str, words: &[&str]) {
    let home = Home::new();
    let (code, report) = doctor(&home, &["--database", url]);
    let (status, message) = finding(&report, "database");
    assert_eq!((code, status.as_str()), (1, "fail"), "{report}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message}");
    }
    assert!(!report.to_string().contains("inkstone doctor"), "{report}");
    // That is what it is about.
    let served = home.run(&["migrate", "--database", url]);
    let refused = home.run(&["user", "add", "ada", "--no-password", "--database", url]);
    assert!(served.code == 1 || refused.code == 1, "{served:?} {refused:?}");
}

#[test]
fn doctor_says_what_a_server_would_not_start_on() {
    let (postgres, mariadb) = (Postgres::shared(), MariaDb::start());
    let away = "postgres://ink@127.0.0.1:1/blog";
    fault_of(away, &["cannot be used"]);
    Home::new().run(&["serve", "--database", away]).fails(1, &["cannot be used", "refused"]);
    // Whole to look at, and no blog.
    let blog = |url: String| {
        Home::new().run(&["migrate", "--database", &url]).ok();
        url
    };
    let mark = "insert into counters (name, value) values ('store.copy', 7)";
    let (half, half_too) = (postgres.database(), mariadb.database());
    let (url, url_too) = (blog(postgres.url(&half)), blog(mariadb.url(&half_too)));
    postgres.sql(&half, mark);
    mariadb.sql(&half_too, mark);
    fault_of(&url, &["an unfinished copy of another blog"]);
    fault_of(&url_too, &["an unfinished copy of another blog"]);

    // There is nothing yet, and there never will be.
    let (empty, empty_too) = (postgres.database(), mariadb.database());
    postgres.sql(&empty, &format!("create role may_look_{empty} login; revoke create on schema public from public"));
    fault_of(&format!("postgres://may_look_{empty}@127.0.0.1:{}/{empty}", postgres.port()), &["permission denied"]);
    mariadb.sql("mysql", &format!("create user may_look; grant select on {empty_too}.* to may_look"));
    fault_of(&format!("mysql://may_look@127.0.0.1:{}/{empty_too}", mariadb.port()), &["denied"]);
    postgres.sql(&empty, &format!("alter database {empty} set default_transaction_read_only = on"));
    fault_of(&postgres.url(&empty), &["read-only"]);

    // It only reads.
    let (reading, reading_too) = (postgres.database(), mariadb.database());
    let (url, url_too) = (blog(postgres.url(&reading)), blog(mariadb.url(&reading_too)));
    let home = Home::new();
    for url in [&url, &url_too] {
        let (code, report) = doctor(&home, &["--database", url]);
        assert_eq!((code, finding(&report, "database").0.as_str()), (0, "ok"), "{report}");
    }
    // Who has an address is seen from here, but not that it is the server of this blog.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("server.listen={}", taken.local_addr().unwrap());
    let (_, report) = doctor(&home, &["--database", &url, "--set", &listen]);
    let (status, message) = finding(&report, "listen");
    assert!(status == "ok" && message.contains("is taken: right if it is by this blog's server"), "{message}");

    let (_, report) = doctor(&home, &["--database", &url, "--set", "store.replicas=postgres://ink@127.0.0.1:1/blog"]);
    let (status, message) = finding(&report, "replica");
    assert!(status == "warn" && message.contains("refused"), "why, not only that: {message}");
    postgres.sql(&reading, &format!("alter database {reading} set default_transaction_read_only = on"));
    // Of its own user, since root may write all the same.
    mariadb.sql(
        "mysql",
        &format!("create user may_work; grant all on {reading_too}.* to may_work; set global read_only = 1"),
    );
    let url_too = format!("mysql://may_work@127.0.0.1:{}/{reading_too}", mariadb.port());
    fault_of(&url, &["takes no changes"]);
    fault_of(&url_too, &["takes no changes"]);
}

#[test]
fn doctor_looks_at_the_dates_of_the_certificate() {
    let home = Home::new();
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let files =
        [format!("server.tls.certificate={}", certificate.display()), format!("server.tls.key={}", key.display())];
    let write = |until: (i32, u8, u8)| {
        let mut parameters = rcgen::CertificateParams::new(vec!["blog.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let pair = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
    };
    let look = || finding(&doctor(&home, &["--set", &files[0], "--set", &files[1]]).1, "tls");
    assert_eq!(look().0, "fail", "there are no files yet");
    write((2020, 2, 1));
    let (status, message) = look();
    assert!(status == "fail" && message.contains("expired at 2020-02-01T00:00:00Z"), "{message}");
    write((2900, 1, 1));
    assert_eq!(look().0, "ok");
}

/// A server whose terminal we read.
struct Served {
    child: Child,
    lines: Vec<String>,
}

impl Served {
    fn start(home: &Home) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"])
            .env("INKSTONE_DATA_DIR", home.data_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        for line in out.lines().map(Result::unwrap) {
            // The last line while nobody can sign in.
            let is_last = line.contains("inkstone user add");
            lines.push(line);
            if is_last {
                break;
            }
        }
        Self { child, lines }
    }

    fn word(&self, containing: &str) -> String {
        let mut words = self.lines.iter().flat_map(|line| line.split_whitespace());
        words.find(|word| word.contains(containing)).unwrap_or_else(|| panic!("{:?}", self.lines)).to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[tokio::test]
async fn the_terminal_says_where_everything_is_and_the_setup_works_once() {
    let home = Home::new();
    let served = Served::start(&home);
    let setup = served.word("/setup#");
    let (base, secret) = setup.split_once("/setup#").unwrap();
    assert!(served.word("/docs").starts_with(base) && served.word("/api/v2/posts").starts_with(base));
    assert!(served.word("/readyz").starts_with("http://127.0.0.1:"));

    let client = inkstone_testkit::Client::new(base);
    let body = json!({"secret": secret, "handle": "ada", "password": "a long phrase only for these tests"});
    let wrong = json!({"secret": "ink_setup_wrong", "handle": "eve", "password": "a long phrase only for these tests"});
    assert_eq!(client.post("/api/v2/setup", &wrong).await.status, 401);
    assert_eq!(client.post("/api/v2/setup", &body).await.status, 201);
    let login = json!({"login": "ada", "password": "a long phrase only for these tests"});
    assert_eq!(client.post("/api/v2/auth/login", &login).await.status, 200);
    let again = client.post("/api/v2/setup", &body).await;
    assert!([401, 409].contains(&again.status.as_u16()), "{}", again.status.as_u16());
    let accounts = home.run(&["user", "list", "--json"]).json();
    assert_eq!((accounts.as_array().unwrap().len(), &accounts[0]["role"]), (1, &"administrator".into()));
}

#[test]
fn the_setup_secret_does_not_go_where_stdout_is_kept() {
    let secret_with = |stream: fn(&std::fs::Metadata) -> String| {
        let home = Home::new();
        let kept = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--operations-listen", "", "--data-dir"])
            .arg(home.data_dir())
            .env("JOURNAL_STREAM", stream(&kept.as_file().metadata().unwrap()))
            .env("INKSTONE__LOG__FORMAT", "json")
            .stdout(kept.reopen().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let listening = log.lines().map_while(Result::ok).any(|line| line.contains("listening"));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = std::fs::read_to_string(kept.path()).unwrap();
        assert!(listening && said.contains("inkstone user add NAME --role administrator"), "{said}");
        said.contains("ink_setup_")
    };
    assert!(!secret_with(|file| format!("{}:{}", file.dev(), file.ino())));
    assert!(secret_with(|file| format!("{}:{}", file.dev(), file.ino() + 1)), "the journal has another stream");
}

#[tokio::test]
async fn commands_beside_a_running_server_are_seen_by_it() {
    let server = Inkstone::start(BINARY);
    server.add_user("ada", "author");
    let client = server.client();
    // Twice, so that the answer is cached.
    for _ in 0..2 {
        assert_eq!(client.get("/api/v2/users/1").await.expect(200).json()["handle"], "ada");
    }
    assert!(server.cli(&["user", "disable", "ada"]).status.success());
    let is_gone = async || client.get("/api/v2/users/1").await.status == 404;
    until("the cache of the server learns of it", is_gone).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused() {
    let server = Inkstone::start(BINARY);
    let second = server.cli(&["serve", "--listen", "127.0.0.1:0", "--operations-listen", ""]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("process (number {})", server.pid())), "{said}");
    assert_eq!(server.client().get("/api/v2/posts").await.status, 200);
}

#[tokio::test]
async fn what_a_running_server_keeps_is_for_its_owner_alone() {
    let server = Inkstone::start(BINARY);
    server.sign_up("ada", "author").await;
    assert_eq!(mode(server.data_dir()), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort_unstable();
    assert_eq!(names, ["inkstone.db", "inkstone.db-shm", "inkstone.db-wal", "inkstone.lock"]);
}

#[test]
fn an_address_that_is_taken_is_said_with_what_to_do() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.run(&["serve", "--listen", &address, "--operations-listen", ""])
        .fails(1, &[&format!("cannot listen on {address}"), "--listen"]);
}

#[tokio::test]
async fn the_sample_blog_is_filled_in_once() {
    let options = Options { flags: vec!["--demo".to_owned()], ..Options::default() };
    let mut server = Inkstone::start_with(BINARY, options);
    let posts =
        async |server: &Inkstone| server.client().get("/api/v1/posts?per_page=100").await.expect(200).json().clone();
    let first = posts(&server).await;
    assert_eq!(first["total"], 12);
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert_eq!(posts(&server).await, first, "a second time changes nothing");
    assert!(!server.log_text().contains("ink_setup"), "the secret is for the terminal, not for the log");
}

#[tokio::test]
async fn the_end_is_orderly_and_the_log_filter_is_read_again() {
    let mut server = Inkstone::start(BINARY);
    std::fs::write(server.data_dir().join("inkstone.toml"), "[log]\nfilter = \"debug\"\n").unwrap();
    let hangup = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    assert!(hangup.success());
    until("it says so", async || server.log_text().contains("the log filter was read again")).await;
    assert!(server.log_text().contains("\"log.filter\":\"debug\""));
    assert_eq!(server.client().get("/api/v2/posts").await.status, 200);
    assert_eq!(server.terminate(), Some(0));
    for line in server.log_text().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line["level"].is_string(), "{line}");
    }
    // What was in the write-ahead log is in the database now.
    let log = server.data_dir().join("inkstone.db-wal");
    assert!(!log.exists() || std::fs::metadata(log).unwrap().len() == 0);
}

#[tokio::test]
async fn balancers_are_told_before_the_door_is_shut() {
    let env = vec![("INKSTONE__SERVER__DRAIN__NOTICE".to_owned(), "1h".to_owned())];
    let mut server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    assert_eq!(server.client().get("/readyz").await.status, 200);
    let told = Command::new("kill").args(["-TERM", &server.pid().to_string()]).status().unwrap();
    assert!(told.success());
    until("balancers are told", async || server.client().get("/readyz").await.status == 503).await;
    // New connections come in, and are asked to leave after their answer.
    let answer = server.client().get("/api/v2/posts").await.expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(server.operations().get("/readyz").await.status, 503);
    assert_eq!(server.terminate(), Some(1), "a second signal ends it at once");
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read_although_nobody_looks_for_changes() {
    let env = vec![("INKSTONE__WORKER__POLL".to_owned(), "1m".to_owned())];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let ada = server.with_token("ada", "author");
    let reader = server.client();
    for number in 1..=5 {
        let list = reader.get("/api/v2/posts").await.expect(200);
        assert_eq!(list.json()["data"].as_array().unwrap().len(), number - 1);
        let post = json!({"title": format!("Post {number}"), "content": {"markdown": "Text."}, "status": "published"});
        assert_eq!(ada.post("/api/v2/posts", &post).await.status, 201);
    }
}

#[tokio::test]
async fn https_is_spoken_with_the_certificate_of_the_configuration() {
    let home = Home::new();
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let env = [("CERTIFICATE", &certificate), ("KEY", &key)]
        .map(|(name, path)| (format!("INKSTONE__SERVER__TLS__{name}"), path.display().to_string()));
    let server = Inkstone::start_with(BINARY, Options { env: env.to_vec(), ..Options::default() });
    assert!(server.base().starts_with("https://"), "{}", server.base());
    let answer = server.client().get("/api/v2/posts").await.expect(200);
    assert!(answer.headers.contains_key("strict-transport-security"));
    // Health and metrics stay plain: they are not for the public.
    assert_eq!(server.operations().get("/livez").await.status, 200);
    // A key of somebody else is refused before anything starts.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let files =
        [format!("server.tls.certificate={}", certificate.display()), format!("server.tls.key={}", key.display())];
    home.run(&["serve", "--set", &files[0], "--set", &files[1]]).fails(1, &["HTTPS cannot be spoken", "server.tls"]);
}
