//! What makes sense in a post, and in which order a change is questioned.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};

use super::rules::{check_draft, check_filter, check_patch, check_query};
use super::service::Attempt;
use super::*;
use crate::access::{Caller, Credential, Role, Scopes, SignedIn};
use crate::page::{Key, MAX_LIMIT, MAX_OFFSET, Position};
use crate::{Code, Error, Fault, Precondition};

const ME: UserId = UserId(1);

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn draft() -> PostDraft {
    PostDraft {
        title: Title::try_from("A title".to_owned()).unwrap(),
        markdown: Markdown::try_from("Text".to_owned()).unwrap(),
        slug: None,
        excerpt: None,
        status: Status::Published,
        tags: Vec::new(),
        authors: Vec::new(),
        published_at: None,
    }
}

fn post(status: Status) -> Post {
    Post {
        id: PostId(7),
        slug: Slug::from_text("a title", "post"),
        title: draft().title,
        excerpt: String::new(),
        excerpt_given: false,
        status,
        authors: vec![UserRef { id: ME, handle: String::new(), display_name: String::new() }],
        tags: Vec::new(),
        revision: 1,
        version: 3,
        words: 1,
        published_at: (status == Status::Published).then_some(Timestamp::UNIX_EPOCH),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        markdown: None,
        html: None,
    }
}

fn tag(name: &str) -> TagName {
    TagName::try_from(name.to_owned()).unwrap()
}

fn faults(error: Error) -> Vec<(String, FaultCode)> {
    match error {
        Error::Invalid(faults) => faults.into_iter().map(|Fault { pointer, code, .. }| (pointer, code)).collect(),
        error => panic!("{error}"),
    }
}

