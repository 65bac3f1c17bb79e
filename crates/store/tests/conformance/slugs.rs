//! Addresses of posts: unique, numbered, and with a history.

use std::collections::BTreeSet;

use inkstone_core::FaultCode;
use inkstone_core::events::Entity;
use inkstone_core::posts::{Found, NewPost, PostChange, Status};
use inkstone_core::redirects::RedirectRepository;
use inkstone_store::db::Statement;

use crate::bed::*;

conformance! {
    a_wished_slug_is_numbered_where_it_is_taken
    an_exact_slug_is_refused_where_it_is_taken
    concurrent_posts_of_one_title_get_different_slugs
    an_old_slug_leads_to_its_post
    a_slug_can_be_taken_back
    a_new_post_takes_an_old_slug_over
    whoever_loses_an_old_address_is_named
    an_old_path_is_free_only_after_its_post_was_named
    a_draft_takes_no_address_that_was_public
    a_slug_at_its_longest_can_be_numbered
}

async fn a_wished_slug_is_numbered_where_it_is_taken(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut slugs = BTreeSet::new();
    for _ in 0..40 {
        slugs.insert(bed.post(bed.draft(ada.id)).await.slug.as_str().to_owned());
    }
    let expected: BTreeSet<String> =
        std::iter::once("a-title".to_owned()).chain((2..=40).map(|number| format!("a-title-{number}"))).collect();
    assert_eq!(slugs, expected, "none is left out as long as none was freed");

    let freed = bed.find_slug("a-title-17").await.unwrap();
    let Found::Here(freed) = freed else { panic!("{freed:?}") };
    bed.change(freed.id, |change| change.slug = Some(slug("gone-elsewhere"))).await.unwrap();
    for _ in 0..3 {
        let next = bed.post(bed.draft(ada.id)).await;
        assert!(slugs.insert(next.slug.as_str().to_owned()) || next.slug.as_str() == "a-title-17", "{}", next.slug);
    }
}

async fn an_exact_slug_is_refused_where_it_is_taken(bed: Bed) {
    let ada = bed.user("ada").await;
    bed.post(bed.draft(ada.id)).await;
    let mut new = bed.draft(ada.id);
    new.slug_exact = true;
    assert_eq!(faults(&bed.try_post(new.clone()).await.unwrap_err()), [("/slug".to_owned(), FaultCode::Taken)]);
    new.slug = slug("b-title");
    assert_eq!(bed.post(new).await.slug.as_str(), "b-title");
}

async fn concurrent_posts_of_one_title_get_different_slugs(bed: Bed) {
    let ada = bed.user("ada").await;
    let writes = (0..32).map(|_| {
        let (store, new) = (bed.store.clone(), bed.draft(ada.id));
        tokio::spawn(async move {
            let permit = inkstone_core::posts::policy::create(&inkstone_core::access::Caller::Operator, new).unwrap();
            inkstone_core::posts::PostRepository::create(&store, &ctx(), permit, None).await.map(done).unwrap()
        })
    });
    let writes: Vec<_> = writes.collect();
    let mut slugs = BTreeSet::new();
    for write in writes {
        slugs.insert(write.await.unwrap().slug.as_str().to_owned());
    }
    assert_eq!(slugs.len(), 32);
}

async fn an_old_slug_leads_to_its_post(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    bed.change(post.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    let last = bed.change(post.id, |change| change.slug = Some(slug("third"))).await.unwrap();
    assert_eq!(bed.find_slug("third").await, Some(Found::Here(Box::new(last.clone()))));
    assert_eq!(bed.find_slug("second").await, Some(Found::Moved(Box::new(last.clone()))));
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Moved(Box::new(last))));
}

async fn a_slug_can_be_taken_back(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    bed.change(post.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    let back = bed.change(post.id, |change| change.slug = Some(slug("a-title"))).await.unwrap();
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Here(Box::new(back.clone()))));
    assert_eq!(bed.find_slug("second").await, Some(Found::Moved(Box::new(back))));
}

async fn a_new_post_takes_an_old_slug_over(bed: Bed) {
    static BOTH: Statement =
        Statement { name: "test.both", sql: "select p.slug from posts p join slug_history h on h.slug = p.slug" };
    let ada = bed.user("ada").await;
    let first = bed.post(bed.draft(ada.id)).await;
    bed.change(first.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    let mut new = bed.draft(ada.id);
    new.slug_exact = true;
    let heir = bed.post(new).await;
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Here(Box::new(heir.clone()))));
    assert_eq!(bed.rows::<String>(&BOTH).await, [""; 0], "an address is either in use or history");

    // When it moves on, the address is its own history, not the first one's.
    let heir = bed.change(heir.id, |change| change.slug = Some(slug("third"))).await.unwrap();
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Moved(Box::new(heir))));

    // By a change, too.
    let first = bed.change(first.id, |change| change.slug = Some(slug("a-title"))).await.unwrap();
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Here(Box::new(first))));
    assert_eq!(bed.rows::<String>(&BOTH).await, [""; 0]);
}

