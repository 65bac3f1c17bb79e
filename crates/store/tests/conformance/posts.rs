//! Writing and finding posts.

use std::sync::Arc;

use inkstone_core::access::Caller;
use inkstone_core::events::Entity;
use inkstone_core::posts::{Found, ImportKey, Parts, Post, PostId, PostKey, PostRepository};
use inkstone_core::redirects::RedirectRepository;
use inkstone_core::tags::{Tag, TagChange, TagRepository};
use inkstone_core::{Code, Error, FaultCode, posts, tags};

use crate::bed::*;

conformance! {
    what_is_created_is_found
    bodies_come_only_when_asked_for
    authors_and_tags_keep_their_order
    all_faults_come_at_once_and_nothing_is_written
    a_change_changes_what_it_names_and_nothing_else
    a_change_that_changes_nothing_leaves_no_trace
    a_refused_change_leaves_no_trace
    only_what_is_rewritten_makes_a_revision
    an_excerpt_can_be_given_and_taken_back
    each_effective_write_has_one_event_and_one_audit_entry
    of_concurrent_changes_to_one_version_one_wins
    an_import_is_found_by_its_key
    names_of_tags_can_be_written_back_as_they_were_read
    redirects_belong_to_whoever_came_first
    every_text_comes_back_byte_for_byte
    what_is_long_comes_back_whole
}

async fn what_is_created_is_found(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let mut new = bed.draft(bob.id);
    new.authors = vec![bob.id, ada.id];
    new.tags = tag_names(&["Zebra", "Ant"]);
    new.excerpt = Some(excerpt("By hand"));
    new.published_at = Some(bed.now() - secs(86_400));
    new.created_at = bed.now() - secs(90_000);
    let created = bed.post(new).await;
    assert_eq!(created.version, 1);
    assert_eq!(created.revision, 1);
    assert_eq!(created.markdown.as_deref(), Some("Some text here"));
    assert_eq!(created.html.as_deref(), Some("<p>Some text here</p>"));
    assert_eq!(created, bed.get(created.id).await);
    assert_eq!(bed.find_slug("a-title").await, Some(Found::Here(Box::new(created))));
    assert_eq!(bed.find(PostKey::Id(PostId(999))).await, None);
    assert_eq!(bed.find_slug("nowhere").await, None);
}

async fn bodies_come_only_when_asked_for(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    for (markdown, html) in [(false, false), (true, false), (false, true), (true, true)] {
        let parts = Parts { markdown, html };
        let key = PostKey::Id(post.id);
        let Some(Found::Here(found)) = PostRepository::find(&bed.store, &ctx(), &key, parts).await.unwrap() else {
            panic!("not here");
        };
        assert_eq!((found.markdown.is_some(), found.html.is_some()), (markdown, html));
    }
}

async fn authors_and_tags_keep_their_order(bed: Bed) {
    let mut people = Vec::new();
    for handle in ["ada", "bob", "cyd"] {
        people.push(bed.user(handle).await.id);
    }
    let names = |post: &Post| post.tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>();
    let authors = |post: &Post| post.authors.iter().map(|author| author.id).collect::<Vec<_>>();
    let mut new = bed.draft(people[2]);
    new.authors = vec![people[2], people[0], people[1]];
    new.tags = tag_names(&["c", "a", "b", "A"]);
    let post = bed.post(new).await;
    assert_eq!(names(&post), ["c", "a", "b"], "two names with the same slug are the same tag");
    assert_eq!(authors(&post), [people[2], people[0], people[1]]);

    let turned = [people[1], people[2]];
    let changed = bed
        .change(post.id, move |change| {
            change.tags = Some(tag_names(&["b", "new", "c"]));
            change.authors = Some(turned.to_vec());
        })
        .await
        .unwrap();
    assert_eq!(names(&changed), ["b", "new", "c"]);
    assert_eq!(authors(&changed), turned);
    assert_eq!(changed, bed.get(post.id).await);
    assert_eq!(changed.version, 2);
    assert_eq!(changed.revision, 1);
}

async fn all_faults_come_at_once_and_nothing_is_written(bed: Bed) {
    let ada = bed.user("ada").await;
    bed.post(bed.draft(ada.id)).await;
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());
    let mut new = bed.draft(ada.id);
    new.slug_exact = true;
    new.authors = vec![ada.id, inkstone_core::users::UserId(999)];
    new.tags = tag_names(&["unheard-of", "neither"]);
    new.may_create_tags = false;
    let error = bed.try_post(new).await.unwrap_err();
    let expected = [
        ("/slug".to_owned(), FaultCode::Taken),
        ("/authors/1".to_owned(), FaultCode::Unknown),
        ("/tags/0".to_owned(), FaultCode::Unknown),
        ("/tags/1".to_owned(), FaultCode::Unknown),
    ];
    assert_eq!(faults(&error), expected);

    let mut new = bed.draft(inkstone_core::users::UserId(999));
    new.tags = tag_names(&["made-on-the-way"]);
    bed.try_post(new).await.unwrap_err();
    assert_eq!(bed.latest().await, seq, "a tag made on the way to a refusal is not there either");
    assert_eq!(bed.audit().await.len(), audit);
}

