//! Starts and stops the real binary.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::keeper::Keeper;
use crate::wait::wait_until;
use crate::{Client, backend};

/// The password of everybody in the tests.
const PASSWORD: &str = "a long phrase only for these tests";

/// How long a start may take before the test gives up: generous, since it is no measurement.
const START: Duration = Duration::from_mins(1);

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// More flags of `serve`.
    pub flags: Vec<String>,
    /// A command in front, such as `strace …`.
    pub wrapper: Vec<String>,
    /// The ports of 127.0.0.1 on which the API, and health and metrics, listen, for a server that is
    /// to be found again after a restart. By default it gets new ones each time.
    pub ports: Option<(u16, u16)>,
}

impl Options {
    /// For tests that are about SQLite's file: they use it whatever the others do.
    pub fn on_sqlite(mut self) -> Self {
        self.env.push((backend::DATABASE.to_owned(), backend::SQLITE.to_owned()));
        self
    }
}

/// A running server on a data directory.
pub struct Inkstone {
    binary: PathBuf,
    home: Arc<TempDir>,
    data_dir: PathBuf,
    options: Options,
    child: Option<Child>,
    keeper: Option<Keeper>,
    base: String,
    operations: String,
    log: Arc<Mutex<Vec<String>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Inkstone {
    /// Starts a server on a new data directory.
    pub fn start(binary: &str) -> Self {
        Self::start_with(binary, Options::default())
    }

    /// Starts a server on a new data directory.
    pub fn start_with(binary: &str, options: Options) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data_dir = home.path().join("data");
        Self::start_in(binary, options, Arc::new(home), data_dir)
    }

    /// Starts a server on a data directory that outlives it.
    pub fn start_in(binary: &str, options: Options, home: Arc<TempDir>, data_dir: PathBuf) -> Self {
        let mut server = Self {
            binary: binary.into(),
            home,
            data_dir,
            options,
            child: None,
            keeper: None,
            base: String::new(),
            operations: String::new(),
            log: Arc::default(),
            said: Arc::default(),
        };
        server.launch();
        server
    }

