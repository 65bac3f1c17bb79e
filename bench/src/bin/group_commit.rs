//! The limit for creates: SQLite alone, the rows of a post (post, revision, 3 tags, outbox) in
//! groups of 32 transactions' worth, durable (`synchronous=FULL`).
//!
//! `group_commit FILE`: prints `{"per_second": N}`.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: group_commit FILE")?;
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full;
         create table posts(id integer primary key, slug text not null unique, title text not null, author_id integer not null,
                            published_at integer, created_at integer not null);
         create index posts_by_published on posts(published_at, id);
         create table revisions(id integer primary key, post_id integer not null, markdown text not null, html text not null);
         create table post_tags(post_id integer not null, position integer not null, tag_id integer not null, published_at integer,
                                primary key(post_id, position)) without rowid;
         create index post_tags_by_tag on post_tags(tag_id, published_at, post_id);
         create table outbox(seq integer primary key, payload text not null);",
    )?;
    let body = "Words that last. ".repeat(180);
    let started = Instant::now();
    let mut number = 0_i64;
    while started.elapsed() < Duration::from_secs(3) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for _ in 0..32 {
            number += 1;
            let slug = format!("a-measured-post-{number}");
            transaction
                .prepare_cached("insert into posts(slug, title, author_id, published_at, created_at) values (?1, ?2, 1, ?3, ?3)")?
                .execute(params![slug, "A measured post", number])?;
            let post = transaction.last_insert_rowid();
            transaction
                .prepare_cached("insert into revisions(post_id, markdown, html) values (?1, ?2, ?2)")?
                .execute(params![post, body])?;
            for tag in 1..=3 {
                transaction
                    .prepare_cached("insert into post_tags(post_id, position, tag_id, published_at) values (?1, ?2, ?2, ?3)")?
                    .execute(params![post, tag, number])?;
            }
            transaction.prepare_cached("insert into outbox(payload) values (?1)")?.execute(params![slug])?;
        }
        transaction.commit()?;
    }
    println!("{{\"per_second\": {}}}", number as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
