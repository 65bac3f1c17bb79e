//! What reading through the cache promises, whatever the store does.

use std::sync::atomic::Ordering;

use http::StatusCode;
use inkstone_core::cache::Cache as _;
use inkstone_http::reader::Reader;

use crate::support::{Mood, Site, request, site};

/// A site that has the post in its cache.
async fn warm() -> Site {
    let site = site();
    assert_eq!(site.get("/posts/1", &[]).await.version(), 1);
    site
}

#[tokio::test]
async fn the_first_answer_is_kept_and_the_second_says_how_old_it_is() {
    let site = site();
    let first = site.get("/posts/1", &[]).await;
    assert_eq!((first.verdict().as_str(), first.header("age")), ("fwd=uri-miss; stored", ""));
    site.clock.pass_secs(42);
    let second = site.get("/posts/1", &[]).await;
    assert_eq!((second.verdict().as_str(), second.header("age")), ("hit; ttl=", "42"));
    let ttl: u64 = second.header("cache-status").rsplit('=').next().unwrap().parse().unwrap();
    assert!((48..=68).contains(&ttl), "100 s give or take 10, less 42: {ttl}");
    assert_eq!((first.body, first.headers["etag"].clone()), (second.body, second.headers["etag"].clone()));
    assert_eq!(site.store.loads(), 1);
}

#[tokio::test]
async fn who_is_somebody_is_neither_served_from_the_cache_nor_kept_in_it() {
    let site = site();
    let token = [("authorization", "Bearer abc")];
    assert_eq!(site.get("/posts/1", &token).await.version(), 1);
    assert_eq!(site.stats().entries, 0);
    site.get("/posts/1", &[]).await;
    site.get("/posts/1", &token).await;
    assert_eq!(site.store.loads(), 3);
}

#[tokio::test]
async fn what_is_not_public_is_never_kept() {
    let site = site();
    let answer = site.get("/diary", &[]).await;
    assert_eq!((answer.header("cache-control"), answer.header("cache-status")), ("private, no-store", ""));
    site.get("/diary", &[]).await;
    assert_eq!((site.stats().entries, site.store.loads()), (0, 2));
}

#[tokio::test]
async fn errors_are_not_kept() {
    let site = site();
    site.store.set_mood(Mood::Empty);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::NOT_FOUND);
    site.store.set_mood(Mood::Works);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_caller_refreshes_it() {
    let site = warm().await;
    site.store.version.store(2, Ordering::SeqCst);
    site.clock.pass_secs(130);
    for _ in 0..10 {
        let stale = site.get("/posts/1", &[]).await;
        assert_eq!((stale.version(), stale.verdict().as_str(), stale.header("age")), (1, "hit; ttl=-", "130"));
        if site.store.loads() > 1 {
            break;
        }
    }
    site.store.until_loads(2).await;
    site.until(|_| site.cache.get_fresh("/posts/1").is_some()).await;
    let fresh = site.get("/posts/1", &[]).await;
    assert_eq!((fresh.version(), fresh.header("age")), (2, "0"));
    assert_eq!(site.store.loads(), 2);
}

#[tokio::test]
async fn a_refresh_that_fails_is_tried_again_only_after_a_pause() {
    let site = warm().await;
    site.store.set_mood(Mood::Broken);
    site.clock.pass_secs(115);
    for _ in 0..5 {
        assert_eq!(site.get("/posts/1", &[]).await.version(), 1);
        site.store.until_loads(2).await;
    }
    assert_eq!(site.store.loads(), 2);
    site.clock.pass_secs(10);
    assert_eq!(site.get("/posts/1", &[]).await.version(), 1);
    site.store.until_loads(3).await;
}