    fn launch(&mut self) {
        let mut words: Vec<String> = self.options.wrapper.clone();
        words.push(self.binary.display().to_string());
        let (port, operations) = self.options.ports.unwrap_or_default();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--operations-listen", &format!("127.0.0.1:{operations}"), "--data-dir"])
            .arg(&self.data_dir)
            .args(&self.options.flags)
            .env("INKSTONE__LOG__FORMAT", "json")
            .env(backend::DATABASE, backend::database(&self.data_dir))
            .env(backend::SHARED_CACHE, backend::shared_cache())
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let is_set = |part: &str| self.options.env.iter().any(|(name, _)| name.contains(part));
        if !is_set("RATE_LIMITS") {
            for limit in ["WRITES", "AUTH"] {
                command.env(format!("INKSTONE__HTTP__RATE_LIMITS__{limit}__REQUESTS"), "1000000");
            }
        }
        // The machine that tests is slow at times: only who tests patience has little of it.
        for (part, generous) in [("HTTP__LOAD__TARGET", "1m"), ("STORE__TIMEOUT", "1m")] {
            if !is_set(part) {
                command.env(format!("INKSTONE__{part}"), generous);
            }
        }
        // It works in a directory of its own, by which its keeper knows it.
        let place = tempfile::Builder::new().prefix("runs-").tempdir_in(self.home.path()).expect("a directory").keep();
        self.keeper = Some(Keeper::new(&place, self.home.path()));
        command.current_dir(&place);
        let mut child = command.spawn().expect("the binary starts");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let said = self.said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().expect("what it said").push(line);
            }
        });
        let log = self.log.clone();
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(addresses) = listening(&line) {
                    let _ = ready.send(addresses);
                }
                log.lock().expect("the log").push(line);
            }
        });
        let Ok((base, operations)) = started.recv_timeout(START) else {
            let _ = child.kill();
            panic!("the server did not start:\n{}", self.log_text());
        };
        (self.base, self.operations) = (base, operations);
        self.child = Some(child);
    }

    /// Where the API is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Where health and metrics are.
    pub fn operations(&self) -> Client {
        Client::new(&self.operations)
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The address of its database; `None` for the file in its data directory.
    pub fn database_url(&self) -> Option<String> {
        let own = self.options.env.iter().find(|(name, _)| name == backend::DATABASE);
        let url = own.map_or_else(|| backend::database(&self.data_dir), |(_, url)| url.clone());
        Some(url).filter(|url| url != backend::SQLITE)
    }

    /// What keeps the data directory alive.
    pub fn home(&self) -> Arc<TempDir> {
        self.home.clone()
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it has logged this; gives everything that it has logged so far.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        wait_until(text, || self.log_text().contains(text));
        self.log_text()
    }

    /// Everything it has logged so far.
    pub fn log_text(&self) -> String {
        self.log.lock().expect("the log").join("\n")
    }

    /// Everything it has said on its standard output so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("what it said").join("\n")
    }

    /// An anonymous client.
    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// Makes an account, and a client that is signed in to it with a password.
    pub async fn sign_up(&self, handle: &str, role: &str) -> Client {
        self.add_user(handle, role);
        let client = self.client();
        let answer = client
            .post("/api/v2/auth/login", &serde_json::json!({"login": handle, "password": PASSWORD}))
            .await
            .expect(200);
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        client.with_token(&token)
    }

    /// Makes an account, and a client with a personal token of every scope.
    pub fn with_token(&self, handle: &str, role: &str) -> Client {
        self.add_user(handle, role);
        self.client().with_token(&self.token(handle, "read posts:write tags:write account users:write"))
    }

    /// Makes an account.
    pub fn add_user(&self, handle: &str, role: &str) {
        let email = format!("{handle}@example.org");
        let output = self
            .cli_with_input(&["user", "add", handle, "--role", role, "--email", &email, "--password-stdin"], PASSWORD);
        assert!(output.status.success(), "user add: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a personal token for an account that exists.
    pub fn token(&self, handle: &str, scopes: &str) -> String {
        let output = self.cli(&["token", "create", "--user", handle, "--name", "test", "--scopes", scopes, "--json"]);
        assert!(output.status.success(), "token create: {}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        made["token"].as_str().expect("a token").to_owned()
    }

    /// Runs a command of the binary on this data directory.
    pub fn cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.cli_with_input(args, "")
    }

    /// Runs a command of the binary on this data directory, with something on its standard input.
    pub fn cli_with_input<S: AsRef<OsStr>>(&self, args: &[S], input: &str) -> Output {
        let database = self.database_url().unwrap_or_else(|| backend::SQLITE.to_owned());
        run_on(&self.binary, &self.data_dir, &database, args, input)
    }

    /// Stops it in the midst of what it does (SIGSTOP): its connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`Inkstone::pause`] (SIGCONT).
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the server takes {signal}");
    }

    /// Asks it to stop (SIGTERM), without waiting for it.
    pub fn ask_to_stop(&self) {
        self.signal("-TERM");
    }

    /// Kills it without a word (SIGKILL), and waits until it is dead.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.keeper = None;
    }

    /// Asks it to stop (SIGTERM), and waits until it has. Gives the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.end()
    }

    /// Waits until it has ended. Gives the exit code.
    pub fn end(&mut self) -> Option<i32> {
        self.child.take()?.wait().ok().and_then(|status| status.code())
    }

    /// Starts it again on the same data directory.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }
}

impl Drop for Inkstone {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log_text());
        }
    }
}

/// The addresses, if this is the log line that says where the server listens.
fn listening(line: &str) -> Option<(String, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" && line["fields"]["message"] != "listening" {
        return None;
    }
    let field = |name: &str| line[name].as_str().or(line["fields"][name].as_str()).map(str::to_owned);
    Some((field("server.url")?, field("operations.url").unwrap_or_default()))
}

/// Runs a command of the binary on a data directory.
pub fn run<S: AsRef<OsStr>>(binary: &Path, data_dir: &Path, args: &[S], input: &str) -> Output {
    run_on(binary, data_dir, &backend::database(data_dir), args, input)
}

fn run_on<S: AsRef<OsStr>>(binary: &Path, data_dir: &Path, database: &str, args: &[S], input: &str) -> Output {
    let mut child = Command::new(binary)
        .args(args)
        .arg("--data-dir")
        .arg(data_dir)
        .env(backend::DATABASE, database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the input is read");
    child.wait_with_output().expect("the output")
}
