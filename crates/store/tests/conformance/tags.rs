//! Tags.

use std::sync::Arc;

use inkstone_core::access::Caller;
use inkstone_core::events::Entity;
use inkstone_core::idempotency::{Idempotency, StoredAnswer, Written};
use inkstone_core::posts::{PostFilter, PostRepository};
use inkstone_core::tags::{NewTag, Tag, TagChange, TagDescription, TagId, TagKey, TagName, TagRepository};
use inkstone_core::{Code, FaultCode, Result, tags};

use crate::bed::*;

conformance! {
    what_is_created_is_found
    a_slug_is_unique
    creating_can_be_repeated_under_a_key
    renaming_shows_on_posts_and_names_what_it_touched
    a_change_that_changes_nothing_leaves_no_trace
    deleting_takes_the_tag_off_its_posts
}

fn new_tag(bed: &Bed, name: &str) -> NewTag {
    let name = TagName::try_from(name.to_owned()).unwrap();
    NewTag { slug: name.slug(), name, description: TagDescription::default(), created_at: bed.now() }
}

async fn create(bed: &Bed, new: NewTag, key: Option<Idempotency<Tag>>) -> Result<Written<Tag>> {
    let permit = tags::policy::create(&Caller::Operator, new).unwrap();
    TagRepository::create(&bed.store, &ctx(), permit, key).await
}

async fn change(bed: &Bed, id: TagId, change: TagChange) -> Result<Tag> {
    let decide = Arc::new(move |_: &Tag| tags::policy::change(&Caller::Operator, change.clone()));
    TagRepository::change(&bed.store, &ctx(), id, decide).await
}

async fn delete(bed: &Bed, id: TagId) -> Result<()> {
    TagRepository::delete(&bed.store, &ctx(), id, Arc::new(|_: &Tag| tags::policy::delete(&Caller::Operator))).await
}

async fn find(bed: &Bed, key: TagKey) -> Option<Tag> {
    TagRepository::find(&bed.store, &ctx(), &key).await.unwrap()
}

fn touched(id: TagId) -> [Entity; 3] {
    [Entity::Tag(id), Entity::Tags, Entity::PostsTagged(id)]
}

async fn what_is_created_is_found(bed: Bed) {
    let seq = bed.latest().await;
    let tag = done(create(&bed, new_tag(&bed, "Größe"), None).await.unwrap());
    assert_eq!(find(&bed, TagKey::Id(tag.id)).await.as_ref(), Some(&tag));
    assert_eq!(find(&bed, TagKey::Slug(tag.slug.clone())).await.as_ref(), Some(&tag));
    assert_eq!(TagRepository::count(&bed.store, &ctx()).await.unwrap(), 1);
    let events = bed.events_after(seq).await;
    assert_eq!(events.len(), 1);
    assert!(same_entities(&events[0].entities, &touched(tag.id)));
}

async fn a_slug_is_unique(bed: Bed) {
    done(create(&bed, new_tag(&bed, "Rust"), None).await.unwrap());
    let go = done(create(&bed, new_tag(&bed, "Go"), None).await.unwrap());
    let seq = bed.latest().await;
    let taken = [("/slug".to_owned(), FaultCode::Taken)];
    assert_eq!(faults(&create(&bed, new_tag(&bed, "rust"), None).await.unwrap_err()), taken);
    let rename = TagChange { slug: Some(slug("rust")), ..TagChange::default() };
    assert_eq!(faults(&change(&bed, go.id, rename).await.unwrap_err()), taken);
    assert_eq!(bed.latest().await, seq);
}

async fn creating_can_be_repeated_under_a_key(bed: Bed) {
    let key = || Idempotency::<Tag> {
        scope: "s".into(),
        key: "k".into(),
        fingerprint: [0; 32],
        expires_at: bed.now() + secs(60),
        render: Arc::new(|tag: &Tag| {
            Ok(StoredAnswer { status: 201, headers: Vec::new(), body: tag.slug.as_str().into() })
        }),
    };
    done(create(&bed, new_tag(&bed, "Rust"), Some(key())).await.unwrap());
    let Written::Replayed(answer) = create(&bed, new_tag(&bed, "Rust"), Some(key())).await.unwrap() else {
        panic!("written twice");
    };
    assert_eq!(answer.body, b"rust");
    assert_eq!(TagRepository::count(&bed.store, &ctx()).await.unwrap(), 1);
}

async fn renaming_shows_on_posts_and_names_what_it_touched(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["Rust"]);
    let post = bed.post(new).await;
    let id = post.tags[0].id;
    let seq = bed.latest().await;
    bed.clock.advance(secs(1));
    let name = TagName::try_from("Ferris".to_owned()).unwrap();
    let changed = TagChange { name: Some(name), slug: Some(slug("ferris")), description: None };
    let tag = change(&bed, id, changed).await.unwrap();
    assert_eq!((tag.version, tag.updated_at), (2, bed.now()));
    assert_eq!(find(&bed, TagKey::Id(id)).await, Some(tag));
    assert_eq!(find(&bed, TagKey::Slug(slug("rust"))).await, None);
    let shown = bed.get(post.id).await;
    assert_eq!((shown.tags[0].name.as_str(), shown.tags[0].slug.as_str()), ("Ferris", "ferris"));
    assert_eq!(shown.version, post.version, "the post has not changed");
    let events = bed.events_after(seq).await;
    assert_eq!(events.len(), 1);
    assert!(same_entities(&events[0].entities, &touched(id)));
}

async fn a_change_that_changes_nothing_leaves_no_trace(bed: Bed) {
    let tag = done(create(&bed, new_tag(&bed, "Rust"), None).await.unwrap());
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());
    let same = TagChange { name: Some(tag.name.clone()), slug: Some(tag.slug.clone()), description: None };
    assert_eq!(change(&bed, tag.id, same).await.unwrap(), tag);
    assert_eq!(change(&bed, TagId(99), TagChange::default()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!((bed.latest().await, bed.audit().await.len()), (seq, audit));
}

async fn deleting_takes_the_tag_off_its_posts(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["c", "b", "a"]);
    let post = bed.post(new).await;
    let seq = bed.latest().await;
    let id = post.tags[1].id;
    delete(&bed, id).await.unwrap();
    let names = |post: &inkstone_core::posts::Post| post.tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>();
    let left = bed.get(post.id).await;
    assert_eq!(names(&left), ["c", "a"]);
    assert_eq!(left.version, post.version + 1, "who is about to change the post must learn of it");
    assert_eq!(find(&bed, TagKey::Id(id)).await, None);
    let filter = PostFilter { tags: vec![slug("b")], ..PostFilter::default() };
    assert_eq!(PostRepository::count(&bed.store, &ctx(), &filter).await.unwrap(), 0);
    let events = bed.events_after(seq).await;
    assert_eq!(events.len(), 1);
    assert!(same_entities(&events[0].entities, &touched(id)));
    assert_eq!(delete(&bed, id).await.unwrap_err().code(), Code::NotFound);

    let changed = bed.change(post.id, |change| change.tags = Some(tag_names(&["d", "c", "a", "b"]))).await.unwrap();
    assert_eq!(names(&changed), ["d", "c", "a", "b"]);
    assert_eq!(names(&bed.get(post.id).await), ["d", "c", "a", "b"]);
    assert_ne!(changed.tags[3].id, id, "an id never comes back");
}
