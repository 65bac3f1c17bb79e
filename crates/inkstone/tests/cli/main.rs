//! The program as operators meet it: commands, their output and their exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

mod accounts;
mod configuration;
mod import;
mod operation;
mod start;
mod store;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_inkstone");

/// A data directory that is not there yet.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command on the data directory.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "", &[])
    }

    /// Runs a command on the data directory, with a standard input and an environment.
    pub(crate) fn run_with(&self, args: &[&str], input: &str, env: &[(&str, &str)]) -> Outcome {
        use std::io::Write as _;
        let mut child = Command::new(BINARY)
            .args(args)
            .env("INKSTONE_DATA_DIR", self.data_dir())
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may be gone by now.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        Outcome::of(child.wait_with_output().unwrap())
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its stdout, if it succeeded without a word on stderr.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Fails with this code, nothing on stdout, and all of these words on stderr.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {:?}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    let help = home.run(&["--help"]).ok();
    for word in
        ["serve", "user", "token", "migrate", "store", "config", "openapi", "doctor", "Examples:", "Exit codes:"]
    {
        assert!(help.contains(word), "{word}");
    }
    for command in [
        &["serve"][..],
        &["user"],
        &["user", "add"],
        &["user", "list"],
        &["user", "set-role"],
        &["user", "set-password"],
        &["user", "disable"],
        &["user", "enable"],
        &["token"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
        &["migrate"],
        &["store"],
        &["store", "copy"],
        &["config", "default"],
        &["config", "check"],
        &["config", "show"],
        &["openapi"],
        &["doctor"],
        &["version"],
    ] {
        let help = home.run(&[command, &["--help"]].concat()).ok();
        assert!(help.contains("--data-dir") && help.contains("Usage:"), "{command:?}: {help}");
    }
    assert!(!home.data_dir().exists(), "asking for help makes nothing");
}

#[test]
fn what_is_not_understood_is_a_usage_error_with_a_suggestion() {
    let home = Home::new();
    home.run(&["serv"]).fails(2, &["serve"]);
    home.run(&[]).fails(2, &["Usage:"]);
    home.run(&["serve", "--lissten", "127.0.0.1:0"]).fails(2, &["--listen"]);
    home.run(&["serve", "--listen", "localhost"]).fails(2, &["server.listen (--listen)", "an address and a port"]);
    home.run(&["openapi", "v3"]).fails(2, &["v1", "v2"]);
    home.run(&["config", "show", "--set", "server.threads"]).fails(2, &["SETTING=VALUE"]);
    assert!(!home.data_dir().exists());
}

#[test]
fn the_version_and_the_documents_of_the_api_are_printed() {
    let home = Home::new();
    assert_eq!(home.run(&["version"]).ok(), format!("inkstone {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.run(&["--version"]).ok(), format!("inkstone {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.run(&["version", "--json"]).json()["version"], env!("CARGO_PKG_VERSION"));
    for version in ["v1", "v2"] {
        let document = home.run(&["openapi", version]).json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert!(document["paths"][format!("/api/{version}/posts")].is_object());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        Command::new(BINARY).args(["openapi", "v2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let outcome = Outcome::of(child.wait_with_output().unwrap());
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
}
