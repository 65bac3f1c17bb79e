//! A page costs the same number of statements however many rows it has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::{Caller, Role};
use inkstone_core::clock::{Clock, SystemClock, SystemEntropy};
use inkstone_core::context::{Context, Deadline};
use inkstone_core::page::Position;
use inkstone_core::posts::{
    self, Content, Markdown, NewPost, Parts, PostFilter, PostId, PostKey, PostQuery, PostRepository, PostSort, Status,
    Title,
};
use inkstone_core::tags::TagName;
use inkstone_core::text::Slug;
use inkstone_core::users::{self, DisplayName, Handle, NewUser, UserRepository};
use inkstone_store::db::{Db, SqliteOptions};
use inkstone_store::{Store, migrate};

fn ctx() -> Context {
    Context::new(Caller::Operator, "request", Deadline::at(SystemClock.instant() + Duration::from_mins(1)))
}

/// A blog of 100 posts with two tags each.
async fn blog(directory: &std::path::Path) -> Store {
    let options = SqliteOptions::new(directory.join("blog.db"), Arc::new(SystemClock));
    migrate::run(&options).unwrap();
    let store = Store::new(Db::open(options).unwrap(), Arc::new(SystemClock), Arc::new(SystemEntropy));
    let now = SystemClock.now();
    let author = NewUser {
        handle: Handle::from_name("ada"),
        email: None,
        display_name: DisplayName::try_from("Ada".to_owned()).unwrap(),
        role: Role::Author,
        password_hash: None,
        created_at: now,
    };
    let permit = users::policy::create(&Caller::Operator, author).unwrap();
    let author = UserRepository::create(&store, &ctx(), permit, false, None).await.unwrap().done().unwrap();
    for number in 0..100 {
        let new = NewPost {
            title: Title::try_from(format!("Post {number}")).unwrap(),
            content: Content {
                markdown: Markdown::try_from("text".to_owned()).unwrap(),
                html: "<p>text</p>".into(),
                renderer: "test",
                summary: "text".into(),
                words: 1,
            },
            slug: Slug::from_text("post", "post"),
            slug_exact: false,
            excerpt: None,
            status: Status::Published,
            tags: ["a", "b"].map(|name| TagName::try_from(name.to_owned()).unwrap()).into(),
            may_create_tags: true,
            authors: vec![author.id],
            published_at: Some(now),
            created_at: now,
            updated_at: now,
            redirects: Vec::new(),
            import: None,
        };
        let permit = posts::policy::create(&Caller::Operator, new).unwrap();
        PostRepository::create(&store, &ctx(), permit, None).await.unwrap();
    }
    store
}

/// Rows and statements of a list.
async fn cost(store: &Store, limit: u32, sort: PostSort, filter: PostFilter, parts: Parts) -> (usize, u32) {
    let ctx = ctx();
    let query = PostQuery { filter, sort, descending: true, position: Position::Start, limit, parts };
    let page = PostRepository::list(store, &ctx, &query).await.unwrap();
    assert!(page.items.iter().all(|post| post.tags.len() == 2 && post.authors.len() == 1));
    assert!(page.items.iter().all(|post| post.html.is_some() == parts.html));
    (page.items.len(), ctx.meter.statements())
}

#[tokio::test]
async fn a_page_of_one_costs_as_many_statements_as_a_page_of_a_hundred() {
    let directory = tempfile::tempdir().unwrap();
    let store = blog(directory.path()).await;
    let tagged =
        PostFilter { tags: vec![Slug::from_text("a", "a"), Slug::from_text("b", "b")], ..PostFilter::default() };
    for filter in [PostFilter::default(), tagged] {
        for sort in PostSort::ALL {
            for (parts, statements) in [(Parts::NONE, 1), (Parts::ALL, 2)] {
                for limit in [1, 2, 100] {
                    let cost = cost(&store, limit, sort, filter.clone(), parts).await;
                    assert_eq!(cost, (limit as usize, statements), "{sort:?} {filter:?}");
                }
            }
        }
    }
    let ctx = ctx();
    let key = PostKey::Id(PostId(1));
    PostRepository::find(&store, &ctx, &key, Parts::ALL).await.unwrap().unwrap();
    assert_eq!(ctx.meter.statements(), 1, "one post: its row, its body and its links");
}
