//! A page of a list costs what it holds, wherever in the list it is and however long that is. Plans
//! of MariaDB depend on what is in the tables, so that what is looked at is what the server read.

use std::sync::Arc;

use inkstone_core::clock::{SystemClock, SystemEntropy};
use inkstone_core::page::{Key, Position};
use inkstone_core::posts::{Parts, PostFilter, PostQuery, PostRepository, PostSort};
use inkstone_core::text::Slug;
use inkstone_core::users::UserId;
use inkstone_store::Store;
use inkstone_store::db::{Db, MariaDbOptions};
use inkstone_store::migrate;
use inkstone_testkit::services::MariaDb;

use crate::bed::ctx;

const POSTS: i64 = 6000;
/// Rows that a page of twenty may read: itself, its people and tags, several indexes.
const MOST: u64 = 1000;

/// Two people who write in turn, and two tags: one on every other post, one on few.
const BLOG: &str = "
    create table digits (digit bigint primary key);
    insert into digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
    create table numbers (seq bigint primary key);
    insert into numbers select 1 + a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit
        from digits a, digits b, digits c, digits d where d.digit < 6;
    insert into users (id, handle, display_name, role, is_public, created_at, updated_at)
        values (1, 'ada', 'Ada', 'author', 1, 1, 1), (2, 'bob', 'Bob', 'author', 1, 1, 1);
    insert into tags (id, name, slug, created_at, updated_at) values (1, 'Much', 'much', 1, 1), (2, 'Few', 'few', 1, 1);
    insert into posts (id, slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at, updated_at,
                       words, revision, was_public)
        select seq, concat('post-', seq), concat('Title ', lpad(seq, 6, '0')), '', 0, 1 + seq mod 2, 'published',
               1000 * seq, 1000 * seq, 1000 * seq, 1, 1, 1
        from numbers;
    insert into post_authors (post_id, position, user_id, published_at)
        select seq, 0, 1 + seq mod 2, 1000 * seq from numbers;
    insert into post_tags (post_id, position, tag_id, published_at)
        select seq, 0, 1, 1000 * seq from numbers where seq mod 2 = 0;
    insert into post_tags (post_id, position, tag_id, published_at)
        select seq, 1, 2, 1000 * seq from numbers where seq mod 300 = 0;
    analyze table posts, post_authors, post_tags, users, tags;";

fn rows_read(server: &MariaDb) -> u64 {
    let status = server.sql("mysql", "show global status like 'Handler_read%'");
    let count = |line: &str| line.split('\t').nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap();
    status.lines().map(count).sum()
}

#[tokio::test]
async fn a_page_costs_what_it_holds() {
    let server = MariaDb::start();
    let clock = Arc::new(SystemClock);
    let options = MariaDbOptions::new(server.url(&server.database()).parse().unwrap(), clock.clone());
    migrate::mariadb::run(&options).await.unwrap();
    server.sql("test_0", BLOG);
    let store = Store::new(Db::connect_mariadb(options), clock, Arc::new(SystemEntropy));
    let list = async |filter: PostFilter, sort, descending, position| {
        let query = PostQuery { filter, sort, descending, position, limit: 20, parts: Parts::NONE };
        let before = rows_read(&server);
        let page = PostRepository::list(&store, &ctx(), &query).await.unwrap();
        assert_eq!(page.items.len(), 20, "{query:?}");
        (rows_read(&server) - before, format!("{query:?}"))
    };
    let tag = |slugs: &[&str]| PostFilter {
        tags: slugs.iter().map(|slug| Slug::try_from((*slug).to_owned()).unwrap()).collect(),
        ..PostFilter::default()
    };
    let by_ada = PostFilter { author: Some(UserId(1)), ..PostFilter::default() };
    let middle = |sort| match sort {
        PostSort::Title => Key::Text(format!("Title {:06}", POSTS / 2), POSTS / 2),
        _ => Key::Time(1000 * POSTS / 2, POSTS / 2),
    };
    let mut wrong = Vec::new();
    let mut note = |(cost, query): (u64, String)| {
        if cost > MOST {
            wrong.push(format!("{cost} rows for {query}"));
        }
    };
    for sort in [PostSort::PublishedAt, PostSort::CreatedAt, PostSort::UpdatedAt, PostSort::Title] {
        for descending in [false, true] {
            for position in [Position::Start, Position::After(middle(sort)), Position::Before(middle(sort))] {
                note(list(PostFilter::default(), sort, descending, position).await);
            }
        }
    }
    // In the order of publication those of a tag or a person are walked as well.
    for filter in [tag(&["much"]), by_ada] {
        for descending in [false, true] {
            for position in [Position::Start, Position::After(middle(PostSort::PublishedAt))] {
                note(list(filter.clone(), PostSort::PublishedAt, descending, position).await);
            }
        }
    }
    note(list(tag(&["few", "much"]), PostSort::PublishedAt, true, Position::Start).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
