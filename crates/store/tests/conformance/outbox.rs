//! The outbox as its readers see it.

use inkstone_core::events::{ChangeFeed, Entity};
use inkstone_store::db::Statement;

use crate::bed::*;

conformance! {
    changes_have_one_order_without_gaps
    a_cursor_never_goes_back
    events_are_recorded_whole
}

async fn changes_have_one_order_without_gaps(bed: Bed) {
    assert_eq!(bed.latest().await, 0);
    assert!(bed.events_after(0).await.is_empty());
    let ada = bed.user("ada").await;
    let writes: Vec<_> = (0..20)
        .map(|_| {
            let (store, new) = (bed.store.clone(), bed.draft(ada.id));
            tokio::spawn(async move {
                let permit =
                    inkstone_core::posts::policy::create(&inkstone_core::access::Caller::Operator, new).unwrap();
                inkstone_core::posts::PostRepository::create(&store, &ctx(), permit, None).await.unwrap();
            })
        })
        .collect();
    for write in writes {
        write.await.unwrap();
    }
    let seqs: Vec<i64> = bed.events_after(0).await.into_iter().map(|event| event.change_seq).collect();
    assert_eq!(seqs, (1..=21).collect::<Vec<_>>());
    assert_eq!(bed.latest().await, 21);
    let some = bed.store.changes_after(&ctx(), 5, 3).await.unwrap();
    assert_eq!(some.iter().map(|event| event.change_seq).collect::<Vec<_>>(), [6, 7, 8]);
    let look = async |after| bed.store.look_after(&ctx(), after, 3).await.unwrap().server_run;
    assert!(look(5).await.is_some() && look(5).await == look(20).await, "it is the same server all the time");
    assert_eq!(look(21).await, None, "nobody tells of nothing");
}

async fn a_cursor_never_goes_back(bed: Bed) {
    let cursor = || async { bed.store.cursor(&ctx(), "mail").await.unwrap() };
    assert_eq!(cursor().await, None);
    for (advanced, expected) in [(3, 3), (7, 7), (5, 7), (7, 7), (8, 8)] {
        bed.store.advance_cursor(&ctx(), "mail", advanced).await.unwrap();
        assert_eq!(cursor().await, Some(expected));
    }
    assert_eq!(bed.store.cursor(&ctx(), "search").await.unwrap(), None);
}

async fn events_are_recorded_whole(bed: Bed) {
    static EVENTS: Statement = Statement {
        name: "test.events",
        sql: "select event_id, kind, subject, payload, request_id from outbox order by change_seq",
    };
    let ada = bed.user("ada").await;
    let post = bed.post(bed.draft(ada.id)).await;
    let events: Vec<(String, String, String, String, String)> = bed.rows(&EVENTS).await;
    assert_eq!(events.len(), 2);
    let (id, kind, subject, payload, request) = &events[1];
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "a UUID of version 7");
    assert_ne!(id, &events[0].0);
    assert_eq!(kind, "post.published");
    assert_eq!(Entity::parse(subject), Some(Entity::Post(post.id)));
    assert!(payload.contains("\"slug\":\"a-title\""), "{payload}");
    assert_eq!(request, "request-1");
}
