//! Leases: one holder at a time, tokens that grow, and writes that a lost one refuses.

use std::time::Duration;

use futures_util::future::join_all;
use inkstone_core::Code;
use inkstone_core::context::Context;
use inkstone_core::identity::{PasswordRepository, SecretRepository, ThrottlePolicy};
use inkstone_core::lease::{Ask, Claim, Fence, LeaseRepository};

use crate::bed::*;

conformance! {
    a_lease_is_given_to_one_at_a_time_and_its_token_grows
    of_many_who_ask_at_once_one_gets_it
    what_was_done_rests
    who_lost_the_lease_changes_nothing
}

const LONG: Duration = Duration::from_hours(1);

/// Times are the database's own, which no test can move: terms are an hour, or over at once.
fn ask(owner: &str, term: Duration) -> Ask {
    Ask { owner: owner.to_owned(), term, rest: Duration::ZERO }
}

fn fence(token: i64) -> Fence {
    Fence { name: "work".into(), token }
}

async fn claim(bed: &Bed, ask: Ask) -> Claim {
    bed.store.claim(&ctx(), "work", ask).await.unwrap()
}

async fn a_lease_is_given_to_one_at_a_time_and_its_token_grows(bed: Bed) {
    assert_eq!(claim(&bed, ask("one", LONG)).await, Claim::Given(1));
    assert_eq!(claim(&bed, ask("other", LONG)).await, Claim::Held);
    assert_eq!(bed.store.claim(&ctx(), "other work", ask("other", LONG)).await.unwrap(), Claim::Given(1));
    assert!(bed.store.renew(&ctx(), &fence(1), Duration::ZERO).await.unwrap());
    assert_eq!(claim(&bed, ask("other", LONG)).await, Claim::Given(2), "its time was over");
    assert!(!bed.store.renew(&ctx(), &fence(1), LONG).await.unwrap());
    assert!(!bed.store.give_back(&ctx(), &fence(1), true).await.unwrap());
    assert_eq!(claim(&bed, ask("one", LONG)).await, Claim::Held, "nothing of that was done");
    assert!(bed.store.give_back(&ctx(), &fence(2), false).await.unwrap());
    assert_eq!(claim(&bed, ask("one", LONG)).await, Claim::Given(3));
    let lease = LeaseRepository::find(&bed.store, &ctx(), "work").await.unwrap().unwrap();
    assert_eq!((lease.owner.as_str(), lease.token, lease.done_at), ("one", 3, None));
    assert_eq!(LeaseRepository::find(&bed.store, &ctx(), "no work").await.unwrap(), None);
}

async fn of_many_who_ask_at_once_one_gets_it(bed: Bed) {
    let asked = (0..16).map(|number| claim(&bed, ask(&format!("node-{number}"), LONG)));
    let given = join_all(asked).await.into_iter().filter(|claim| *claim != Claim::Held).collect::<Vec<_>>();
    assert_eq!(given, [Claim::Given(1)]);
}

async fn what_was_done_rests(bed: Bed) {
    assert_eq!(claim(&bed, ask("one", LONG)).await, Claim::Given(1));
    assert!(bed.store.give_back(&ctx(), &fence(1), true).await.unwrap());
    for owner in ["one", "other"] {
        assert_eq!(claim(&bed, Ask { rest: LONG, ..ask(owner, LONG) }).await, Claim::Rests);
    }
    assert_eq!(claim(&bed, ask("other", LONG)).await, Claim::Given(2), "for who does not wait");
}

async fn who_lost_the_lease_changes_nothing(bed: Bed) {
    let policy = ThrottlePolicy { free: 0, window_secs: 100, base_secs: 10, max_secs: 60 };
    let keys: Vec<_> = (0..3).map(|number| (format!("ip:{number}"), policy)).collect();
    bed.store.record_failure(&ctx(), &keys, None, bed.now()).await.unwrap();
    bed.clock.advance(secs(100));
    let under = |token| Context { fence: Some(fence(token)), ..ctx() };

    let refused = bed.store.purge(&under(1), bed.now()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict, "nobody has that lease");
    assert_eq!(claim(&bed, ask("one", Duration::ZERO)).await, Claim::Given(1));
    bed.store.put(&under(1), "late", vec![1]).await.expect("its time is over, but nobody else has begun");
    assert_eq!(claim(&bed, ask("other", LONG)).await, Claim::Given(2));
    assert_eq!(bed.store.purge(&under(1), bed.now()).await.unwrap_err().code(), Code::Conflict);
    assert_eq!(bed.store.put(&under(1), "late", vec![2]).await.unwrap_err().code(), Code::Conflict);
    assert_eq!(bed.store.get(&under(1), "late").await.unwrap(), Some(vec![1]), "reading is free");
    assert_eq!(bed.store.purge(&under(2), bed.now()).await.unwrap(), 3, "all of it was still there");
}
