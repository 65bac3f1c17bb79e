//! Lists of posts against a model: every filter, order, direction and page gives what a plain
//! search through all posts gives.

use inkstone_core::page::{Key, Position};
use inkstone_core::posts::{Parts, Post, PostFilter, PostQuery, PostRepository, PostSort, Status};
use inkstone_core::search::{Search, of_text};
use inkstone_core::users::UserId;
use inkstone_core::{Code, posts};
use jiff::Timestamp;

use crate::bed::*;

conformance! {
    every_list_is_what_a_search_through_everything_gives
    an_unknown_tag_or_author_has_no_posts
    a_cursor_of_another_order_is_refused
    bodies_come_with_lists_only_when_asked_for
    a_title_of_the_greatest_characters_is_listed
}

/// Some posts that differ in everything that lists look at, with ties in every order.
pub(crate) async fn populate(bed: &Bed) -> (Vec<UserId>, Vec<Post>) {
    let mut people = Vec::new();
    for handle in ["ada", "bob", "cyd"] {
        people.push(bed.user(handle).await.id);
    }
    let mut posts = Vec::new();
    for number in 0..36_i64 {
        let mut new = bed.draft(people[usize::try_from(number % 2).unwrap()]);
        if number % 5 == 0 {
            new.authors.push(people[2]);
        }
        let mut tags = vec!["all"];
        if number % 2 == 0 {
            tags.push("even");
        }
        if number % 3 == 0 {
            tags.insert(0, "third");
        }
        new.tags = tag_names(&tags);
        new.title = title(["Beta", "alpha", "Émile", "Zeta"][usize::try_from(number % 4).unwrap()]);
        new.created_at = bed.now() - secs(1000 - number % 7);
        new.updated_at = bed.now() - secs(500 - number % 6);
        new.published_at = Some(bed.now() - secs(number % 9 * 10));
        if number % 6 == 5 {
            (new.status, new.published_at) = (Status::Draft, None);
        }
        posts.push(Post { markdown: None, html: None, ..bed.post(new).await });
    }
    (people, posts)
}

fn matches(filter: &PostFilter, post: &Post) -> bool {
    post.status == filter.status.unwrap_or(Status::Published)
        && filter.only_by.is_none_or(|user| post.is_by(user))
        && filter.author.is_none_or(|user| post.is_by(user))
        && filter.tags.iter().all(|slug| post.tags.iter().any(|tag| tag.slug == slug.as_str()))
        && filter.published_after.is_none_or(|after| post.published_at.is_some_and(|at| at >= after))
        && filter.published_before.is_none_or(|before| post.published_at.is_some_and(|at| at < before))
        && filter.search.as_ref().is_none_or(|search| crate::search::finds(search, &of_text(&said(post))))
}

/// What a post of [`populate`] says.
fn said(post: &Post) -> String {
    format!("{} Some text here", post.title.as_str())
}

/// Orders two posts as a list does.
pub(crate) fn compare(a: &Post, b: &Post, sort: PostSort, descending: bool) -> std::cmp::Ordering {
    let by_key = match (sort.key(a), sort.key(b)) {
        (Key::Time(a, a_id), Key::Time(b, b_id)) => (a, a_id).cmp(&(b, b_id)),
        (Key::Text(a, a_id), Key::Text(b, b_id)) => (a, a_id).cmp(&(b, b_id)),
        keys => panic!("{keys:?}"),
    };
    if descending { by_key.reverse() } else { by_key }
}

fn filters(people: &[UserId], now: Timestamp) -> Vec<PostFilter> {
    let tags =
        [vec![], vec![slug("even")], vec![slug("third"), slug("all")], vec![slug("third"), slug("even"), slug("even")]];
    let authors = [None, Some(people[0]), Some(people[2])];
    let windows =
        [(None, None), (Some(now - secs(50)), None), (None, Some(now - secs(20))), (Some(now - secs(50)), Some(now))];
    let mut filters = Vec::new();
    for tags in &tags {
        for author in authors {
            for (published_after, published_before) in windows {
                let filter = PostFilter {
                    author,
                    tags: tags.clone(),
                    published_after,
                    published_before,
                    ..PostFilter::default()
                };
                filters.push(filter);
            }
            for only_by in [None, Some(people[1]), Some(people[2])] {
                let status = Some(Status::Draft);
                filters.push(PostFilter { status, only_by, author, tags: tags.clone(), ..PostFilter::default() });
            }
        }
    }
    let searched = ["text", "emile", "e* some", "nowhere"].map(|text| Search::try_from(text.to_owned()).ok());
    let narrow = filters.iter().step_by(5).cloned().collect::<Vec<_>>();
    for search in searched {
        filters.extend(narrow.iter().map(|filter| PostFilter { search: search.clone(), ..filter.clone() }));
    }
    filters.push(PostFilter { only_by: Some(people[0]), ..PostFilter::default() });
    filters.push(PostFilter { only_by: Some(people[0]), author: Some(people[2]), ..PostFilter::default() });
    filters
}

