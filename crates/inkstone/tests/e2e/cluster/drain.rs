//! A node is told to stop while it has much to do: all of that is done first.

use inkstone_testkit::services::Postgres;
use reqwest::Method;

use super::{Site, metric, until};
use crate::posts::post;

/// Requests that are at work when the signal comes.
const READS: u32 = 450;
const WRITES: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_work_when_a_node_is_told_to_stop_is_finished() {
    let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
    // With a cache a read would not come to the database; every one of these is to hang there.
    let site = Site::over(&postgres.url(&database)).set("CACHE__MAX_BYTES", "0").set("SERVER__DRAIN__NOTICE", "1s");
    let mut node = site.node();
    let author = node.with_token("ada", "author");
    let path = author.post("/api/v2/posts", &post("First")).await.expect(201).header("location").unwrap().to_owned();

    // Nobody gets at the posts while this is open. It ends by itself if the test does not end it.
    let url = postgres.url(&database);
    let holder = tokio::task::spawn_blocking(move || {
        let lock = "begin; lock table posts in access exclusive mode; select pg_sleep(25)";
        Postgres::shared().try_sql(url.rsplit('/').next().unwrap(), lock)
    });
    until("the table is locked", async || {
        let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'posts'::regclass and granted";
        postgres.sql(&database, held) == "1"
    })
    .await;

    let anonymous = node.client();
    let reads = (0..READS).map(|_| {
        let (client, path) = (anonymous.clone(), path.clone());
        tokio::spawn(async move { client.get(&path).await })
    });
    let mut at_work: Vec<_> = reads.collect();
    at_work.extend((0..WRITES).map(|number| {
        let author = author.clone();
        tokio::spawn(async move {
            let key = format!("\"write-{number}\"");
            let request = author.request(Method::POST, "/api/v2/posts").header("idempotency-key", &key);
            request.json(&post(&format!("Post {number}"))).send().await
        })
    }));
    until("all of them are at work", async || {
        // The one that asks this is at work, too.
        metric(&node, "inkstone_http_requests_in_work").await > f64::from(READS + WRITES)
    })
    .await;

    node.ask_to_stop();
    until("it says that it is going", async || {
        node.operations().request(Method::GET, "/readyz").try_send().await.is_ok_and(|answer| answer.status == 503)
    })
    .await;
    let sleeper = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(25)%' and pid <> pg_backend_pid()";
    postgres.sql("postgres", sleeper);
    assert!(holder.await.unwrap().is_err(), "the lock was taken away");

    let mut done = [0; 2];
    for answer in at_work {
        let answer = answer.await.unwrap();
        match answer.status.as_u16() {
            200 => done[0] += 1,
            201 => done[1] += 1,
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(done, [READS, WRITES]);
    assert_eq!(node.end(), Some(0), "it ended by itself, in order");
    assert_eq!(postgres.sql(&database, "select count(*) from posts"), (WRITES + 1).to_string());
}
