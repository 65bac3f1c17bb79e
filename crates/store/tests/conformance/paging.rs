//! Pages while others write: a post that is there all the time is on exactly one page.

use std::collections::BTreeMap;

use inkstone_core::page::Position;
use inkstone_core::posts::{Parts, PostFilter, PostId, PostQuery, PostRepository, PostSort};
use inkstone_core::tags::TagRepository;
use inkstone_core::tags::repository::TagQuery;
use inkstone_core::users::repository::UserQuery;
use inkstone_core::users::{UserId, UserRepository};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::*;
use crate::sqlite;

/// What somebody else does between two pages.
#[derive(Debug, Clone)]
enum Meanwhile {
    /// Publishes a post dated so many seconds ago.
    Insert(i64, String),
    /// Deletes the newcomer with this index, if there is one.
    Delete(usize),
}

#[derive(Debug, Clone)]
struct Case {
    /// How long ago each post was published, in seconds; and its title.
    posts: Vec<(i64, String)>,
    meanwhile: Vec<Vec<Meanwhile>>,
    sort: PostSort,
    descending: bool,
    tagged: bool,
    by_author: bool,
    limit: u32,
}

fn post() -> impl Strategy<Value = (i64, String)> {
    (0..8_i64, "[abé]{1,2}")
}

fn case() -> impl Strategy<Value = Case> {
    let meanwhile = prop_oneof![
        3 => post().prop_map(|(ago, title)| Meanwhile::Insert(ago, title)),
        1 => (0..8_usize).prop_map(Meanwhile::Delete),
    ];
    (
        prop::collection::vec(post(), 1..14),
        prop::collection::vec(prop::collection::vec(meanwhile, 0..4), 0..6),
        prop::sample::select(PostSort::ALL.to_vec()),
        any::<(bool, bool, bool)>(),
        1..5_u32,
    )
        .prop_map(|(posts, meanwhile, sort, (descending, tagged, by_author), limit)| Case {
            posts,
            meanwhile,
            sort,
            descending,
            tagged,
            by_author,
            limit,
        })
}

async fn publish(bed: &Bed, author: UserId, ago: i64, text: &str) -> PostId {
    let mut new = bed.draft(author);
    new.title = title(text);
    new.tags = tag_names(&["rust"]);
    new.published_at = Some(bed.now() - secs(ago));
    new.created_at = bed.now() - secs(ago + 10);
    new.updated_at = bed.now() - secs(ago);
    bed.post(new).await.id
}

/// Walks all pages forwards, with writes in between, then backwards; how often each old post came.
async fn walk(case: Case) -> Result<(), TestCaseError> {
    let bed = sqlite::fresh();
    let author = bed.user("ada").await.id;
    let mut old = Vec::new();
    for (ago, text) in &case.posts {
        old.push(publish(&bed, author, *ago, text).await);
    }
    let filter = PostFilter {
        author: case.by_author.then_some(author),
        tags: if case.tagged { vec![slug("rust")] } else { Vec::new() },
        ..PostFilter::default()
    };
    let mut query = PostQuery {
        filter,
        sort: case.sort,
        descending: case.descending,
        position: Position::Start,
        limit: case.limit,
        parts: Parts::NONE,
    };
    let mut newcomers = Vec::new();
    let mut meanwhile = case.meanwhile.iter();
    let mut seen = Vec::new();
    loop {
        let page = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap();
        prop_assert!(page.items.len() <= case.limit as usize);
        seen.extend(page.items);
        for action in meanwhile.next().into_iter().flatten() {
            match action {
                Meanwhile::Insert(ago, text) => newcomers.push(publish(&bed, author, *ago, text).await),
                Meanwhile::Delete(index) if *index < newcomers.len() => {
                    bed.delete(newcomers.swap_remove(*index)).await.unwrap();
                }
                Meanwhile::Delete(_) => {}
            }
        }
        let Some(next) = page.next else { break };
        query.position = Position::After(next);
    }
    prop_assert!(
        seen.is_sorted_by(|a, b| crate::lists::compare(a, b, case.sort, case.descending).is_lt()),
        "out of order, or twice"
    );
    let count = |id: &PostId| seen.iter().filter(|post| post.id == *id).count();
    let times: BTreeMap<PostId, usize> = old.iter().map(|id| (*id, count(id))).collect();
    prop_assert!(times.values().all(|times| *times == 1), "skipped or repeated: {times:?}");

    // Back from the end, each page ends where the next one began.
    let mut backwards = Vec::new();
    let Some(last) = seen.last() else { return Ok(()) };
    query.position = Position::Before(case.sort.key(last));
    loop {
        let page = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap();
        backwards.splice(0..0, page.items);
        let Some(prev) = page.prev else { break };
        query.position = Position::Before(prev);
    }
    let mut old_but_last = old.clone();
    old_but_last.retain(|id| *id != last.id);
    for id in old_but_last {
        let times = backwards.iter().filter(|post| post.id == id).count();
        prop_assert_eq!(times, 1, "{:?} backwards", id);
    }
    Ok(())
}

#[test]
fn pages_neither_skip_nor_repeat_what_was_there_all_the_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    runner.run(&case(), |case| runtime.block_on(walk(case))).unwrap();
}

conformance! {
    people_and_tags_come_in_pages_both_ways
}

async fn people_and_tags_come_in_pages_both_ways(bed: Bed) {
    let author = bed.user("ada").await.id;
    let handles = ["bob", "cyd", "dan", "eve", "fay"];
    for handle in handles {
        bed.user(handle).await;
    }
    let mut new = bed.draft(author);
    new.tags = tag_names(&["d", "a", "e", "c", "b"]);
    bed.post(new).await;

    for public_only in [false, true] {
        let list = |position: Position| {
            let store = bed.store.clone();
            async move {
                UserRepository::list(&store, &ctx(), &UserQuery { public_only, position, limit: 2 }).await.unwrap()
            }
        };
        let first = list(Position::Start).await;
        assert_eq!((first.items.len(), first.prev.as_ref()), (2, None));
        let second = list(Position::After(first.next.unwrap())).await;
        assert_eq!(second.items[0].handle.as_str(), "cyd");
        let third = list(Position::After(second.next.clone().unwrap())).await;
        assert_eq!(third.next, None);
        assert_eq!(list(Position::Before(third.prev.unwrap())).await.items, second.items);
        assert_eq!(list(Position::Offset(2)).await.items, second.items);
        let back = list(Position::Before(second.prev.unwrap())).await;
        assert_eq!((back.items, back.prev), (first.items, None));
    }

    let list = |position: Position| {
        let store = bed.store.clone();
        async move {
            let page = TagRepository::list(&store, &ctx(), &TagQuery { position, limit: 2 }).await.unwrap();
            let slugs: Vec<String> = page.items.iter().map(|tag| tag.slug.as_str().to_owned()).collect();
            (slugs, page.prev, page.next)
        }
    };
    let (slugs, prev, next) = list(Position::Start).await;
    assert_eq!((slugs.as_slice(), prev), (&["a".to_owned(), "b".into()][..], None));
    let (slugs, prev, next) = list(Position::After(next.unwrap())).await;
    assert_eq!(slugs, ["c", "d"]);
    assert_eq!(list(Position::Before(prev.unwrap())).await.0, ["a", "b"]);
    let (slugs, _, end) = list(Position::After(next.unwrap())).await;
    assert_eq!((slugs.as_slice(), end), (&["e".to_owned()][..], None));
    assert_eq!(list(Position::Offset(3)).await.0, ["d", "e"]);
}
