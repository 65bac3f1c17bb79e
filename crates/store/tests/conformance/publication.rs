//! What is public, and when.

use inkstone_core::page::Position;
use inkstone_core::posts::{Parts, PostFilter, PostQuery, PostRepository, PostSort, Status};
use inkstone_store::db::Statement;
use jiff::Timestamp;

use crate::bed::*;

conformance! {
    a_post_is_public_from_its_time_on_without_anybody_doing_anything
    publishing_and_unpublishing_are_told_apart
    links_bear_the_time_of_their_post
    windows_say_which_revision_was_public_when
}

async fn a_post_is_public_from_its_time_on_without_anybody_doing_anything(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["rust"]);
    new.published_at = Some(bed.now() + secs(60));
    let post = bed.post(new).await;
    let listed = || async {
        let mut counts = Vec::new();
        for sort in PostSort::ALL {
            for (author, tags) in [(None, vec![]), (Some(ada.id), vec![]), (None, vec![slug("rust")])] {
                let filter = PostFilter { author, tags, ..PostFilter::default() };
                let query = PostQuery {
                    filter,
                    sort,
                    descending: true,
                    position: Position::Start,
                    limit: 10,
                    parts: Parts::NONE,
                };
                counts.push(PostRepository::list(&bed.store, &ctx(), &query).await.unwrap().items.len());
            }
        }
        counts
    };
    assert_eq!(bed.get(post.id).await.status, Status::Draft);
    assert_eq!(listed().await, [0; 12]);
    bed.clock.advance(secs(59));
    assert_eq!(listed().await, [0; 12]);
    bed.clock.advance(secs(1));
    assert_eq!(bed.get(post.id).await.status, Status::Published);
    assert_eq!(listed().await, [1; 12]);
}

async fn publishing_and_unpublishing_are_told_apart(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    (new.status, new.published_at) = (Status::Draft, None);
    new.tags = tag_names(&["rust"]);
    let seq = bed.latest().await;
    let post = bed.post(new).await;
    assert_eq!(bed.kinds_after(seq).await, ["tag.created", "post.created"]);
    assert!(bed.events_after(seq).await[1].entities.is_empty(), "a draft is in nothing that is cached");
    let now = bed.now();
    let seq = bed.latest().await;
    let published = bed
        .change(post.id, move |change| {
            (change.status, change.published_at) = (Status::Published, Some(now));
        })
        .await
        .unwrap();
    assert_eq!((published.published_at, published.revision), (Some(now), 1));
    bed.change(post.id, |change| (change.status, change.published_at) = (Status::Draft, None)).await.unwrap();
    assert_eq!(bed.kinds_after(seq).await, ["post.published", "post.unpublished"]);
    let filter = PostFilter { tags: vec![slug("rust")], ..PostFilter::default() };
    assert_eq!(PostRepository::count(&bed.store, &ctx(), &filter).await.unwrap(), 0);
    let drafts = PostFilter { status: Some(Status::Draft), ..filter };
    assert_eq!(PostRepository::count(&bed.store, &ctx(), &drafts).await.unwrap(), 1);
}

async fn links_bear_the_time_of_their_post(bed: Bed) {
    static ASTRAY: Statement = Statement {
        name: "test.astray",
        sql: "select l.post_id from post_tags l join posts p on p.id = l.post_id
              where coalesce(l.published_at, -1) <> coalesce(p.published_at, -1)
              union all
              select l.post_id from post_authors l join posts p on p.id = l.post_id
              where coalesce(l.published_at, -1) <> coalesce(p.published_at, -1)",
    };
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    (new.status, new.published_at) = (Status::Draft, None);
    new.tags = tag_names(&["rust"]);
    let post = bed.post(new).await;
    let now = bed.now();
    let tagged = PostFilter { tags: vec![slug("rust")], ..PostFilter::default() };
    let by_ada = PostFilter { author: Some(ada.id), ..PostFilter::default() };
    for (published_at, tags, expected) in [
        (Some(now - secs(60)), None, 1),
        (Some(now - secs(30)), None, 1),
        (None, None, 0),
        (Some(now), Some(["rust", "new"]), 1),
        (Some(now), Some(["new", "rust"]), 1),
    ] {
        bed.change(post.id, move |change| {
            change.status = if published_at.is_some() { Status::Published } else { Status::Draft };
            change.published_at = published_at;
            change.tags = tags.map(|tags| tag_names(&tags));
        })
        .await
        .unwrap();
        assert_eq!(bed.rows::<i64>(&ASTRAY).await, [0; 0]);
        for filter in [&tagged, &by_ada] {
            assert_eq!(PostRepository::count(&bed.store, &ctx(), filter).await.unwrap(), expected);
        }
    }
    bed.delete(post.id).await.unwrap();
    assert_eq!(bed.rows::<i64>(&ASTRAY).await, [0; 0]);
}

async fn windows_say_which_revision_was_public_when(bed: Bed) {
    static WINDOWS: Statement =
        Statement { name: "test.windows", sql: "select revision, starts_at, ends_at from publications order by id" };
    let ada = bed.user("ada").await;
    let begin = bed.now();
    let post = bed.post(bed.draft(ada.id)).await;
    bed.clock.advance(secs(10));
    bed.change(post.id, |change| change.title = Some(title("Second"))).await.unwrap();
    bed.clock.advance(secs(10));
    bed.change(post.id, |change| change.tags = Some(tag_names(&["no-rewrite"]))).await.unwrap();
    bed.clock.advance(secs(10));
    bed.change(post.id, |change| (change.status, change.published_at) = (Status::Draft, None)).await.unwrap();
    bed.change(post.id, |change| change.title = Some(title("Nobody sees this"))).await.unwrap();
    bed.clock.advance(secs(10));
    bed.change(post.id, move |change| (change.status, change.published_at) = (Status::Published, Some(begin)))
        .await
        .unwrap();
    bed.clock.advance(secs(10));
    bed.delete(post.id).await.unwrap();
    let windows: Vec<(i64, Timestamp, Option<Timestamp>)> = bed.rows(&WINDOWS).await;
    let at = |seconds| begin + secs(seconds);
    assert_eq!(windows, [(1, at(0), Some(at(10))), (2, at(10), Some(at(30))), (3, at(0), Some(at(50)))]);
}