async fn a_change_changes_what_it_names_and_nothing_else(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["one"]);
    let before = bed.post(new).await;
    bed.clock.advance(secs(10));
    let after = bed.change(before.id, |change| change.title = Some(title("Another"))).await.unwrap();
    let expected = Post { title: title("Another"), version: 2, revision: 2, updated_at: bed.now(), ..before.clone() };
    assert_eq!(after, expected);
    assert_eq!(bed.get(before.id).await, expected);
}

async fn a_change_that_changes_nothing_leaves_no_trace(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["one", "two"]);
    new.excerpt = Some(excerpt("By hand"));
    let before = bed.post(new).await;
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());
    bed.clock.advance(secs(10));
    let author = ada.id;
    let after = bed
        .change(before.id, move |change| {
            change.title = Some(title("A title"));
            change.content = Some(content("Some text here"));
            change.slug = Some(slug("a-title"));
            change.excerpt = Some(Some(excerpt("By hand")));
            change.tags = Some(tag_names(&["one", "two"]));
            change.authors = Some(vec![author]);
            change.redirects = Some(Vec::new());
        })
        .await
        .unwrap();
    assert_eq!(after, before);
    assert_eq!(bed.latest().await, seq);
    assert_eq!(bed.audit().await.len(), audit);
}

async fn a_refused_change_leaves_no_trace(bed: Bed) {
    let ada = bed.user("ada").await;
    let other = bed.post(bed.draft(ada.id)).await;
    let mut new = bed.draft(ada.id);
    new.slug = slug("mine");
    let before = bed.post(new).await;
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());

    let error = bed
        .change(before.id, |change| {
            change.title = Some(title("Not to be"));
            change.slug = Some(slug("a-title"));
            change.tags = Some(tag_names(&["not-to-be"]));
        })
        .await
        .unwrap_err();
    assert_eq!(faults(&error), [("/slug".to_owned(), FaultCode::Taken)]);

    let decide: posts::repository::Decide<_> =
        Arc::new(|_: &Post| Err(Error::refused(Code::PreconditionFailed, "It has changed.")));
    let error = PostRepository::change(&bed.store, &ctx(), before.id, decide).await.unwrap_err();
    assert_eq!(error.code(), Code::PreconditionFailed);
    let error = bed.change(PostId(999), |_| {}).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);

    assert_eq!(bed.get(before.id).await, before);
    assert_eq!(bed.get(other.id).await, other);
    assert_eq!(bed.latest().await, seq);
    assert_eq!(bed.audit().await.len(), audit);
}

async fn only_what_is_rewritten_makes_a_revision(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    let step = bed.change(post.id, |change| change.slug = Some(slug("elsewhere"))).await.unwrap();
    assert_eq!((step.version, step.revision), (2, 1));
    let step = bed.change(post.id, |change| change.tags = Some(tag_names(&["a"]))).await.unwrap();
    assert_eq!((step.version, step.revision), (3, 1));
    let step = bed.change(post.id, |change| change.content = Some(content("Other words"))).await.unwrap();
    assert_eq!((step.version, step.revision, step.words), (4, 2, 2));
    assert_eq!(step.markdown.as_deref(), Some("Other words"));
    assert_eq!(step.excerpt, "Summary of Other words");
    assert_eq!(bed.get(post.id).await, step);
    let rendered_anew = bed
        .change(post.id, |change| {
            change.content =
                Some(posts::Content { html: "<p>By a newer renderer</p>".into(), ..content("Other words") });
        })
        .await
        .unwrap();
    assert_eq!((rendered_anew.version, rendered_anew.revision), (5, 3));
}

async fn an_excerpt_can_be_given_and_taken_back(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    assert_eq!((post.excerpt.as_str(), post.excerpt_given), ("Summary of Some text here", false));
    let given = bed.change(post.id, |change| change.excerpt = Some(Some(excerpt("Mine")))).await.unwrap();
    assert_eq!((given.excerpt.as_str(), given.excerpt_given), ("Mine", true));
    let rewritten = bed.change(post.id, |change| change.content = Some(content("New text"))).await.unwrap();
    assert_eq!((rewritten.excerpt.as_str(), rewritten.excerpt_given), ("Mine", true));
    let taken = bed.change(post.id, |change| change.excerpt = Some(None)).await.unwrap();
    assert_eq!((taken.excerpt.as_str(), taken.excerpt_given), ("Summary of New text", false));
    assert_eq!(bed.get(post.id).await, taken);
}

