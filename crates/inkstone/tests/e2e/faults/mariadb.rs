//! What clients feel of a MariaDB that is in trouble: the same as of a PostgreSQL.

use inkstone_testkit::services::MariaDb;
use inkstone_testkit::{Fault, Inkstone, Proxy, Toward, until};
use serde_json::json;

use super::away::{self, without_a_connection, without_its_database};
use crate::posts::post;

/// A MariaDB of the test's own behind a proxy, and a server on it.
struct Stage {
    server: Inkstone,
    proxy: Proxy,
    mariadb: MariaDb,
}

impl Stage {
    fn set() -> Self {
        let mariadb = MariaDb::start();
        let proxy = Proxy::before(mariadb.port());
        let url = mariadb.url_through(&proxy.address().to_string(), &mariadb.database());
        Self { server: away::serve(&url, &[]), proxy, mariadb }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_hangs_is_not_waited_for_and_found_again() {
    let stage = Stage::set();
    let process = stage.mariadb.process();
    without_its_database(&stage.server, "MariaDB hung (SIGSTOP)", || process.pause(), || process.resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_is_killed_is_found_again_when_it_is_back() {
    let stage = Stage::set();
    let process = stage.mariadb.process();
    without_its_database(&stage.server, "MariaDB killed", || process.kill(), || process.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_before_mariadb_is_survived() {
    let stage = Stage::set();
    let (swallow, heal) = (
        || stage.proxy.set(Fault::Swallow(Toward::Both)),
        || {
            // What was swallowed is gone for good: these connections never answer again.
            stage.proxy.set_new(Fault::None);
        },
    );
    without_its_database(&stage.server, "MariaDB out of reach (packets lost)", swallow, heal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_left_at_mariadb_one_is_told_to_come_later() {
    let mariadb = MariaDb::start();
    let (database, proxy) = (mariadb.database(), Proxy::before(mariadb.port()));
    let user = "create user 'blog'@'%' identified by 'sesame'";
    mariadb.sql("mysql", &format!("{user}; grant all privileges on {database}.* to 'blog'@'%'"));
    let url = format!("mysql://blog:sesame@{}/{database}", proxy.address());
    let server = away::serve(&url, &[("CACHE__MAX_BYTES", "0")]);
    let take = || {
        mariadb.sql("mysql", "alter user 'blog'@'%' with max_user_connections 1");
        proxy.set_existing(Fault::Reset);
    };
    let give = || drop(mariadb.sql("mysql", "alter user 'blog'@'%' with max_user_connections 0"));
    without_a_connection(&server, "MariaDB out of connections", take, give).await;
}

/// Not the lock under which nodes write, but that of a row: somebody changes it by hand, and goes for lunch.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_keeps_locked_is_503_until_they_let_go() {
    let (mariadb, database) = (MariaDb::shared(), MariaDb::shared().database());
    let server = away::serve(&mariadb.url(&database), &[]);
    let author = server.with_token("ada", "author");
    let made = author.post("/api/v2/posts", &post("Locked")).await.expect(201);
    let path = made.header("location").unwrap();
    // It ends by itself if the test does not end it.
    let hold = format!(
        "start transaction; update posts set title = 'By hand' where id = {}; select sleep(100) as lunch",
        made.json()["id"]
    );
    let holder = tokio::task::spawn_blocking({
        let database = database.clone();
        move || mariadb.try_sql(&database, &hold)
    });
    let at_lunch = format!(
        "select id from information_schema.processlist where db = '{database}' and info like '%as lunch' and id <> connection_id()"
    );
    until("the row is locked", async || !mariadb.sql(&database, &at_lunch).is_empty()).await;

    for _ in 0..2 {
        let refused = author.patch(path, made.etag(), &json!({"title": "Too early"})).await.expect(503);
        assert_eq!(refused.problem(), "unavailable");
        // Nobody else is kept from anything.
        assert_eq!(server.client().get(path).await.expect(200).json()["title"], "Locked");
        author.post("/api/v2/posts", &post("Beside it")).await.expect(201);
    }
    mariadb.sql(&database, &format!("kill {}", mariadb.sql(&database, &at_lunch)));
    holder.await.unwrap().unwrap_err();
    let changed = author.patch(path, made.etag(), &json!({"title": "In time"})).await.expect(200);
    assert_eq!((&changed.json()["title"], &changed.json()["revision"]), (&json!("In time"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_while_its_mariadb_only_reads() {
    let mariadb = MariaDb::start();
    let database = mariadb.database();
    // Those who may do everything may write all the same.
    let user = "create user 'blog'@'%' identified by 'sesame'";
    mariadb.sql("mysql", &format!("{user}; grant all privileges on {database}.* to 'blog'@'%'"));
    let server = away::serve(&format!("mysql://blog:sesame@127.0.0.1:{}/{database}", mariadb.port()), &[]);
    let set = |value: u8| drop(mariadb.sql("mysql", &format!("set global read_only = {value}")));
    let sql = |sql: &str| drop(mariadb.sql(&database, sql));
    away::started_while_nothing_is_written(server, sql, || set(1), || set(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_that_a_mariadb_has_no_space_left() {
    let mariadb = MariaDb::shared();
    let database = mariadb.database();
    let server = away::serve(&mariadb.url(&database), &[]);
    let author = server.with_token("ada", "author");
    // What it says when its disk is full.
    let full = "signal sqlstate 'HY000' set mysql_errno = 1021, message_text = 'Disk full'";
    mariadb.sql(&database, &format!("create trigger full before insert on posts for each row {full}"));
    for _ in 0..2 {
        let refused = author.post("/api/v2/posts", &crate::posts::post("No room")).await.expect(503);
        assert_eq!(refused.problem(), "storage-full");
    }
    let said = server.logged("the database has no space left");
    assert!(said.contains("Disk full") && said.contains("db.address"), "{said}");
}