#[test]
fn every_fault_is_found_at_once() {
    let bad = PostDraft {
        tags: ["Rust", "C++", "rust", "RUST!"].map(tag).to_vec(),
        published_at: Some(now() + 1.microseconds()),
        ..draft()
    };
    let found = faults(check_draft(&bad, &[ME, UserId(2), ME], now()).unwrap_err());
    let expected = [
        ("/tags/2", FaultCode::Duplicate),
        ("/tags/3", FaultCode::Duplicate),
        ("/authors/2", FaultCode::Duplicate),
        ("/published_at", FaultCode::OutOfRange),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn lists_have_limits() {
    let many = |n: usize| (0..n).map(|i| tag(&format!("tag {i}"))).collect();
    assert!(check_draft(&PostDraft { tags: many(MAX_TAGS), ..draft() }, &[ME], now()).is_ok());
    let found = faults(check_draft(&PostDraft { tags: many(MAX_TAGS + 1), ..draft() }, &[], now()).unwrap_err());
    assert_eq!(found, [("/tags".to_owned(), FaultCode::TooMany), ("/authors".to_owned(), FaultCode::Required)]);
    let authors: Vec<UserId> = (0..=16).map(UserId).collect();
    assert!(check_draft(&draft(), &authors[..MAX_AUTHORS], now()).is_ok());
    let found = faults(check_draft(&draft(), &authors, now()).unwrap_err());
    assert_eq!(found, [("/authors".to_owned(), FaultCode::TooMany)]);
}

#[test]
fn a_post_has_a_time_of_publication_exactly_if_it_is_published() {
    let past = now() - 1.hour();
    let epoch = Some(Timestamp::UNIX_EPOCH);
    for (before, status, wanted, expected) in [
        (Status::Draft, None, None, Ok(None)),
        (Status::Draft, None, Some(past), Err(FaultCode::NotAllowed)),
        (Status::Draft, Some(Status::Published), None, Ok(Some(now()))),
        (Status::Draft, Some(Status::Published), Some(past), Ok(Some(past))),
        (Status::Draft, Some(Status::Published), Some(now()), Ok(Some(now()))),
        (Status::Draft, Some(Status::Published), Some(now() + 1.second()), Err(FaultCode::OutOfRange)),
        (Status::Published, None, None, Ok(epoch)),
        (Status::Published, Some(Status::Published), None, Ok(epoch)),
        (Status::Published, None, Some(past), Ok(Some(past))),
        (Status::Published, Some(Status::Draft), None, Ok(None)),
        (Status::Published, Some(Status::Draft), Some(past), Err(FaultCode::NotAllowed)),
    ] {
        let patch = PostPatch { status, published_at: wanted, ..PostPatch::default() };
        let (publication, faults) = check_patch(&patch, &post(before), now());
        assert_eq!(publication.status, status.unwrap_or(before));
        match expected {
            Ok(at) => assert_eq!((publication.published_at, faults), (at, vec![]), "{before:?} {status:?} {wanted:?}"),
            Err(code) => assert_eq!((faults[0].pointer.as_str(), faults[0].code), ("/published_at", code)),
        }
    }
}

#[test]
fn a_list_that_makes_no_sense_is_refused() {
    let query = |status, sort, position, limit| PostQuery {
        filter: PostFilter { status: Some(status), ..PostFilter::default() },
        sort,
        descending: true,
        position,
        limit,
        parts: Parts::NONE,
    };
    let time = Key::Time(0, 1);
    for (status, sort, position, limit, expected) in [
        (Status::Published, PostSort::PublishedAt, Position::Start, 1, None),
        (Status::Published, PostSort::Title, Position::Start, MAX_LIMIT, None),
        (Status::Published, PostSort::PublishedAt, Position::Start, 0, Some(Code::BadQuery)),
        (Status::Published, PostSort::PublishedAt, Position::Start, MAX_LIMIT + 1, Some(Code::BadQuery)),
        (Status::Published, PostSort::PublishedAt, Position::Offset(MAX_OFFSET), 1, None),
        (Status::Published, PostSort::PublishedAt, Position::Offset(MAX_OFFSET + 1), 1, Some(Code::BadQuery)),
        (Status::Draft, PostSort::PublishedAt, Position::Start, 1, Some(Code::BadQuery)),
        (Status::Draft, PostSort::UpdatedAt, Position::Start, 1, None),
        (Status::Published, PostSort::PublishedAt, Position::After(time.clone()), 1, None),
        (Status::Published, PostSort::Title, Position::After(time.clone()), 1, Some(Code::BadCursor)),
        (Status::Published, PostSort::Title, Position::Before(Key::Text("a".into(), 1)), 1, None),
        (Status::Published, PostSort::CreatedAt, Position::Before(Key::Id(1)), 1, Some(Code::BadCursor)),
    ] {
        let query = query(status, sort, position, limit);
        assert_eq!(check_query(&query).err().map(|error| error.code()), expected, "{query:?}");
    }
    let dated = PostFilter { status: Some(Status::Draft), published_after: Some(now()), ..PostFilter::default() };
    assert_eq!(check_filter(&dated).unwrap_err().code(), Code::BadQuery);
    let tagged = PostFilter { tags: vec![Slug::from_text("a", "tag"); MAX_TAGS + 1], ..PostFilter::default() };
    assert_eq!(check_filter(&tagged).unwrap_err().code(), Code::BadQuery);
}

#[test]
fn a_change_is_questioned_in_this_order() {
    let caller =
        |user, role| Caller::User(SignedIn { user, role, scopes: Scopes::all(), credential: Credential::Session(1) });
    let stale = || Precondition::matches(|post: &Post| post.version == 2);
    let nonsense = PostPatch { tags: Some(vec![tag("a"), tag("a")]), ..PostPatch::default() };
    let code = |caller: Caller, precondition: Precondition<Post>, patch: &PostPatch, status| {
        let attempt = Attempt { caller, precondition, now: now(), patch: patch.clone() };
        attempt.decide(&post(status), None).err().map(|error| error.code())
    };
    let (other, me) = (caller(UserId(2), Role::Author), caller(ME, Role::Author));
    let check =
        |caller: &Caller, precondition, patch: &PostPatch, status| code(caller.clone(), precondition, patch, status);
    // Who may not know, and who may not do, learns nothing about versions and faults.
    assert_eq!(check(&Caller::Anonymous, stale(), &nonsense, Status::Draft), Some(Code::Unauthenticated));
    assert_eq!(check(&other, stale(), &nonsense, Status::Draft), Some(Code::NotFound));
    assert_eq!(check(&other, stale(), &nonsense, Status::Published), Some(Code::Forbidden));
    // Then whether it is meant, and last whether it makes sense.
    assert_eq!(check(&me, stale(), &nonsense, Status::Draft), Some(Code::PreconditionFailed));
    assert_eq!(check(&me, Precondition::Required, &nonsense, Status::Draft), Some(Code::PreconditionRequired));
    assert_eq!(check(&me, Precondition::Unconditional, &nonsense, Status::Draft), Some(Code::Invalid));
    let current = || Precondition::matches(|post: &Post| post.version == 3);
    assert_eq!(check(&me, current(), &nonsense, Status::Draft), Some(Code::Invalid));
    assert_eq!(check(&me, current(), &PostPatch::default(), Status::Draft), None);
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let caller = Caller::Operator;
    let attempt =
        Attempt { caller, precondition: Precondition::Unconditional, now: now(), patch: PostPatch::default() };
    let permit = attempt.decide(&post(Status::Published), None).unwrap();
    let expected = PostChange {
        title: None,
        content: None,
        slug: None,
        excerpt: None,
        status: Status::Published,
        published_at: Some(Timestamp::UNIX_EPOCH),
        tags: None,
        may_create_tags: true,
        authors: None,
        updated_at: now(),
        redirects: None,
        import: None,
    };
    assert_eq!(permit.change(), &expected);
    let decide: repository::Decide<PostChange> = Arc::new(move |post| attempt.decide(post, None));
    assert!(decide(&post(Status::Draft)).is_ok());
}
