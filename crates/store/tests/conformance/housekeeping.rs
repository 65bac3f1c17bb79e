//! The removal of what has expired, and entries that belong to no other write.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::{Actor, Caller, Scopes};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::events::ChangeFeed;
use inkstone_core::idempotency::{Idempotency, StoredAnswer};
use inkstone_core::identity::{PasswordRepository, SessionRepository, ThrottlePolicy};
use inkstone_core::posts::{self, Post, PostRepository};
use inkstone_store::Retention;
use inkstone_store::db::Statement;

use crate::bed::*;

conformance! {
    what_has_expired_goes_and_nothing_else
    more_than_one_batch_goes_too
    an_entry_of_its_own_is_recorded
    changes_go_when_they_are_old_and_everybody_has_passed_them
    a_consumer_misses_nothing_whatever_is_removed_behind_it
    audit_entries_go_when_they_are_old_and_failed_sign_ins_sooner
    what_is_kept_for_ever_stays
}

static LEFT: Statement = Statement {
    name: "test.left",
    sql: "select (select count(*) from idempotency_keys), (select count(*) from login_throttles),
                 (select count(*) from sessions), (select count(*) from refresh_tokens)",
};

async fn left(bed: &Bed) -> (i64, i64, i64, i64) {
    bed.rows(&LEFT).await[0]
}

async fn what_has_expired_goes_and_nothing_else(bed: Bed) {
    let ada = bed.user("ada").await;
    let policy = ThrottlePolicy { free: 0, window_secs: 100, base_secs: 10, max_secs: 60 };
    for (name, lives) in [("short", 100), ("long", 100 * 86_400)] {
        let (now, end) = (bed.now(), bed.now() + secs(lives));
        let key = Idempotency::<Post> {
            scope: "s".into(),
            key: name.into(),
            fingerprint: [0; 32],
            expires_at: end,
            render: Arc::new(|_| Ok(StoredAnswer { status: 201, headers: Vec::new(), body: Vec::new() })),
        };
        let permit = posts::policy::create(&Caller::Operator, bed.draft(ada.id)).unwrap();
        PostRepository::create(&bed.store, &ctx(), permit, Some(key)).await.unwrap();
        let token = [u8::try_from(name.len()).unwrap(); 32];
        bed.store.begin(&ctx(), &ada, Scopes::all(), token, end, end, now).await.unwrap().unwrap();
        bed.store.rotate(&ctx(), token, [token[0] + 100; 32], end, now).await.unwrap();
    }
    bed.store.record_failure(&ctx(), &[("ip:1".to_owned(), policy)], None, bed.now()).await.unwrap();
    assert_eq!(left(&bed).await, (2, 1, 2, 4));
    assert_eq!(bed.store.purge(&ctx(), bed.now()).await.unwrap(), 0);

    bed.clock.advance(secs(100));
    assert_eq!(bed.store.purge(&ctx(), bed.now()).await.unwrap(), 2);
    assert_eq!(left(&bed).await, (1, 0, 2, 4), "a dead session can be looked at for a while");
    bed.clock.advance(secs(31 * 86_400));
    assert_eq!(bed.store.purge(&ctx(), bed.now()).await.unwrap(), 3);
    assert_eq!(left(&bed).await, (1, 0, 1, 2));
}

async fn more_than_one_batch_goes_too(bed: Bed) {
    let policy = ThrottlePolicy { free: 0, window_secs: 100, base_secs: 10, max_secs: 60 };
    let keys: Vec<_> = (0..1203).map(|number| (format!("ip:{number}"), policy)).collect();
    bed.store.record_failure(&ctx(), &keys, None, bed.now()).await.unwrap();
    bed.clock.advance(secs(100));
    assert_eq!(bed.store.purge(&ctx(), bed.now()).await.unwrap(), 1203);
}

async fn an_entry_of_its_own_is_recorded(bed: Bed) {
    let entry = Entry {
        actor: Actor::Anonymous,
        action: "setup.refused",
        subject: "site".into(),
        details: serde_json::json!({ "why": "wrong secret" }),
    };
    bed.store.record(&ctx(), entry).await.unwrap();
    assert_eq!(bed.audit().await, [("anonymous".to_owned(), "setup.refused".to_owned(), "site".to_owned())]);
}

const DAY: Duration = Duration::from_hours(24);
const FOR_EVER: Retention = Retention { outbox: None, audit: None, failed_sign_ins: None };
/// Further than any change.
const ALL: i64 = i64::MAX;

/// Lets a day pass.
fn next_day(bed: &Bed) {
    bed.clock.advance(secs(86_400));
}

async fn trim(bed: &Bed, retention: Retention, passed: i64) -> u64 {
    bed.store.trim(&ctx(), bed.now(), retention, passed).await.unwrap()
}

async fn seqs(bed: &Bed) -> Vec<i64> {
    bed.events_after(0).await.into_iter().map(|event| event.change_seq).collect()
}

