//! Battery row F20, two releases side by side: a newer one brings the schema further while this one works on
//! it under load; nodes of this one start on what they do not know, and nothing is lost. Only a schema that
//! needs more than they know puts them out, in words.

use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::copy::tables;
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate::{EXPANDS, Migration, postgres as migrate};
use inkstone_testkit::expansion::ahead;
use inkstone_testkit::history::{Ending, Promise, assert_kept};
use inkstone_testkit::services::{Postgres, free_ports};
use inkstone_testkit::{Client, Figures, Fleet, FleetOptions, Inkstone, Options};
use serde_json::Value;

use super::{MAX_LAG, Site, until};
use crate::faults::trial::events;
use crate::{BINARY, open_store};

const CLIENTS: usize = 6;

/// One more migration after these.
fn one_more(list: &mut Vec<Migration>, name: &'static str, needs: u32, sql: String) {
    let number = u32::try_from(list.len()).unwrap() + 1;
    list.push(Migration { number, name, needs, sql: String::leak(sql) });
}

/// What `/readyz` says of the schema, and its status.
async fn schema(node: &Inkstone) -> (u16, Value) {
    let answer = node.operations().get("/readyz").await;
    let checks = answer.json()["checks"].as_array().unwrap().clone();
    (answer.status.as_u16(), checks.into_iter().find(|check| check["name"] == "schema").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_the_release_before_work_on_under_load_and_start_on_a_schema_that_is_ahead() {
    let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
    let url = postgres.url(&database);
    let site = Site::over(&url);
    let mut nodes: Vec<Inkstone> = (0..2)
        .map(|_| {
            let ports = free_ports(2);
            let ports = Some((ports[0], ports[1]));
            Inkstone::start_with(BINARY, Options { env: site.env.clone(), ports, ..Options::default() })
        })
        .collect();
    nodes[0].add_user("ada", "editor");
    let token = nodes[0].token("ada", "read posts:write");
    let clients = (0..CLIENTS).map(|number| Client::new(nodes[number % 2].base()).with_token(&token));
    let fleet = Fleet::start(clients.collect(), FleetOptions { seed: 20, ..FleetOptions::default() });
    fleet.acknowledged(200).await;

    // The newer release: one table after the other, each in a transaction.
    let names: Vec<&str> = tables().iter().map(|(table, _)| *table).collect();
    let mut further = migrate::MIGRATIONS.to_vec();
    for sql in ahead(&names) {
        one_more(&mut further, "ahead", EXPANDS, sql);
    }
    let options = PostgresOptions::new(url.parse().unwrap(), Arc::new(SystemClock));
    let begun = fleet.elapsed();
    assert_eq!(migrate::run_of(&further, &options).await.unwrap().len(), further.len() - migrate::MIGRATIONS.len());
    let ended = fleet.elapsed();
    fleet.acknowledged(200).await;
    for node in &nodes {
        until("it sees that it is behind", async || schema(node).await.1["status"] == "degraded").await;
        let (status, check) = schema(node).await;
        let reason = check["reason"].as_str().unwrap();
        assert!(status == 200 && reason.contains("newer than this program, which can work with it"), "{reason}");
    }
    // A node of the release before that ends in order, and one that is killed, come back.
    assert_eq!(nodes[0].terminate(), Some(0));
    nodes[0].restart();
    fleet.acknowledged(100).await;
    nodes[1].restart();
    fleet.acknowledged(200).await;
    nodes[1].logged("the database is newer than this program, which can work with it");

    let mut log = fleet.stop().await;
    let rows = log.rows(&nodes[0].client()).await;
    let events = events(&open_store(&nodes[0]), &log).await;
    println!("{:?} acknowledged, refused, unknown; {} posts, {} events", log.outcomes(), rows.len(), events.len());
    println!("FIGURES a schema is expanded under load: {}", Figures::of(&log.heard, begun, ended));
    assert_kept(&log.records, &Ending { rows, events: Some(events) }, Promise { staleness: MAX_LAG, moving: false });
    let written = "select count(*) || ' ' || count(ahead_note) || ' ' || coalesce(max(ahead_count), 7) from posts";
    let filled = postgres.sql(&database, written);
    assert!(
        filled.ends_with(" 0 7") && !filled.starts_with("0 "),
        "they leave to others what they do not know: {filled}"
    );

    // What it takes to know more than they do.
    let needs = u32::try_from(further.len()).unwrap();
    one_more(&mut further, "contraction", needs, "alter table tags drop column ahead_note".to_owned());
    migrate::run_of(&further, &options).await.unwrap();
    for node in &nodes {
        until("balancers look away", async || schema(node).await.0 == 503).await;
        let check = schema(node).await.1;
        let reason = check["reason"].as_str().unwrap();
        assert!(check["status"] == "failed" && reason.contains("(contraction), which only programs"), "{check}");
    }
    let refused = nodes[0].cli(&["serve", "--listen", "127.0.0.1:0", "--operations-listen", ""]);
    let said = String::from_utf8(refused.stderr).unwrap();
    let words = format!("know migration {needs}, and this one knows {}", migrate::MIGRATIONS.len());
    assert!(refused.status.code() == Some(1) && said.contains(&words), "{said}");
}
