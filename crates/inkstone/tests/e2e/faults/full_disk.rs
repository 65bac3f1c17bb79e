//! Battery row F10 on PostgreSQL: its disk is full.

use std::sync::Arc;

use inkstone_testkit::services::{Postgres, PostgresOptions};
use inkstone_testkit::{Client, Dice};
use serde_json::{Value, json};

use super::postgres::Stage;

/// What everybody may read, `{post}` being a post. Each is answered by the database: the cache is off.
const READS: [&str; 5] = ["{post}", "/api/v2/posts?limit=100", "/api/v2/posts?q=kept", "/api/v2/tags", "/api/v2/users"];

/// A post that needs room, of words that cannot be compressed much.
fn large() -> Value {
    let mut dice = Dice::new(1);
    let words: Vec<String> = (0..6000).map(|_| format!("{:016x}", dice.roll())).collect();
    json!({"title": "Large", "content": {"markdown": words.join(" ")}, "status": "draft"})
}

/// Reads everything, as anybody and as somebody.
async fn read_all(author: &Client, post: &str) {
    for path in READS.map(|path| path.replace("{post}", post)) {
        for client in [&author.anonymous(), author] {
            client.get(&path).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_whose_disk_is_full_goes_on_reading() {
    // As eager as can be for parallel workers, who would need room for the memory that they share.
    let eager = ["min_parallel_table_scan_size", "parallel_setup_cost", "parallel_tuple_cost"];
    let settings = eager.map(|name| (name.to_owned(), "0".to_owned())).into();
    // Without room for its log of changes it stops altogether, which is another fault.
    let options = PostgresOptions { disk: Some("80m"), log_elsewhere: true, settings, ..PostgresOptions::default() };
    let postgres = Arc::new(Postgres::start_with(options));
    let database = postgres.database();
    let stage = Stage::on(postgres, &database, &[("CACHE__MAX_BYTES", "0")]);
    let disk = stage.postgres.process().disk().unwrap();
    let (author, popular) = stage.popular().await;
    let mut trial = stage.begin("PostgreSQL's disk full").await;
    trial.strikes();
    disk.fill();
    let refused = author.post("/api/v2/posts", &large()).await.expect(503);
    assert_eq!(refused.problem(), "storage-full");
    assert!(refused.header("retry-after").is_some());
    trial.nobody_is_let_in().await;
    read_all(&author, &popular).await;
    trial.felt(300).await;
    read_all(&author, &popular).await;
    disk.make_room();
    trial.heals();
    author.post("/api/v2/posts", &large()).await.expect(201);
    let figures = stage.end(trial).await;
    assert_eq!(figures.reads.errors, 0, "{figures}");
    assert!(figures.errors.keys().all(|status| *status == 503), "{figures}");
    stage.server.logged("the database has no space left");
}
