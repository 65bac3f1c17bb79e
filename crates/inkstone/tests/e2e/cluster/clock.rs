//! Battery row F13 on two nodes over one server: one of them runs on a machine whose clock is wrong, and
//! jumps. What nodes share goes by the clock of the database, so nothing of that is to be seen.

use std::process::Command;

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Answer, Client, Inkstone, Options};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Site, metric, until};
use crate::BINARY;
use crate::clock::{ABOUT, Dial, HOUR, Session, YEAR, ahead};
use crate::posts::post;

/// More than keys, blocks and changes are kept for here, and less than would end tokens.
const DAYS: i64 = 2 * 24 * 3600;

struct Bed {
    right: Inkstone,
    wrong: Inkstone,
    dial: Dial,
    database: String,
    home: tempfile::TempDir,
}

impl Bed {
    /// Two nodes, of which one is so many seconds ahead from the start, and does all housekeeping.
    fn start(seconds: i64) -> Self {
        let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
        let home = tempfile::tempdir().unwrap();
        let dial = Dial::new(home.path());
        let site = Site::over(&postgres.url(&database)).set("STORE__RETENTION__OUTBOX", "1h");
        let right = site.clone().node();
        right.add_user("ada", "author");
        dial.turn(seconds);
        let mut env = site.set("WORKER__HOUSEKEEPING", "1s").env;
        env.extend(dial.env());
        let wrong = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
        Self { right, wrong, dial, database, home }
    }

    fn sql(&self, sql: &str) -> String {
        Postgres::shared().sql(&self.database, sql)
    }

    /// Waits until what is expired and what is old was looked for once more.
    async fn housekeeping(&self) {
        let done = "select min(done_at) from leases where name in ('expired.remove', 'old.remove')
                    having count(done_at) = 2";
        let began = self.sql("select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)");
        let began: i64 = began.parse().unwrap();
        until("housekeeping", async || self.sql(done).parse::<i64>().is_ok_and(|at| at > began)).await;
    }
}

