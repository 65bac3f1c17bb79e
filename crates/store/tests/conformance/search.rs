//! What posts say, and finding them by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inkstone_core::page::Position;
use inkstone_core::posts::{
    Content, Markdown, Parts, Post, PostFilter, PostId, PostQuery, PostRepository, PostSort, Status,
};
use inkstone_core::search::{Search, of_text};
use inkstone_core::text::Slug;
use inkstone_store::db::{FaultHook, Step, Trouble};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::*;
use crate::sqlite;

conformance! {
    posts_are_found_by_what_they_say
    a_post_is_found_by_what_it_says_now
    drafts_are_found_among_drafts_alone
    what_is_deleted_is_not_found
    a_refused_change_leaves_the_words_as_they_were
    nothing_that_is_typed_breaks_a_search
}

/// As [`content`], with the text rendered as the program does.
fn rendered(text: &str) -> Content {
    inkstone_core::content::render(Markdown::try_from(text.to_owned()).unwrap())
}

fn filter(text: &str) -> PostFilter {
    PostFilter { search: Some(Search::try_from(text.to_owned()).unwrap()), ..PostFilter::default() }
}

async fn find_in(bed: &Bed, filter: PostFilter) -> Vec<PostId> {
    let count = PostRepository::count(&bed.store, &ctx(), &filter).await.unwrap();
    let query = PostQuery {
        filter,
        sort: PostSort::CreatedAt,
        descending: false,
        position: Position::Start,
        limit: 100,
        parts: Parts::NONE,
    };
    let items = PostRepository::list(&bed.store, &ctx(), &query).await.unwrap().items;
    assert_eq!(count, items.len() as u64, "{query:?}");
    items.iter().map(|post| post.id).collect()
}

async fn found(bed: &Bed, text: &str) -> Vec<PostId> {
    find_in(bed, filter(text)).await
}

async fn post(bed: &Bed, title_text: &str, text: &str) -> Post {
    let ada = match bed.find(inkstone_core::posts::PostKey::Id(PostId(1))).await {
        Some(inkstone_core::posts::Found::Here(post)) => post.authors[0].id,
        _ => bed.user("ada").await.id,
    };
    let mut new = bed.draft(ada);
    new.title = title(title_text);
    new.slug = Slug::from_text(title_text, "post");
    new.content = rendered(text);
    bed.post(new).await
}

async fn posts_are_found_by_what_they_say(bed: Bed) {
    let stone = post(&bed, "Ink on stone", "Words that *last*, re**writ**ten in [C++](https://example.org/elsewhere).")
        .await
        .id;
    let paper = post(&bed, "Crème brûlée", "Ink on paper, at 1.79.0 o'clock.\n\n`snake_case` <b>R&D</b>").await.id;
    let tokyo = post(&bed, "東京都の天気", "今日は晴れです。한국어를 배우다. ภาษาไทยง่าย हिन्दी مُحَمَّد").await.id;
    for (text, ids) in [
        ("ink", vec![stone, paper]),
        ("INK Stone", vec![stone]),
        ("ink on", vec![stone, paper]),
        ("\"ink on stone\"", vec![stone]),
        ("\"on ink\"", vec![]),
        ("stone paper", vec![]),
        ("stone words", vec![stone]),
        // A term does not reach from one field into the next.
        ("\"stone words\"", vec![]),
        ("rewritten", vec![stone]),
        ("rewrit", vec![]),
        ("rewrit*", vec![stone]),
        ("\"ink on sto\"*", vec![stone]),
        ("c++", vec![stone]),
        ("example elsewhere", vec![]),
        ("creme BRÛLÉE", vec![paper]),
        ("1.79.0", vec![paper]),
        ("1.79.1", vec![]),
        ("snake_case r&d o’clock", vec![paper]),
        ("東京", vec![tokyo]),
        ("京都", vec![tokyo]),
        ("東都", vec![]),
        ("晴れ 天気", vec![tokyo]),
        ("한국어", vec![tokyo]),
        ("ไทย", vec![tokyo]),
        ("हिन्दी", vec![tokyo]),
        ("محمد", vec![tokyo]),
        ("nothing", vec![]),
        ("!?", vec![]),
        ("\"\"", vec![]),
        ("*", vec![]),
    ] {
        assert_eq!(found(&bed, text).await, ids, "{text}");
    }
}

