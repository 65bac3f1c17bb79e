//! The limit for creates: SQLite alone, writing the rows that a published post with three tags
//! makes into a copy of Inkstone's own database, durable (`synchronous=FULL`), with one commit
//! for as many posts as the load has clients, which is the largest group that they can fill.
//! No HTTP, no JSON, no Markdown, no checks, no reads.
//!
//! `group_commit DATABASE GROUP`: adds posts to DATABASE for three seconds and prints
//! `{"per_second": N}`.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

const POST: &str = "insert into posts (slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at,
                                       updated_at, version, words, revision, was_public)
                    values (?1, 'A measured post', 'Words that last.', 0, 1, 'published', ?2, ?2, ?2, 1, 540, 1, 1)";
const REVISION: &str = "insert into revisions (post_id, number, title, summary, words, renderer, created_by, created_at, markdown, html)
                        values (?1, 1, 'A measured post', 'Words that last.', 540, 'bench', 1, ?2, ?3, ?3)";
const PUBLICATION: &str = "insert into publications (post_id, revision, starts_at, published_at, created_by) values (?1, 1, ?2, ?2, 1)";
const AUTHOR: &str = "insert into post_authors (post_id, position, user_id, published_at) values (?1, 0, 1, ?2)";
const TAG: &str = "insert into post_tags (post_id, position, tag_id, published_at) values (?1, ?2, ?3, ?4)";
const AUDIT: &str = "insert into audit_log (at, actor_kind, actor_id, action, subject, request_id, details)
                     values (?1, 'user', 1, 'post.create', ?2, 'bench', '{}')";
const COUNT: &str = "update counters set value = value + 1 where name = 'change_seq'";
const EVENT: &str = "insert into outbox (change_seq, event_id, kind, subject, entities, payload, request_id, at)
                     select value, ?1, 'post.published', ?2, '[]', '{}', 'bench', ?3 from counters where name = 'change_seq'";

fn add(transaction: &Transaction<'_>, body: &str, number: i64) -> rusqlite::Result<()> {
    let at = 1_800_000_000_000_000 + number;
    let slug = format!("a-measured-post-{number}");
    transaction.prepare_cached(POST)?.execute(params![slug, at])?;
    let post = transaction.last_insert_rowid();
    transaction.prepare_cached(REVISION)?.execute(params![post, at, body])?;
    transaction.prepare_cached(PUBLICATION)?.execute(params![post, at])?;
    transaction.prepare_cached(AUTHOR)?.execute(params![post, at])?;
    for tag in 1..=3 {
        transaction.prepare_cached(TAG)?.execute(params![post, tag, tag, at])?;
    }
    transaction.prepare_cached(AUDIT)?.execute(params![at, format!("post:{post}")])?;
    transaction.prepare_cached(COUNT)?.execute([])?;
    transaction.prepare_cached(EVENT)?.execute(params![format!("bench-{number}"), format!("post:{post}"), at])?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: group_commit DATABASE GROUP";
    let path = std::env::args().nth(1).ok_or(usage)?;
    let group: i64 = std::env::args().nth(2).ok_or(usage)?.parse()?;
    let mut connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;")?;
    let body = "Words that last. ".repeat(180);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < Duration::from_secs(3) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in 0..group {
            number += 1;
            add(&transaction, &body, number)?;
        }
        transaction.commit()?;
    }
    println!("{{\"per_second\": {}}}", number as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