async fn post_once(client: &Client, body: &Value) -> Answer {
    client.request(Method::POST, "/api/v2/posts").header("idempotency-key", "once").json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_does_nothing_twice_and_removes_nothing_early() {
    let bed = Bed::start(DAYS);
    let token = bed.right.token("ada", "read posts:write");
    let (right, wrong) = (bed.right.client().with_token(&token), bed.wrong.client().with_token(&token));
    let body = post("Once");
    let first = post_once(&right, &body).await.expect(201).json();
    for seconds in [DAYS, 0, 2 * DAYS, -YEAR] {
        bed.dial.turn(seconds);
        bed.sql(
            "insert into idempotency_keys (scope, key, fingerprint, status, headers, created_at, expires_at, body)
             values ('test', 'old', '', 200, '[]', 0, 1, '')",
        );
        for client in [&wrong, &right, &wrong] {
            let again = post_once(client, &body).await.expect(201);
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{seconds} s ahead");
            assert_eq!(again.json()["id"], first["id"]);
            bed.housekeeping().await;
        }
        assert_eq!(bed.sql("select count(*) from idempotency_keys where key = 'old'"), "0", "it did clean up");
        let kept = bed.sql("select count(*) from outbox where kind = 'post.published'");
        assert_eq!(kept, "1", "{seconds} s ahead: a young change stays");
    }
    assert_eq!(bed.sql("select count(*) from posts"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_lets_in_whom_the_others_let_in() {
    let bed = Bed::start(DAYS);
    let (right, wrong) = (bed.right.client(), bed.wrong.client());
    let guess = json!({"login": "eve", "password": "not the password at all"});
    until("guessing is ended", async || right.post("/api/v2/auth/login", &guess).await.status == 429).await;
    for seconds in [DAYS, 0, YEAR, -YEAR] {
        bed.dial.turn(seconds);
        let blocked = wrong.post("/api/v2/auth/login", &guess).await.expect(429);
        let wait: i64 = blocked.header("retry-after").unwrap().parse().unwrap();
        assert!(wait <= 4 * 3600, "{seconds} s ahead: {wait} s");
        for (here, there) in [(&right, &wrong), (&wrong, &right)] {
            let session = Session::begin(here).await;
            let elsewhere = |session: &Session| there.with_token(session.client().token().unwrap());
            elsewhere(&session).get("/api/v2/me").await.expect(200);
            let wish = json!({"name": "deploy", "scopes": ["read"], "expires_in_days": 1});
            let personal = session.client().post("/api/v2/me/tokens", &wish).await.expect(201).json();
            there.with_token(personal["token"].as_str().unwrap()).get("/api/v2/me").await.expect(200);
            session.end().await;
            elsewhere(&session).get("/api/v2/me").await.expect(401);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_dates_and_shows_by_the_clock_of_the_others_and_says_that_it_is_wrong() {
    let bed = Bed::start(DAYS);
    let token = bed.right.token("ada", "read posts:write");
    let (right, wrong) = (bed.right.client().with_token(&token), bed.wrong.client().with_token(&token));
    let mut soon = post("Soon");
    soon["published_at"] = json!((SystemClock.now() + jiff::SignedDuration::from_hours(1)).to_string());
    for seconds in [DAYS, 0, YEAR, -YEAR] {
        bed.dial.turn(seconds);
        let made = wrong.post("/api/v2/posts", &post("Now")).await.expect(201);
        assert!(ahead(&made).abs() <= ABOUT, "{seconds} s ahead");
        for name in ["published_at", "created_at"] {
            let at: Timestamp = made.json()[name].as_str().unwrap().parse().unwrap();
            assert!(SystemClock.now().duration_since(at).abs().as_secs() <= ABOUT, "{seconds} s ahead: {name} {at}");
        }
        for client in [&right, &wrong] {
            client.anonymous().get(&format!("/api/v2/posts/{}", made.json()["id"])).await.expect(200);
            client.post("/api/v2/posts", &soon).await.expect(422);
        }
        let shown = metric(&bed.wrong, "inkstone_clock_ahead_seconds").await;
        assert!((shown - f64::from(i32::try_from(seconds).unwrap())).abs() < 60.0, "{seconds}: {shown}");
    }
    bed.wrong.logged("differs from the database's");
    bed.dial.turn(0);
    bed.wrong.logged("agrees with the database's again");
    assert!(metric(&bed.right, "inkstone_clock_ahead_seconds").await.abs() < 60.0);
}

/// What `doctor` says of the clock where it runs with this one.
fn doctor(bed: &Bed, dial: &Dial) -> (String, String) {
    let mut command = Command::new(BINARY);
    command.args(["doctor", "--json", "--set", "server.listen=127.0.0.1:0"]).envs(dial.env());
    command.args(["--set", "server.operations_listen=127.0.0.1:0"]);
    command.env("INKSTONE__STORE__URL", Postgres::shared().url(&bed.database));
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let mut findings = report.as_array().unwrap().iter().filter(|finding| finding["check"] == "clock");
    let finding = findings.next().unwrap_or_else(|| panic!("no clock in {report}"));
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

#[test]
fn doctor_says_how_far_the_clock_is_from_the_databases() {
    let bed = Bed::start(0);
    let dial = Dial::new(bed.home.path());
    for (seconds, which) in [(DAYS, "ahead of"), (-HOUR, "behind")] {
        dial.turn(seconds);
        let (status, message) = doctor(&bed, &dial);
        let words = format!(" s {which} the database's, which says ");
        let said = message.strip_prefix("is ").and_then(|rest| rest.split_once(&words));
        let (by, now) = said.unwrap_or_else(|| panic!("{message}"));
        let by: i64 = by.parse().unwrap();
        assert!(status == "warn" && (by - seconds.abs()).abs() <= ABOUT, "{seconds} s ahead: {status}, {message}");
        let now: Timestamp = now.parse().unwrap();
        assert!(SystemClock.now().duration_since(now).abs().as_secs() <= ABOUT, "{seconds} s ahead: {message}");
    }
    dial.turn(0);
    let (status, message) = doctor(&bed, &dial);
    assert!(status == "ok" && message.ends_with(", as the database's"), "{status}, {message}");
}
