//! Battery row F13: the clock of a server jumps by an hour, by a year and back. Nobody is let in
//! whom the time shuts out, nobody who has signed out comes back, and what is measured in durations
//! does not notice. All on a file, for which the machine's clock is the only one there is: nodes over a
//! server are in `cluster/clock.rs`.

use std::path::{Path, PathBuf};

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_testkit::{Answer, Client, Inkstone, Options, until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::posts::post;

pub(crate) const PASSWORD: &str = "a long phrase only for these tests";
pub(crate) const HOUR: i64 = 3600;
pub(crate) const YEAR: i64 = 400 * 24 * HOUR;
/// How far from the clock something may be that was said just now, on a busy machine.
pub(crate) const ABOUT: i64 = 60;

/// The clock of a server: libfaketime looks into a file, each time anew.
pub(crate) struct Dial(PathBuf);

impl Dial {
    /// The library, wherever the machine's architecture has it.
    pub(crate) fn library() -> PathBuf {
        let homes = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let found = homes.map(|home| home.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        found.expect("libfaketime is installed: Debian's package is called faketime")
    }

    pub(crate) fn new(home: &Path) -> Self {
        let dial = Self(home.join("dial"));
        dial.turn(0);
        dial
    }

    /// From now on the server's clock is so many seconds ahead.
    pub(crate) fn turn(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    /// What has a server see this clock.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let env = [
            ("LD_PRELOAD", Self::library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        env.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// On a file, which has no other clock.
    pub(crate) fn options(&self) -> Options {
        Options { env: self.env(), ..Options::default() }.on_sqlite()
    }
}

/// Somebody's tokens.
pub(crate) struct Session {
    anonymous: Client,
    access: String,
    refresh: String,
}

impl Session {
    pub(crate) fn of(anonymous: &Client, tokens: &Value) -> Self {
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        Self { anonymous: anonymous.clone(), access: text("access_token"), refresh: text("refresh_token") }
    }

    pub(crate) async fn begin(anonymous: &Client) -> Self {
        let login = json!({"login": "ada", "password": PASSWORD});
        Self::of(anonymous, &anonymous.post("/api/v2/auth/login", &login).await.expect(200).json())
    }

    pub(crate) fn client(&self) -> Client {
        self.anonymous.with_token(&self.access)
    }

    /// What the access token is worth.
    pub(crate) async fn is_let_in(&self) -> bool {
        let status = self.client().get("/api/v2/me").await.status.as_u16();
        assert!([200, 401].contains(&status), "{status}");
        status == 200
    }

    pub(crate) async fn refresh(&self) -> Answer {
        self.anonymous.post("/api/v2/auth/refresh", &json!({"refresh_token": self.refresh})).await
    }

    pub(crate) async fn end(&self) {
        self.anonymous.post("/api/v2/auth/logout", &json!({"refresh_token": self.refresh})).await.expect(204);
    }
}

/// How many seconds the `Date` of an answer is ahead of the real time.
pub(crate) fn ahead(answer: &Answer) -> i64 {
    let date = jiff::fmt::rfc2822::parse(answer.header("date").unwrap()).unwrap().timestamp();
    date.as_second() - SystemClock.now().as_second()
}

/// Waits until `Date` follows the clock, which the server looks at a few times a second.
async fn until_dated(anonymous: &Client, expected: i64) {
    until(&format!("answers are dated {expected} s ahead"), async || {
        (ahead(&anonymous.get("/api/v2/posts").await.expect(200)) - expected).abs() <= ABOUT
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_lets_nobody_in_and_brings_nobody_back() {
    let home = tempfile::tempdir().unwrap();
    let dial = Dial::new(home.path());
    let server = Inkstone::start_with(BINARY, dial.options());
    server.add_user("ada", "author");
    let anonymous = server.client();

    let first = Session::begin(&anonymous).await;
    let wish = json!({"name": "deploy", "scopes": ["read"], "expires_in_days": 7});
    let personal = first.client().post("/api/v2/me/tokens", &wish).await.expect(201).json();
    let personal = anonymous.with_token(personal["token"].as_str().unwrap());
    let left = Session::begin(&anonymous).await;
    left.end().await;
    assert!(first.is_let_in().await && !left.is_let_in().await);

    dial.turn(HOUR);
    until_dated(&anonymous, HOUR).await;
    personal.get("/api/v2/posts").await.expect(200);
    assert!(!first.is_let_in().await, "an access token of 15 minutes, an hour later");
    let second = Session::of(&anonymous, &first.refresh().await.expect(200).json());
    assert!(second.is_let_in().await);

    dial.turn(YEAR);
    assert!(!second.is_let_in().await);
    personal.get("/api/v2/posts").await.expect(401);
    second.refresh().await.expect(401);
    let third = Session::begin(&anonymous).await;
    assert!(third.is_let_in().await, "keys are changed as often as they should have been, and signing in goes on");
    let ended = Session::begin(&anonymous).await;
    ended.end().await;

    for offset in [0, -HOUR, -YEAR] {
        dial.turn(offset);
        until_dated(&anonymous, offset).await;
        assert!(!third.is_let_in().await, "{offset}: a token from the future");
        for gone in [&left, &ended] {
            assert!(!gone.is_let_in().await, "{offset}: who has left stays away");
            gone.refresh().await.expect(401);
        }
        first.refresh().await.expect(401);
        let now = Session::begin(&anonymous).await;
        assert!(now.is_let_in().await, "{offset}: whoever knows the password is let in");
    }
}

#[tokio::test]
async fn durations_and_the_order_of_changes_do_not_notice_a_clock_that_jumps() {
    let home = tempfile::tempdir().unwrap();
    let dial = Dial::new(home.path());
    let mut server = Inkstone::start_with(BINARY, dial.options());
    server.add_user("ada", "author");
    let token = server.token("ada", "read posts:write");
    let anonymous = server.client();
    let ada = anonymous.with_token(&token);
    let mut ids = Vec::new();
    for (round, offset) in [0, HOUR, -HOUR, 0].into_iter().enumerate() {
        dial.turn(offset);
        // Written at a time of its own choice, it is shown whatever the clock says.
        let mut body = post(&format!("Round {round}"));
        body["published_at"] = json!("2020-01-01T00:00:00Z");
        let made = ada.post("/api/v2/posts", &body).await.expect(201);
        ids.push(made.json()["id"].as_i64().unwrap());
        let path = made.header("location").unwrap().to_owned();
        for turned in [offset, offset + YEAR, offset - YEAR] {
            let cached = anonymous.get(&path).await.expect(200);
            let age = cached.header("age").map_or(0, |age| age.parse::<i64>().unwrap());
            assert!((0..=ABOUT).contains(&age), "round {round}: made moments ago, and not {age} s");
            dial.turn(turned);
        }
        dial.turn(offset);
        let again = anonymous.get(&path).await.expect(200);
        assert!(again.header("cache-status").unwrap().starts_with("inkstone; hit"), "{again:?}");
    }
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    dial.turn(0);
    assert_eq!(server.terminate(), Some(0));
    let events = crate::crash::published_events(&server).await;
    assert!(ids.iter().all(|id| events.get(id) == Some(&1)) && events.len() == ids.len(), "{ids:?}, {events:?}");
}

/// A token is refused that is not valid yet by the clock, beyond the leeway, and nobody gets in for longer.
#[tokio::test]
async fn a_token_from_the_future_is_taken_within_the_leeway_only() {
    let home = tempfile::tempdir().unwrap();
    let dial = Dial::new(home.path());
    let server = Inkstone::start_with(BINARY, dial.options());
    server.add_user("ada", "author");
    let anonymous = server.client();
    for (ahead, is_taken) in [(10, true), (300, false)] {
        dial.turn(ahead);
        let session = Session::begin(&anonymous).await;
        assert!(session.is_let_in().await);
        dial.turn(0);
        assert_eq!(session.is_let_in().await, is_taken, "issued by a clock {ahead} s ahead");
    }
}