async fn every_list_is_what_a_search_through_everything_gives(bed: Bed) {
    let (people, posts) = populate(&bed).await;
    for filter in filters(&people, bed.now()) {
        let expected: Vec<&Post> = posts.iter().filter(|post| matches(&filter, post)).collect();
        let count = PostRepository::count(&bed.store, &ctx(), &filter).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
        for sort in PostSort::ALL {
            for descending in [false, true] {
                let mut expected = expected.clone();
                expected.sort_by(|a, b| compare(a, b, sort, descending));
                let query = PostQuery {
                    filter: filter.clone(),
                    sort,
                    descending,
                    position: Position::Start,
                    limit: 4,
                    parts: Parts::NONE,
                };
                check_pages(&bed, &query, &expected).await;
            }
        }
    }
}

/// Walks forwards to the end, backwards to the start, and by offsets.
async fn check_pages(bed: &Bed, query: &PostQuery, expected: &[&Post]) {
    let fetch = |position: Position| {
        let (store, query) = (bed.store.clone(), PostQuery { position, ..query.clone() });
        async move { PostRepository::list(&store, &ctx(), &query).await.unwrap() }
    };
    let mut forwards = Vec::new();
    let mut page = fetch(Position::Start).await;
    assert_eq!(page.prev, None);
    loop {
        forwards.extend(page.items);
        let Some(next) = page.next else { break };
        page = fetch(Position::After(next)).await;
        assert!(!page.items.is_empty(), "a page that was announced is not empty");
    }
    assert_eq!(forwards.iter().collect::<Vec<_>>(), expected, "{query:?}");

    let Some(last) = expected.last() else { return };
    let mut backwards = vec![(*last).clone()];
    let mut before = Some(query.sort.key(last));
    while let Some(key) = before {
        let page = fetch(Position::Before(key)).await;
        backwards.splice(0..0, page.items);
        before = page.prev;
    }
    assert_eq!(backwards.iter().collect::<Vec<_>>(), expected, "backwards: {query:?}");

    let page = fetch(Position::Offset(3)).await;
    let rest: Vec<&Post> = expected.iter().skip(3).take(4).copied().collect();
    assert_eq!(page.items.iter().collect::<Vec<_>>(), rest, "offset: {query:?}");
}

async fn an_unknown_tag_or_author_has_no_posts(bed: Bed) {
    populate(&bed).await;
    let filters = [
        PostFilter { tags: vec![slug("unheard-of")], ..PostFilter::default() },
        PostFilter { tags: vec![slug("all"), slug("unheard-of")], ..PostFilter::default() },
        PostFilter { author: Some(UserId(999)), ..PostFilter::default() },
    ];
    for filter in filters {
        assert_eq!(PostRepository::count(&bed.store, &ctx(), &filter).await.unwrap(), 0, "{filter:?}");
        let query = query(filter, PostSort::PublishedAt, Position::Start);
        assert!(PostRepository::list(&bed.store, &ctx(), &query).await.unwrap().items.is_empty());
    }
}

async fn a_cursor_of_another_order_is_refused(bed: Bed) {
    for (sort, key) in [
        (PostSort::Title, Key::Time(1, 1)),
        (PostSort::PublishedAt, Key::Text("a".into(), 1)),
        (PostSort::CreatedAt, Key::Id(1)),
    ] {
        for position in [Position::After(key.clone()), Position::Before(key)] {
            let query = query(PostFilter::default(), sort, position);
            let error = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap_err();
            assert_eq!(error.code(), Code::BadCursor);
        }
    }
}

async fn bodies_come_with_lists_only_when_asked_for(bed: Bed) {
    let ada = bed.user("ada").await;
    for text in ["first text", "second text"] {
        let mut new = bed.draft(ada.id);
        new.content = content(text);
        bed.post(new).await;
    }
    let base = query(PostFilter::default(), PostSort::CreatedAt, Position::Start);
    for (markdown, html) in [(false, false), (true, false), (false, true), (true, true)] {
        let query = PostQuery { parts: Parts { markdown, html }, ..base.clone() };
        let items = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap().items;
        let bodies: Vec<_> = items.into_iter().map(|post| (post.markdown, post.html)).collect();
        let body = |text: &str| (markdown.then(|| text.to_owned()), html.then(|| format!("<p>{text}</p>")));
        assert_eq!(bodies, [body("first text"), body("second text")]);
    }
}

async fn a_title_of_the_greatest_characters_is_listed(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.title = title(&"\u{10ffff}".repeat(posts::Title::MAX_CHARS));
    let post = bed.post(new).await;
    let query = query(PostFilter::default(), PostSort::Title, Position::Start);
    let items = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap().items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].id, post.id);
}

fn query(filter: PostFilter, sort: PostSort, position: Position) -> PostQuery {
    PostQuery { filter, sort, descending: false, position, limit: 10, parts: Parts::NONE }
}
