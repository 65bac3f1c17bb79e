//! The removal of what has expired, and entries that belong to no other write.

use std::sync::Arc;

use inkstone_core::access::{Actor, Caller, Scopes};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::idempotency::{Idempotency, StoredAnswer};
use inkstone_core::identity::{PasswordRepository, SessionRepository, ThrottlePolicy};
use inkstone_core::posts::{self, Post, PostRepository};
use inkstone_store::db::Statement;

use crate::bed::*;

conformance! {
    what_has_expired_goes_and_nothing_else
    more_than_one_batch_goes_too
    an_entry_of_its_own_is_recorded
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
