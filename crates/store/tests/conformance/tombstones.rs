//! What stays of deleted posts.

use inkstone_core::Code;
use inkstone_core::posts::{Found, PostFilter, PostKey, PostRepository, Status};

use crate::bed::*;

conformance! {
    what_was_public_is_gone_under_every_name_it_had
    what_was_never_public_was_never_there
    a_deleted_post_cannot_be_changed_or_deleted
    a_deleted_post_frees_its_slug
    a_deleted_post_is_in_no_list
}

async fn what_was_public_is_gone_under_every_name_it_had(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    bed.change(post.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    // Unpublished first: it had been public all the same.
    bed.change(post.id, |change| (change.status, change.published_at) = (Status::Draft, None)).await.unwrap();
    bed.delete(post.id).await.unwrap();
    assert_eq!(bed.find(PostKey::Id(post.id)).await, Some(Found::Gone));
    assert_eq!(bed.find_slug("second").await, Some(Found::Gone));
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Gone));
}

async fn what_was_never_public_was_never_there(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    (new.status, new.published_at) = (Status::Draft, None);
    let post = bed.post(new).await;
    bed.change(post.id, |change| change.slug = Some(slug("second"))).await.unwrap();
    bed.delete(post.id).await.unwrap();
    assert_eq!(bed.find(PostKey::Id(post.id)).await, None);
    assert_eq!(bed.find_slug("second").await, None);
    assert_eq!(bed.find_slug("a-title").await, None);
    assert_eq!(bed.delete(post.id).await.unwrap_err().code(), Code::NotFound);
}

async fn a_deleted_post_cannot_be_changed_or_deleted(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    bed.delete(post.id).await.unwrap();
    let seq = bed.latest().await;
    assert_eq!(bed.delete(post.id).await.unwrap_err().code(), Code::Gone);
    let error = bed.change(post.id, |change| change.title = Some(title("Undead"))).await.unwrap_err();
    assert_eq!(error.code(), Code::Gone);
    assert_eq!(bed.latest().await, seq);
}

async fn a_deleted_post_frees_its_slug(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    bed.delete(post.id).await.unwrap();
    let heir = bed.post(bed.draft(ada.id)).await;
    assert_eq!(heir.slug.as_str(), "a-title");
    assert_ne!(heir.id, post.id, "an id never comes back");
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Here(Box::new(heir))));
    assert_eq!(bed.find(PostKey::Id(post.id)).await, Some(Found::Gone));
}

async fn a_deleted_post_is_in_no_list(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["rust"]);
    let post = bed.post(new).await;
    let filters = [
        PostFilter::default(),
        PostFilter { author: Some(ada.id), ..PostFilter::default() },
        PostFilter { tags: vec![slug("rust")], ..PostFilter::default() },
        PostFilter { status: Some(Status::Draft), ..PostFilter::default() },
    ];
    let count = |filter: PostFilter| {
        let store = bed.store.clone();
        async move { PostRepository::count(&store, &ctx(), &filter).await.unwrap() }
    };
    let mut counts = Vec::new();
    for filter in &filters {
        counts.push(count(filter.clone()).await);
    }
    assert_eq!(counts, [1, 1, 1, 0]);
    bed.delete(post.id).await.unwrap();
    for filter in filters {
        assert_eq!(count(filter.clone()).await, 0, "{filter:?}");
    }
}