async fn a_post_is_found_by_what_it_says_now(bed: Bed) {
    let id = post(&bed, "First title", "First text").await.id;
    let other = post(&bed, "Other", "Beside it").await.id;
    bed.change(id, |change| change.title = Some(title("Second title"))).await.unwrap();
    assert_eq!(found(&bed, "title").await, [id]);
    assert_eq!(found(&bed, "second").await, [id]);
    assert_eq!(found(&bed, "\"first title\"").await, []);
    bed.change(id, |change| change.content = Some(rendered("Other words"))).await.unwrap();
    assert_eq!(found(&bed, "first").await, []);
    assert_eq!(found(&bed, "other").await, [id, other]);
    bed.change(id, |change| change.excerpt = Some(Some(excerpt("In short: basalt")))).await.unwrap();
    assert_eq!(found(&bed, "basalt words").await, [id]);
    bed.change(id, |change| change.excerpt = Some(None)).await.unwrap();
    assert_eq!(found(&bed, "basalt").await, []);
    // What leaves the words alone leaves them found.
    bed.change(id, |change| change.tags = Some(tag_names(&["new"]))).await.unwrap();
    bed.change(id, |change| change.slug = Some(slug("elsewhere"))).await.unwrap();
    for _ in 0..40 {
        bed.change(id, |change| change.title = Some(title("Odd"))).await.unwrap();
        bed.change(id, |change| change.title = Some(title("Even"))).await.unwrap();
    }
    assert_eq!(found(&bed, "even words").await, [id]);
    assert_eq!(found(&bed, "odd").await, []);
    assert_eq!(bed.store.db().integrity_check().await.unwrap(), [""; 0]);
}

async fn drafts_are_found_among_drafts_alone(bed: Bed) {
    let id = post(&bed, "Public", "Granite").await.id;
    let drafts = PostFilter { status: Some(Status::Draft), ..filter("granite") };
    assert_eq!(find_in(&bed, drafts.clone()).await, []);
    bed.change(id, |change| (change.status, change.published_at) = (Status::Draft, None)).await.unwrap();
    assert_eq!(found(&bed, "granite").await, []);
    assert_eq!(find_in(&bed, drafts.clone()).await, [id]);
    let (ada, bob) = (bed.get(id).await.authors[0].id, bed.user("bob").await.id);
    for (only_by, ids) in [(ada, vec![id]), (bob, vec![])] {
        assert_eq!(find_in(&bed, PostFilter { only_by: Some(only_by), ..drafts.clone() }).await, ids);
    }
    // Published, but not yet: it is in no list.
    let later = bed.now() + secs(60);
    bed.change(id, move |change| (change.status, change.published_at) = (Status::Published, Some(later)))
        .await
        .unwrap();
    assert_eq!(found(&bed, "granite").await, []);
    assert_eq!(find_in(&bed, drafts).await, []);
    bed.clock.advance(secs(60));
    assert_eq!(found(&bed, "granite").await, [id]);
}

async fn what_is_deleted_is_not_found(bed: Bed) {
    let id = post(&bed, "Gone", "Sandstone").await.id;
    let stays = post(&bed, "Stays", "Sandstone").await.id;
    bed.delete(id).await.unwrap();
    for status in [None, Some(Status::Draft)] {
        let expected = if status.is_none() { vec![stays] } else { vec![] };
        assert_eq!(find_in(&bed, PostFilter { status, ..filter("sandstone") }).await, expected);
    }
    assert_eq!(bed.store.db().integrity_check().await.unwrap(), [""; 0]);
}

async fn a_refused_change_leaves_the_words_as_they_were(bed: Bed) {
    let id = post(&bed, "Marble", "White").await.id;
    post(&bed, "Taken", "Black").await;
    let refused = bed.change(id, |change| {
        change.title = Some(title("Slate"));
        change.slug = Some(slug("taken"));
    });
    refused.await.unwrap_err();
    assert_eq!(found(&bed, "marble white").await, [id]);
    assert_eq!(found(&bed, "slate").await, []);
}

async fn nothing_that_is_typed_breaks_a_search(bed: Bed) {
    let id = post(&bed, "near and or not", "title body rowid posts search column a b c").await.id;
    for text in [
        "\"",
        "\"\"",
        "'",
        "*",
        "ab*",
        "*a",
        "^",
        "+",
        "-",
        "(",
        ")",
        "a)",
        "NEAR(a b)",
        "NEAR(a b, 5)",
        "NEAR (",
        "AND",
        "OR",
        "NOT",
        "a AND",
        "AND a",
        "a OR b",
        "a NOT b",
        "title:a",
        "title : a",
        "{title body} : a",
        "- title : a",
        "a + b",
        "^a",
        "\"a\" * b",
        "a\\",
        "a\\\"",
        "%",
        "_",
        ";",
        "--",
        "/*",
        "a;drop table posts",
        "' or 1=1 --",
        "\u{1}",
        "\u{7f}",
        "\u{202e}a",
        "🦀",
        "🦀🦀 a",
        "\u{10ffff}",
        "𝔸𝔹",
        "𐐀",
        "מבחן abc",
        "\u{1}a\u{2}b",
        "a\u{300}\u{301}\u{302}",
        "ａ＊",
        "“a”",
        "null",
        "0x00",
        "1e999",
        "-1",
    ] {
        found(&bed, text).await;
    }
    assert_eq!(found(&bed, "NEAR and OR not").await, [id]);
    assert_eq!(found(&bed, "𝔸").await, [id], "letters in another shape are letters");
    let many: Vec<String> = ('b'..).take(Search::MAX_TERMS).map(String::from).collect();
    assert_eq!(found(&bed, &many.join(" ")).await, []);
    assert_eq!(found(&bed, &"b-".repeat(Search::MAX_WORDS)).await, []);
    let long = "x".repeat(Search::MAX_CHARS);
    assert_eq!(found(&bed, &format!("{}*", &long[1..])).await, []);
}