#[tokio::test]
async fn when_the_store_fails_what_is_kept_for_emergencies_is_served() {
    for mood in [Mood::Broken, Mood::Overloaded] {
        let site = warm().await;
        site.clock.pass_secs(300);
        site.store.set_mood(mood);
        let answer = site.get("/posts/1", &[]).await;
        assert_eq!((answer.status, answer.version(), answer.header("age")), (StatusCode::OK, 1, "300"));
        assert!(answer.header("cache-status").ends_with("; detail=stale-if-error"), "{answer:?}");
        assert_eq!(site.store.loads(), 2, "the store was asked first");

        site.store.set_mood(Mood::Works);
        assert_eq!(site.get("/posts/1", &[]).await.verdict(), "fwd=uri-miss; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_store_hangs_an_emergency_answer_is_not_waited_for_long() {
    let site = warm().await;
    site.clock.pass_secs(300);
    site.store.set_mood(Mood::Hangs);
    let begun = tokio::time::Instant::now();
    let answer = site.get("/posts/1", &[]).await;
    assert_eq!((answer.status, answer.version()), (StatusCode::OK, 1));
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn what_is_gone_is_gone_whatever_the_cache_has_for_emergencies() {
    let site = warm().await;
    site.clock.pass_secs(300);
    site.store.set_mood(Mood::Empty);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_write_has_ended_is_not_served_in_an_emergency() {
    let site = warm().await;
    site.clock.pass_secs(300);
    site.write(1);
    site.store.set_mood(Mood::Broken);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    site.store.set_mood(Mood::Overloaded);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_hundred_at_once_cost_one_load() {
    let site = site();
    site.store.close_gate();
    let asking: Vec<_> = (0..100).map(|_| site.spawn_get("/posts/1")).collect();
    site.store.until_loads(1).await;
    site.until(|stats| stats.joined_loads >= 99).await;
    site.store.open_gate();
    let mut verdicts = Vec::new();
    for answer in asking {
        verdicts.push(answer.await.unwrap().verdict());
    }
    verdicts.sort();
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "fwd=uri-miss; stored").count(), 1);
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "fwd=uri-miss; collapsed").count(), 99);
    assert_eq!(site.store.loads(), 1);
}

#[tokio::test]
async fn one_failure_is_told_to_all_who_wait() {
    let site = site();
    site.store.close_gate();
    let asking = [site.spawn_get("/posts/1"), site.spawn_get("/posts/1")];
    site.until(|stats| stats.joined_loads >= 1).await;
    site.store.set_mood(Mood::Broken);
    site.store.open_gate();
    for answer in asking {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8(answer.body).unwrap().contains("fire"));
    }
    assert_eq!(site.store.loads(), 1);
}

#[tokio::test]
async fn a_client_who_leaves_takes_nobody_with_it() {
    let site = site();
    site.store.close_gate();
    let leaver = site.spawn_get("/posts/1");
    site.store.until_loads(1).await;
    let stayer = site.spawn_get("/posts/1");
    site.until(|stats| stats.joined_loads >= 1).await;
    leaver.abort();
    site.store.until_loads(2).await;
    site.store.open_gate();
    assert_eq!(stayer.await.unwrap().verdict(), "fwd=uri-miss; stored");
}

#[tokio::test]
async fn a_write_during_a_load_is_not_lost() {
    let site = site();
    site.store.close_gate();
    let before = site.spawn_get("/posts/1");
    site.store.until_loads(1).await;
    site.write(1);
    let after = site.spawn_get("/posts/1");
    site.until(|stats| stats.joined_loads >= 1).await;
    site.store.open_gate();
    let (before, after) = (before.await.unwrap(), after.await.unwrap());
    assert_eq!((before.version(), before.verdict().as_str()), (1, "fwd=uri-miss"), "asked before the write: not kept");
    assert_eq!((after.version(), after.verdict().as_str()), (2, "fwd=uri-miss; stored"), "asked after the write");
    assert_eq!(site.get("/posts/1", &[]).await.version(), 2);
    assert_eq!(site.store.loads(), 2);
}

#[tokio::test]
async fn a_write_during_a_refresh_is_not_lost() {
    let site = warm().await;
    site.clock.pass_secs(115);
    site.store.close_gate();
    assert_eq!(site.get("/posts/1", &[]).await.version(), 1);
    site.store.until_loads(2).await;
    site.write(1);
    site.store.open_gate();
    site.until(|stats| stats.refused_puts >= 1).await;
    assert_eq!(site.get("/posts/1", &[]).await.version(), 2);
}