async fn each_effective_write_has_one_event_and_one_audit_entry(bed: Bed) {
    let ada = bed.user("ada").await;
    let seq = bed.latest().await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["rust"]);
    let post = bed.post(new).await;
    assert_eq!(bed.kinds_after(seq).await, ["tag.created", "post.published"]);
    let tag = post.tags[0].id;
    let events = bed.events_after(seq).await;
    let everywhere =
        [Entity::Post(post.id), Entity::PostOrder, Entity::Posts, Entity::PostsTagged(tag), Entity::PostsBy(ada.id)];
    assert!(same_entities(&events[1].entities, &everywhere), "{:?}", events[1].entities);
    assert_eq!(events[1].at, bed.now());

    let seq = bed.latest().await;
    bed.change(post.id, |change| change.title = Some(title("Another"))).await.unwrap();
    let events = bed.events_after(seq).await;
    assert_eq!(events.len(), 1);
    assert!(same_entities(&events[0].entities, &[Entity::Post(post.id), Entity::PostOrder]));
    assert_eq!(events[0].change_seq, seq + 1);

    bed.delete(post.id).await.unwrap();
    assert_eq!(bed.kinds_after(seq).await, ["post.updated", "post.deleted"]);
    let actions: Vec<_> = bed.audit().await.into_iter().map(|(actor, action, _)| (actor, action)).collect();
    let by_operator = |action: &str| ("operator".to_owned(), action.to_owned());
    let expected = ["user.create", "post.create", "post.update", "post.delete"].map(by_operator);
    assert_eq!(actions, expected);
}

async fn of_concurrent_changes_to_one_version_one_wins(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    let seq = bed.latest().await;
    let mut wins = 0;
    for round in 0..4_i64 {
        let expected = post.version + round;
        let writers = (0..16).map(|writer| {
            let (store, now) = (bed.store.clone(), bed.now());
            tokio::spawn(async move {
                let decide = Arc::new(move |post: &Post| {
                    if post.version != expected {
                        return Err(Error::refused(Code::PreconditionFailed, "It has changed."));
                    }
                    let mut change = no_change(post, now);
                    change.title = Some(title(&format!("Round {round} writer {writer}")));
                    posts::policy::change(&Caller::Operator, post, change)
                });
                PostRepository::change(&store, &ctx(), post.id, decide).await
            })
        });
        let writers: Vec<_> = writers.collect();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(_) => wins += 1,
                Err(error) => assert_eq!(error.code(), Code::PreconditionFailed),
            }
        }
    }
    assert_eq!(wins, 4);
    assert_eq!(bed.get(post.id).await.version, post.version + 4);
    assert_eq!(bed.kinds_after(seq).await, ["post.updated"; 4]);
}

async fn an_import_is_found_by_its_key(bed: Bed) {
    let ada = bed.user("ada").await;
    let key = ImportKey { source: "markdown".into(), key: "a.md".into(), fingerprint: [7; 32] };
    let mut new = bed.draft(ada.id);
    new.import = Some(key.clone());
    let post = bed.post(new).await;
    let find = || async { bed.store.find_import(&ctx(), "markdown", "a.md").await.unwrap() };
    assert_eq!(find().await, Some((post.id, key.clone())));
    assert_eq!(bed.store.find_import(&ctx(), "markdown", "b.md").await.unwrap(), None);

    let seq = bed.latest().await;
    let newer = ImportKey { fingerprint: [8; 32], ..key };
    let again = newer.clone();
    bed.change(post.id, move |change| change.import = Some(again.clone())).await.unwrap();
    assert_eq!(find().await, Some((post.id, newer.clone())));
    assert_eq!(bed.latest().await, seq, "the same post from another file has not changed");

    let mut twice = bed.draft(ada.id);
    twice.import = Some(newer.clone());
    assert_eq!(bed.try_post(twice).await.unwrap_err().code(), Code::Conflict, "two imports at one time make one post");
    assert_eq!(find().await, Some((post.id, newer.clone())));

    bed.delete(post.id).await.unwrap();
    assert_eq!(find().await, Some((post.id, newer)));
}