async fn changes_go_when_they_are_old_and_everybody_has_passed_them(bed: Bed) {
    let week = Retention { outbox: Some(7 * DAY), ..FOR_EVER };
    for day in 0..10 {
        bed.user(&format!("user-{day}")).await;
        next_day(&bed);
    }
    // The tenth day has begun: those of days 0 to 3 are seven days old or older.
    assert_eq!(trim(&bed, week, 2).await, 2, "this process has not passed more");
    assert_eq!(seqs(&bed).await, [3, 4, 5, 6, 7, 8, 9, 10]);
    bed.store.advance_cursor(&ctx(), "mail", 3).await.unwrap();
    bed.store.advance_cursor(&ctx(), "search", 9).await.unwrap();
    assert_eq!(trim(&bed, week, ALL).await, 1, "the slowest consumer has not passed more");
    bed.store.advance_cursor(&ctx(), "mail", 9).await.unwrap();
    assert_eq!(trim(&bed, week, ALL).await, 0, "the others are not old enough, nor is what came after this one");
    assert_eq!(seqs(&bed).await, [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(bed.latest().await, 10);

    // The newest one stays, so that those who have seen it can tell that it is still the same history.
    bed.store.advance_cursor(&ctx(), "mail", 10).await.unwrap();
    bed.store.advance_cursor(&ctx(), "search", 10).await.unwrap();
    for _ in 0..7 {
        next_day(&bed);
    }
    assert_eq!(trim(&bed, week, ALL).await, 6);
    assert_eq!(trim(&bed, week, ALL).await, 0);
    bed.user("one-more").await;
    // So does what was the newest one until then: not everybody has looked again.
    assert_eq!(trim(&bed, week, ALL).await, 0);
    assert_eq!(seqs(&bed).await, [10, 11]);
}

async fn a_consumer_misses_nothing_whatever_is_removed_behind_it(bed: Bed) {
    let at_once = Retention { outbox: Some(Duration::ZERO), ..FOR_EVER };
    let (mut seen, mut written) = (Vec::new(), 0);
    bed.store.advance_cursor(&ctx(), "mail", 0).await.unwrap();
    for round in 0..40_u32 {
        for _ in 0..round % 4 {
            written += 1;
            bed.user(&format!("user-{written}")).await;
        }
        let position = bed.store.cursor(&ctx(), "mail").await.unwrap().unwrap();
        let events = bed.store.changes_after(&ctx(), position, round % 3).await.unwrap();
        trim(&bed, at_once, ALL).await;
        seen.extend(events.iter().map(|event| event.change_seq));
        if let Some(last) = events.last() {
            bed.store.advance_cursor(&ctx(), "mail", last.change_seq).await.unwrap();
        }
    }
    let rest = bed.events_after(*seen.last().unwrap()).await;
    seen.extend(rest.iter().map(|event| event.change_seq));
    assert_eq!(seen, (1..=written).collect::<Vec<_>>());
    assert!(seqs(&bed).await.len() < seen.len() / 2, "most of them were removed");
}

async fn audit_entries_go_when_they_are_old_and_failed_sign_ins_sooner(bed: Bed) {
    let kept = Retention { outbox: None, audit: Some(100 * DAY), failed_sign_ins: Some(10 * DAY) };
    let note = async |action| {
        let entry = Entry { actor: Actor::Anonymous, action, subject: "site".into(), details: serde_json::Value::Null };
        bed.store.record(&ctx(), entry).await.unwrap();
    };
    let left = async || -> Vec<String> { bed.audit().await.into_iter().map(|(_, action, _)| action).collect() };
    // More than goes in one piece.
    for _ in 0..520 {
        note("login.failed").await;
    }
    note("login.succeeded").await;
    note("login.blocked").await;
    bed.clock.advance(secs(10 * 86_400 - 1));
    assert_eq!(trim(&bed, kept, 0).await, 0);
    note("login.failed").await;
    note("logout").await;
    bed.clock.advance(secs(1));
    assert_eq!(trim(&bed, kept, 0).await, 521);
    assert_eq!(left().await, ["login.succeeded", "login.failed", "logout"]);
    bed.clock.advance(secs(90 * 86_400));
    assert_eq!(trim(&bed, kept, 0).await, 2);
    assert_eq!(left().await, ["logout"]);
    // The newest one stays, so that numbers never come back.
    bed.clock.advance(secs(100 * 86_400));
    assert_eq!(trim(&bed, kept, 0).await, 0);
    note("keys.rotated").await;
    assert_eq!(trim(&bed, kept, 0).await, 1);
    assert_eq!(left().await, ["keys.rotated"]);
}

async fn what_is_kept_for_ever_stays(bed: Bed) {
    bed.user("ada").await;
    bed.user("bob").await;
    bed.clock.advance(secs(1000 * 86_400));
    assert_eq!(trim(&bed, FOR_EVER, ALL).await, 0);
    assert_eq!((seqs(&bed).await.len(), bed.audit().await.len()), (2, 2));
}
