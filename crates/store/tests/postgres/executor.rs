//! Units of work on PostgreSQL.

use inkstone_store::db::{Statement, constraint_of};

use crate::bed::{Bed, NOTE_TEXTS, add, ctx};

const PUT_NOTE: Statement = Statement { name: "notes.put", sql: "insert into notes (text) values ($1)" };
const SNAPSHOT: Statement = Statement {
    name: "test.snapshot",
    sql: "select current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only')",
};

#[tokio::test]
async fn a_statement_that_stands_apart_has_no_transaction_and_what_follows_has_one() {
    let within = "repeatable read on";
    // Behind a pooler only the transaction bounds what a statement takes.
    for (bed, apart) in [(Bed::new(), "read committed off"), (Bed::pooled(), within)] {
        let settings = bed.read(ctx(), |conn| {
            Box::pin(async move {
                let mut seen: Vec<String> = conn.fetch_apart(&SNAPSHOT, &[]).await?;
                seen.extend(conn.fetch_apart::<String>(&SNAPSHOT, &[]).await?);
                seen.push(conn.fetch_one(&SNAPSHOT, &[]).await?);
                // Too late to stand apart.
                seen.extend(conn.fetch_apart::<String>(&SNAPSHOT, &[]).await?);
                Ok(seen)
            })
        });
        assert_eq!(settings.await.unwrap(), [apart, apart, within, within]);
        // In a write it sees what the unit has written.
        let texts = bed.write(ctx(), |conn| {
            Box::pin(async move {
                add(conn, "one").await?;
                conn.fetch_apart::<String>(&NOTE_TEXTS, &[]).await
            })
        });
        assert_eq!(texts.await.unwrap(), ["one"]);
    }
}

#[tokio::test]
async fn what_is_put_off_happens_before_what_follows_and_by_the_end_of_the_unit() {
    for bed in [Bed::new(), Bed::pooled()] {
        let seen = bed.write(ctx(), |conn| {
            Box::pin(async move {
                conn.execute_later(&PUT_NOTE, &["one".into()]).await?;
                conn.execute_later(&PUT_NOTE, &["two".into()]).await?;
                let seen = conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?;
                for number in 3..50 {
                    conn.execute_later(&PUT_NOTE, &[(&number.to_string()).into()]).await?;
                }
                Ok(seen)
            })
        });
        assert_eq!(seen.await.unwrap(), ["one", "two"]);
        let mut wanted = vec!["one".to_owned(), "two".to_owned()];
        wanted.extend((3..50).map(|number| number.to_string()));
        assert_eq!(bed.texts().await, wanted, "in their order");
        let next = bed.write(ctx(), |conn| {
            Box::pin(async move {
                conn.execute_later(&PUT_NOTE, &["new".into()]).await?;
                conn.execute_later(&PUT_NOTE, &["one".into()]).await?;
                conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await
            })
        });
        let end = bed.write(ctx(), |conn| {
            Box::pin(async move {
                conn.execute_later(&PUT_NOTE, &["new".into()]).await?;
                conn.execute_later(&PUT_NOTE, &["one".into()]).await
            })
        });
        for broken in [next.await.unwrap_err(), end.await.unwrap_err()] {
            assert!(constraint_of(&broken).unwrap().is_unique("notes_text_key"), "{broken:?}");
            assert!(format!("{broken:?}").contains("notes.put"), "the one that failed is named: {broken:?}");
        }
        assert_eq!(bed.texts().await, wanted);
    }
}