async fn whoever_loses_an_old_address_is_named(bed: Bed) {
    let named = async |seq: i64| -> Vec<Entity> {
        bed.events_after(seq).await.into_iter().flat_map(|event| event.entities).collect()
    };
    let ada = bed.user("ada").await;
    let first = bed.post(bed.draft(ada.id)).await;
    let first = bed.change(first.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    let seq = bed.latest().await;
    let heir = bed.post(bed.draft(ada.id)).await;
    assert_eq!(heir.slug.as_str(), "a-title");
    assert!(named(seq).await.contains(&Entity::Post(first.id)), "by a new post");

    bed.change(first.id, |change| change.slug = Some(slug("third"))).await.unwrap();
    let seq = bed.latest().await;
    bed.change(heir.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    assert!(named(seq).await.contains(&Entity::Post(first.id)), "by a change");
    // Its own old address costs nobody anything.
    let seq = bed.latest().await;
    bed.change(heir.id, |change| change.slug = Some(slug("a-title"))).await.unwrap();
    assert!(!named(seq).await.contains(&Entity::Post(first.id)));

    // Also by a draft, which may have what nobody saw a post at.
    let hidden = |slug_text: &str| {
        let mut hidden = bed.draft(ada.id);
        (hidden.slug, hidden.status, hidden.published_at) = (slug(slug_text), Status::Draft, None);
        hidden
    };
    let draft = bed.post(hidden("hidden")).await;
    bed.change(draft.id, |change| change.slug = Some(slug("hidden-too"))).await.unwrap();
    let seq = bed.latest().await;
    bed.post(hidden("hidden")).await;
    assert_eq!(named(seq).await, [Entity::Post(draft.id)]);
}

async fn an_old_path_is_free_only_after_its_post_was_named(bed: Bed) {
    let ada = bed.user("ada").await;
    let with_path = || NewPost { redirects: vec!["2020/old".into()], ..bed.draft(ada.id) };
    let leads_to = async || RedirectRepository::find(&bed.store, &ctx(), "2020/old").await.unwrap();
    let first = bed.post(with_path()).await;
    let second = bed.post(with_path()).await;
    assert_eq!(leads_to().await, Some(first.id), "it belongs to whoever had it first");
    let seq = bed.latest().await;
    bed.change(first.id, |change| change.redirects = Some(Vec::new())).await.unwrap();
    assert!(bed.events_after(seq).await[0].entities.contains(&Entity::Post(first.id)));
    assert_eq!(leads_to().await, None);
    bed.change(second.id, |change| change.redirects = Some(vec!["2020/old".into()])).await.unwrap();
    assert_eq!(leads_to().await, Some(second.id));
}

async fn a_draft_takes_no_address_that_was_public(bed: Bed) {
    let ada = bed.user("ada").await;
    let first = bed.post(bed.draft(ada.id)).await;
    let first = bed.change(first.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    let mut hidden = bed.draft(ada.id);
    (hidden.status, hidden.published_at) = (Status::Draft, None);
    let numbered = bed.post(hidden.clone()).await;
    assert_eq!(numbered.slug.as_str(), "a-title-2");
    let taken = [("/slug".to_owned(), FaultCode::Taken)];
    hidden.slug_exact = true;
    assert_eq!(faults(&bed.try_post(hidden).await.unwrap_err()), taken);
    let rename = |change: &mut PostChange| {
        (change.slug, change.status, change.published_at) = (Some(slug("a-title")), Status::Draft, None);
    };
    assert_eq!(faults(&bed.change(numbered.id, rename).await.unwrap_err()), taken);
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Moved(Box::new(first.clone()))));
    // Its own old address it takes back, hidden or not.
    assert_eq!(bed.change(first.id, rename).await.unwrap().slug.as_str(), "a-title");
}

async fn a_slug_at_its_longest_can_be_numbered(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        let mut new = bed.draft(ada.id);
        new.slug = slug(&"x".repeat(100));
        let post = bed.post(new).await;
        assert!(post.slug.as_str().len() <= 100);
        assert!(seen.insert(post.slug));
    }
}