async fn names_of_tags_can_be_written_back_as_they_were_read(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    new.tags = tag_names(&["C", "Ink"]);
    let post = bed.post(new).await;
    let renamed = TagChange { name: Some(tag_names(&["Sea"]).remove(0)), ..TagChange::default() };
    let decide = Arc::new(move |_: &Tag| tags::policy::change(&Caller::Operator, renamed.clone()));
    TagRepository::change(&bed.store, &ctx(), post.tags[0].id, decide).await.unwrap();
    let read = bed.get(post.id).await;
    assert_eq!((read.tags[0].name.as_str(), read.tags[0].slug.as_str()), ("Sea", "c"));

    let (seq, names) = (bed.latest().await, tag_names(&["Sea", "Ink"]));
    let written = bed.change(post.id, move |change| change.tags = Some(names.clone())).await.unwrap();
    assert_eq!(written.tags, read.tags);
    assert_eq!(bed.latest().await, seq, "neither a new tag nor a change");
}

async fn redirects_belong_to_whoever_came_first(bed: Bed) {
    let ada = bed.user("ada").await;
    let find = |path: &'static str| {
        let store = bed.store.clone();
        async move { RedirectRepository::find(&store, &ctx(), path).await.unwrap() }
    };
    let mut new = bed.draft(ada.id);
    new.redirects = vec!["2011/old".into(), "feed/1".into()];
    let first = bed.post(new).await;
    let mut new = bed.draft(ada.id);
    new.redirects = vec!["2011/old".into(), "2012/new".into()];
    let second = bed.post(new).await;
    assert_eq!(find("2011/old").await, Some(first.id));
    assert_eq!(find("2012/new").await, Some(second.id));
    assert_eq!(find("2013/none").await, None);

    let seq = bed.latest().await;
    let changed = bed.change(first.id, |change| change.redirects = Some(vec!["2011/old".into()])).await.unwrap();
    assert_eq!(changed.version, 2);
    assert_eq!(bed.kinds_after(seq).await.len(), 1);
    assert_eq!(find("feed/1").await, None);

    let now = bed.now();
    bed.change(first.id, |change| (change.status, change.published_at) = (posts::Status::Draft, None)).await.unwrap();
    assert_eq!(find("2011/old").await, None, "a draft is nobody's business");
    bed.change(first.id, move |change| {
        (change.status, change.published_at) = (posts::Status::Published, Some(now));
    })
    .await
    .unwrap();
    assert_eq!(find("2011/old").await, Some(first.id));
    bed.delete(first.id).await.unwrap();
    assert_eq!(find("2011/old").await, None);
    bed.change(second.id, |change| change.redirects = Some(vec!["2011/old".into()])).await.unwrap();
    assert_eq!(find("2011/old").await, Some(second.id), "a deleted post holds no path");
}

async fn every_text_comes_back_byte_for_byte(bed: Bed) {
    let ada = bed.user("ada").await;
    let naughty = [
        "'; drop table posts; --",
        "\" or \"\"=\"",
        "$1 ?1 :name @name %s {}",
        "\u{202e}right to left\u{200f}",
        "a\u{301} \u{1f469}\u{200d}\u{1f4bb} \u{10ffff}\u{feff}",
        "tab\there",
        "<script>alert(1)</script>",
        "\\u0000 \\ \\' \\\"",
        "1e309",
        "null",
    ];
    for text in naughty {
        let mut new = bed.draft(ada.id);
        new.title = title(text);
        new.content = content(&format!("{text}\n\n{text}\r\n"));
        new.excerpt = Some(excerpt(text));
        let created = bed.post(new).await;
        let found = bed.get(created.id).await;
        assert_eq!(found.title.as_str(), text);
        assert_eq!(found.markdown.as_deref(), Some(format!("{text}\n\n{text}\r\n").as_str()));
        assert_eq!(found.excerpt, text);
        assert_eq!(found, created);
    }
}

/// Whatever the servers take for a long row or a long word: MariaDB has 16 MiB and 4,000 letters.
async fn what_is_long_comes_back_whole(bed: Bed) {
    const MIB: usize = 1024 * 1024;
    let ada = bed.user("ada").await;
    let mut new = bed.draft(ada.id);
    // One letter, eighteen in the index of words.
    new.title = title(&"\u{fdfa}".repeat(255));
    new.content = content(&format!("<!-- {} -->", "x".repeat(MIB - 100)));
    new.content.html = format!("<p>{}</p>", " ".repeat(15 * MIB + MIB / 2));
    new.content.summary = String::new();
    let created = bed.post(new).await;
    assert!(created.html.as_ref().unwrap().len() + created.markdown.as_ref().unwrap().len() > 16 * MIB);
    assert!(bed.get(created.id).await == created, "as it was given");
    bed.change(created.id, |change| change.title = Some(title("Short"))).await.unwrap();
    assert_eq!(bed.get(created.id).await.title.as_str(), "Short");
}