#[tokio::test]
async fn without_a_cache_every_request_loads() {
    let site = site();
    let reader = Reader::new(site.edge.clone(), None);
    let ctx = inkstone_core::Context::new(
        inkstone_core::access::Caller::Anonymous,
        "r",
        inkstone_core::Deadline::at(site.edge.clock().instant() + std::time::Duration::from_secs(9)),
    );
    for _ in 0..2 {
        let load = |_| async { Ok(inkstone_http::representation::Representation::builder("1").build()) };
        let (_, verdict) = reader.read(&ctx, "/one", crate::support::LIFETIME, load).await.unwrap();
        assert_eq!(verdict.as_str(), "bypass");
    }
}

#[tokio::test]
async fn head_shares_what_get_has_left() {
    let site = warm().await;
    let head = site.ask_router(request("HEAD", "/posts/1", &[])).await;
    assert_eq!((head.status, head.verdict().as_str(), head.body.len()), (StatusCode::OK, "hit; ttl=", 0));
    assert_eq!(site.store.loads(), 1);
}

#[tokio::test]
async fn what_may_be_old_says_so_and_is_not_kept() {
    let site = site();
    let reader = Reader::new(site.edge.clone(), Some(site.cache.clone()));
    let ctx = || {
        inkstone_core::Context::new(
            inkstone_core::access::Caller::Anonymous,
            "r",
            inkstone_core::Deadline::at(site.edge.clock().instant() + std::time::Duration::from_secs(9)),
        )
    };
    let load = |behind: Option<u64>| {
        move |ctx: inkstone_core::Context| async move {
            if let Some(seconds) = behind {
                ctx.meter.note_behind(std::time::Duration::from_secs(seconds));
            }
            let builder = inkstone_http::representation::Representation::builder("1");
            Ok(builder.public(crate::support::LIFETIME, Vec::new()).build())
        }
    };
    let verdict = async |ctx: &inkstone_core::Context, behind| {
        reader.read(ctx, "/one", crate::support::LIFETIME, load(behind)).await.unwrap().1.as_str()
    };
    assert_eq!(verdict(&ctx(), Some(7)).await, "replica");
    assert_eq!(verdict(&ctx(), None).await, "miss", "the old one was not kept");
    assert_eq!(verdict(&ctx(), None).await, "hit");
    // Known to this one request alone, and so in nothing that is kept.
    let told = ctx();
    told.meter.await_change(3);
    assert_eq!(verdict(&told, None).await, "bypass");
}

#[tokio::test]
async fn who_waits_for_what_may_be_old_is_told_so_too() {
    let site = site();
    let reader = Reader::new(site.edge.clone(), Some(site.cache.clone()));
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let read = |load: bool, gate: Option<tokio::sync::oneshot::Receiver<()>>| {
        let (reader, clock) = (reader.clone(), site.edge.clock().clone());
        tokio::spawn(async move {
            let deadline = inkstone_core::Deadline::at(clock.instant() + std::time::Duration::from_secs(9));
            let ctx = inkstone_core::Context::new(inkstone_core::access::Caller::Anonymous, "r", deadline);
            let loading = move |ctx: inkstone_core::Context| async move {
                assert!(load, "it waits for the other");
                gate.unwrap().await.unwrap();
                ctx.meter.note_behind(std::time::Duration::from_secs(7));
                let builder = inkstone_http::representation::Representation::builder("1");
                Ok(builder.public(crate::support::LIFETIME, Vec::new()).build())
            };
            reader.read(&ctx, "/one", crate::support::LIFETIME, loading).await.unwrap().1
        })
    };
    let leads = read(true, Some(gate));
    site.until(|stats| stats.misses == 1).await;
    let waits = read(false, None);
    site.until(|stats| stats.joined_loads == 1).await;
    go.send(()).unwrap();
    let old = inkstone_http::representation::Verdict::Behind { age: std::time::Duration::from_secs(7) };
    assert_eq!((leads.await.unwrap(), waits.await.unwrap()), (old, old));
}
