//! Every statement fits the schema, and none of them goes through a large table.
//!
//! The plans are those that do not know the values, with everything forbidden that can be done
//! without: whatever still scans or sorts, has to.

use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, Statement, Value, check};
use inkstone_store::{migrate, statements};
use inkstone_testkit::services::Postgres;
use tokio_postgres::{Client, NoTls};

use crate::bed::ctx;
use crate::database::Database;

/// Statements that may go through a whole table, and why: as for SQLite.
const SCANS: &[(&str, &str)] = &[
    ("users.any_can_sign_in", "stops at the first account with a password; asked while nobody has signed in yet"),
    ("outbox.slowest", "there are as many cursors as consumers: a handful"),
    ("signing_keys.clear", "there are three or four keys"),
];

/// Lists that sort what they found, and why.
const SORTS: &[(&str, &str)] = &[
    ("posts.list_tag_", "other orders than by publication read one tag's posts, not the blog"),
    ("posts.list_author_", "other orders than by publication read one person's posts, not the blog"),
];

const FORBIDDEN: &str = "set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off; \
    set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan";

struct Explained {
    name: &'static str,
    parameters: usize,
    columns: Vec<String>,
    plan: Vec<String>,
}

async fn connect(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&Postgres::shared().url(database.name()), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn explained() -> Vec<Explained> {
    let database = Database::empty();
    migrate::postgres::run(&database.options(Arc::new(SystemClock))).await.unwrap();
    let client = connect(&database).await;
    client.batch_execute(FORBIDDEN).await.unwrap();
    let mut all = Vec::new();
    for statement in statements() {
        let prepared = client.prepare(statement.sql).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
        let parameters = prepared.params().len();
        let columns = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let nulls = vec!["null"; parameters].join(", ");
        let values = if parameters == 0 { String::new() } else { format!("({nulls})") };
        client.batch_execute(&format!("prepare p as {}", statement.sql)).await.unwrap();
        let rows = client.query(&format!("explain (costs off) execute p {values}"), &[]).await.unwrap();
        client.batch_execute("deallocate p").await.unwrap();
        let plan = rows.iter().map(|row| row.get(0)).collect();
        all.push(Explained { name: statement.name, parameters, columns, plan });
    }
    all
}

fn is_walk(statement: &str) -> bool {
    ["posts.list_tag_published_", "posts.list_author_published_"].iter().any(|start| statement.starts_with(start))
}

#[tokio::test]
async fn every_statement_is_prepared_and_takes_and_gives_what_it_does_under_sqlite() {
    let under_sqlite = check::plans(&statements()).unwrap();
    let all = explained().await;
    assert_eq!(all.len(), under_sqlite.len());
    for (ours, theirs) in all.iter().zip(under_sqlite) {
        assert_eq!(ours.name, theirs.statement);
        assert_eq!(ours.parameters, theirs.parameters, "{}", ours.name);
        assert_eq!(ours.columns.len(), theirs.columns.len(), "{}", ours.name);
    }
}

#[tokio::test]
async fn no_statement_goes_through_a_large_table_and_no_public_list_is_sorted() {
    let mut wrong = Vec::new();
    for Explained { name, plan, .. } in explained().await {
        let scans = plan.iter().any(|step| step.contains("Seq Scan"));
        if scans != SCANS.iter().any(|(allowed, _)| *allowed == name) {
            wrong.push(format!("{name} scans: {scans}\n{}", plan.join("\n")));
        }
        let sorts = plan.iter().any(|step| step.trim_start_matches([' ', '-', '>']).starts_with("Sort"));
        let may_sort = !is_walk(name) && SORTS.iter().any(|(start, _)| name.starts_with(start));
        // What is found by its words is sorted, or joined to a walk, as there is much or little of it.
        let is_found = name.starts_with("posts.list_found_");
        if name.starts_with("posts.list_") && !is_found && sorts != may_sort {
            wrong.push(format!("{name} sorts: {sorts}\n{}", plan.join("\n")));
        }
        if name.starts_with("posts.list_") && plan.iter().any(|step| step.contains("revisions")) {
            wrong.push(format!("{name} reads bodies"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

const FILL: &str = "set session_replication_role = replica;
    insert into posts (slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at, updated_at, words, revision)
        select 'post-' || n, 'Post', '', 0, 1, 'published', n, n, n, 1, 1 from generate_series(1, 10000) n;
    insert into post_authors (post_id, position, user_id, published_at) select id, 0, 1, published_at from posts;
    insert into post_tags (post_id, position, tag_id, published_at) select id, 0, 1, published_at from posts;
    insert into revisions (post_id, number, title, summary, words, renderer, created_at, markdown, html)
        select id, 1, title, '', 1, 'test', 1, '', '' from posts;
    analyze";

/// Left to itself, the server reads all of a table that is neither small nor large.
#[tokio::test]
async fn a_page_is_looked_up_row_by_row_on_the_connections_that_are_used() {
    let database = Database::migrated().await;
    Postgres::shared().sql(database.name(), FILL);
    let db = Db::connect(database.options(Arc::new(SystemClock))).unwrap();
    let walk = [0, 0, 10_000, 0, 11, 0].map(Value::Int);
    let bodies = [Value::Text("[1,2,3]"), Value::Int(1), Value::Int(1)];
    for (name, values) in [("posts.list_published_desc", &walk[..]), ("posts.bodies_of_many", &bodies[..])] {
        let sql = statements().into_iter().find(|statement| statement.name == name).unwrap().sql;
        let sql = Box::leak(format!("explain (costs off) {sql}").into_boxed_str());
        let explain: &'static Statement = Box::leak(Box::new(Statement { name, sql }));
        let values: Vec<Value<'static>> = values.to_vec();
        let plan: Vec<String> = db
            .read(&ctx(), name, move |conn| Box::pin(async move { conn.fetch_all(explain, &values).await }))
            .await
            .unwrap();
        let whole = |step: &&String| step.contains("Seq Scan") || step.contains("Hash") || step.contains("Merge");
        assert_eq!(plan.iter().find(whole), None, "{name}\n{}", plan.join("\n"));
    }
}