/// The index goes with its transaction, also where its words were in the hands of SQLite already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_late_leaves_no_words() {
    let fails = Arc::new(AtomicBool::new(false));
    let asked = fails.clone();
    let hook: FaultHook = Arc::new(move |step| {
        let is_late = step == Step::Statement("outbox.insert");
        (is_late && asked.load(Ordering::Relaxed)).then_some(Trouble::Busy)
    });
    let bed = sqlite::make(tempfile::tempdir().unwrap(), Some(hook));
    let id = post(&bed, "Chalk", "White").await.id;
    let ada = bed.get(id).await.authors[0].id;
    fails.store(true, Ordering::Relaxed);
    let mut new = bed.draft(ada);
    new.content = rendered("Obsidian");
    bed.try_post(new).await.unwrap_err();
    bed.change(id, |change| change.title = Some(title("Obsidian"))).await.unwrap_err();
    bed.delete(id).await.unwrap_err();
    fails.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(found(&bed, "obsidian").await, []);
        assert_eq!(found(&bed, "chalk white").await, [id]);
        // And once more with the words of another write behind them.
        post(&bed, "Flint", "Grey").await;
    }
    assert_eq!(bed.store.db().integrity_check().await.unwrap(), [""; 0]);
}

/// What `inkstone doctor` says of a damaged index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_index_is_found_by_the_integrity_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blog.db");
    let bed = sqlite::make(directory, None);
    for number in 0..5 {
        post(&bed, &format!("Number {number}"), "Words").await;
    }
    assert_eq!(bed.store.db().integrity_check().await.unwrap(), [""; 0]);
    bed.delete(PostId(1)).await.unwrap();
    let connection = rusqlite::Connection::open(path).unwrap();
    let indexed: i64 = connection.query_row("select count(*) from posts_search_docsize", [], |row| row.get(0)).unwrap();
    assert_eq!(indexed, 4, "what is deleted leaves the index");
    connection.execute("update posts_search_data set block = zeroblob(40) where id > 100", []).unwrap();
    drop(connection);
    let faults = bed.store.db().integrity_check().await.unwrap();
    assert!(faults.iter().any(|fault| fault.contains("posts_search")), "{faults:?}");
}

/// What an index has to do: whether `words` have all terms.
pub(crate) fn finds(search: &Search, words: &str) -> bool {
    let words: Vec<&str> = words.split(' ').collect();
    let is_there = |term: &inkstone_core::search::Term| {
        let (last, first) = term.words().split_last().unwrap();
        words.windows(term.words().len()).any(|run| {
            let (at_last, at_first) = run.split_last().unwrap();
            at_first == first && if term.is_prefix() { at_last.starts_with(last) } else { at_last == last }
        })
    };
    !search.terms().is_empty() && search.terms().iter().all(is_there)
}

/// The index against a model, on texts and searches of few letters, so that much is found.
#[test]
fn what_is_found_is_what_a_look_at_every_text_finds() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let texts = prop::collection::vec("[abé東京ก ,\u{301}]{0,12}", 1..8);
    let searches = prop::collection::vec("[abé東京ก \"*,\u{301}]{1,6}|\\PC{1,20}|.{1,20}", 30);
    runner
        .run(&(texts, searches), |(texts, searches)| {
            runtime.block_on(async {
                let bed = sqlite::fresh();
                let mut posts = Vec::new();
                for text in &texts {
                    let mut new = bed.draft(match posts.first() {
                        None => bed.user("ada").await.id,
                        Some((_, author, _)) => *author,
                    });
                    new.title = title("zz");
                    new.content.html = text.clone();
                    let made = bed.post(new).await;
                    posts.push((made.id, made.authors[0].id, of_text(text)));
                }
                for text in &searches {
                    let Ok(search) = Search::try_from(text.clone()) else { continue };
                    let expected: Vec<PostId> =
                        posts.iter().filter(|(_, _, words)| finds(&search, words)).map(|(id, ..)| *id).collect();
                    prop_assert_eq!(found(&bed, text).await, expected, "{:?}", text);
                }
                Ok(())
            })
        })
        .unwrap();
}
