//! Queries: a small grammar, and nothing beside it.

use inkstone_core::users::UserId;
use inkstone_http::extract::QueryReader;
use inkstone_http::extract::query::Canonical;
use inkstone_http::problem::Result;
use proptest::prelude::*;

const FIELDS: [&str; 3] = ["id", "title", "slug"];

fn read(query: &str) -> Result<(Canonical, String)> {
    let mut reader = QueryReader::parse(Some(query))?;
    let limit = reader.number("limit", 1..=100, 20);
    let tags = reader.slugs("tag", 3);
    let author = reader.id::<UserId>("author");
    let after = reader.time("published_after");
    let status = reader.word("status", &["draft", "published"]);
    let fields = reader.words("fields", &FIELDS);
    let sort = reader.sort("sort", &["published_at", "title"], "-published_at");
    let cursor = reader.cursor("cursor");
    let search = reader.search("q");
    let canonical = reader.finish()?;
    let tags: Vec<&str> = tags.iter().map(inkstone_core::text::Slug::as_str).collect();
    let search = search.map_or_else(String::new, |search| format!(" [{search}]"));
    Ok((canonical, format!("{limit} {tags:?} {author:?} {after:?} {status:?} {fields:?} {sort:?} {cursor:?}{search}")))
}

fn faults(query: &str) -> Vec<(String, &'static str)> {
    let problem = read(query).unwrap_err();
    assert_eq!(problem.code(), inkstone_core::Code::BadQuery);
    problem.faults().iter().map(|fault| (fault.pointer.clone(), fault.code.as_str())).collect()
}

#[test]
fn what_is_asked_for_is_read() {
    let (canonical, read_as) =
        read("tag=rust&limit=7&tag=blog&fields=title,id&sort=title&author=4&published_after=2026-01-01T00:00:00%2B01:00&status=draft")
            .unwrap();
    let expected = r#"7 ["blog", "rust"] Some(UserId(4)) Some(2025-12-31T23:00:00Z) Some("draft") Some(["id", "title"]) ("title", false) None"#;
    assert_eq!(read_as, expected);
    let query = "author=4&fields=id,title&limit=7&published_after=2026-01-01T00:00:00%2B01:00&sort=title&status=draft&tag=blog&tag=rust";
    assert_eq!(canonical.as_query(), query);
    assert_eq!(read("").unwrap().1, r#"20 [] None None None None ("published_at", true) None"#);
}

#[test]
fn every_fault_comes_at_once() {
    let found = faults(
        "limit=101&limits=5&tag=A&author=0&published_after=now&status=x&fields=id,secret&sort=-id&cursor=a&cursor=b",
    );
    let expected = [
        ("limit", "out-of-range"),
        ("tag", "bad-format"),
        ("author", "out-of-range"),
        ("published_after", "bad-format"),
        ("status", "not-allowed"),
        ("fields", "not-allowed"),
        ("sort", "not-allowed"),
        ("cursor", "duplicate"),
        ("limits", "unknown-field"),
    ];
    assert_eq!(found, expected.map(|(name, code)| (name.to_owned(), code)));
}

#[test]
fn what_cannot_be_decoded_is_named_by_its_parameter_and_not_by_its_value() {
    for (query, name) in [("limit=5&tag=a%00b", "tag"), ("tag=%zz", "tag"), ("%74ag=%ff", "tag"), ("t%zz=a", "t%zz")] {
        let problem = read(query).unwrap_err();
        assert_eq!(problem.faults()[0].pointer, name, "{query}");
    }
}

#[test]
fn absurd_queries_are_refused() {
    for query in [
        "limit=0",
        "limit=-1",
        "limit=+5",
        "limit=5.0",
        "limit=",
        "limit",
        "limit=1e2",
        "limit=4294967297",
        "limit=99999999999999999999999",
        "limit=5&limit=5",
        "limit=%",
        "limit=%4",
        "limit=%zz",
        "status=%ff",
        "status=%00",
        "tag=a&tag=b&tag=c&tag=d",
        "fields=",
        "fields=id,,title",
        "sort=--title",
        "sort=-",
        "sort=",
        "%6cimits=5",
        "=5",
        "access_token=secret",
        "status=draft%00",
    ] {
        assert!(read(query).is_err(), "{query}");
    }
    assert!(read("%6cimit=5").is_ok());
    let many = "a=1&".repeat(65);
    assert!(read(&many).is_err());
    assert!(read("&&limit=5&").is_ok());
}

#[test]
fn the_same_search_in_other_words_is_the_same_query() {
    let canonical = |query: &str| read(query).unwrap().0.as_query();
    assert_eq!(canonical("q=Stone+%20INK"), "q=ink%20stone");
    assert_eq!(canonical("q=ink+stone+%21+ink"), "q=ink%20stone");
    assert_eq!(canonical("q=%22re+read%22+inks*"), canonical("q=inks*+re-read"));
    assert_eq!(canonical("q=re-read"), "q=%22re%20read%22");
    assert_eq!(canonical("q=br%C3%BBl%C3%A9e"), "q=brulee");
    assert_eq!(canonical("q=%21"), canonical("q=%22"));
    assert_ne!(read("q=ink").unwrap().0.binding("/posts"), read("q=stone").unwrap().0.binding("/posts"));
    assert_eq!(faults("q=a*"), [("q".to_owned(), "too-short")]);
    assert_eq!(faults("q="), [("q".to_owned(), "too-short")]);
    assert_eq!(faults(&format!("q={}", "a+".repeat(10_000))), [("q".to_owned(), "too-long")]);
    assert_eq!(faults("q=a&q=b"), [("q".to_owned(), "duplicate")]);
}

#[test]
fn cursors_are_bound_to_filter_and_order_but_not_to_the_page() {
    let binding = |query: &str| read(query).unwrap().0.binding("/posts");
    assert_eq!(binding("tag=a&limit=5&cursor=x&fields=id"), binding("limit=9&tag=a&cursor=y"));
    assert_ne!(binding("tag=a"), binding("tag=b"));
    assert_ne!(binding("sort=title"), binding("sort=-title"));
    assert_eq!(binding("sort=-published_at"), binding(""));
    let (canonical, _) = read("tag=a&limit=5&cursor=x").unwrap();
    assert_eq!(canonical.with(&[("cursor", Some("a b".into()))]), "cursor=a%20b&limit=5&tag=a");
    assert_eq!(canonical.with(&[("cursor", None)]), "limit=5&tag=a");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(query in ".{0,200}") {
        let _ = read(&query);
    }

    #[test]
    fn the_canonical_form_is_read_as_the_same_query(
        limit in 1_u32..=100, tags in prop::collection::vec("[a-z]{1,5}", 0..3), descending: bool, order in any::<u64>(),
        words in "[a-cA-C\" %-]{1,20}",
    ) {
        let q = words.replace('%', "%25").replace(' ', "+");
        let mut parts = vec![format!("q={q}"), format!("limit={limit}"), format!("sort={}title", if descending { "-" } else { "" })];
        parts.extend(tags.iter().map(|tag| format!("tag={tag}")));
        let turn = usize::try_from(order % parts.len() as u64).unwrap();
        parts.rotate_left(turn);
        let (canonical, read_as) = read(&parts.join("&")).unwrap();
        let (again, again_as) = read(&canonical.as_query()).unwrap();
        prop_assert_eq!(canonical, again);
        prop_assert_eq!(read_as, again_as);
    }
}
