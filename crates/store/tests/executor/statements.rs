//! Statements, values, rows, constraints and plans.

use std::sync::Arc;

use inkstone_core::posts::PostId;
use inkstone_core::{Code, Error};
use inkstone_store::db::check::plans_under;
use inkstone_store::db::{ConstraintKind, FromRow, Health, Row, Statement, Value, constraint_of};
use jiff::Timestamp;

use crate::bed::{ADD_NOTE, Bed, HITS, NOTE_TEXTS, SCHEMA, SET_HITS};

#[tokio::test]
async fn parameters_are_bound_by_their_number_wherever_they_stand() {
    const SWAPPED: Statement = Statement { name: "test.swapped", sql: "select $2, $1, $2, $3" };
    let bed = Bed::new();
    let row = bed.db.read(&bed.ctx, "test", |conn| {
        Box::pin(async move {
            let values = [Value::Int(1), "two".into(), None::<i64>.into()];
            conn.fetch_optional::<(String, i64, String, Option<i64>)>(&SWAPPED, &values).await
        })
    });
    assert_eq!(row.await.unwrap(), Some(("two".to_owned(), 1, "two".to_owned(), None)));
}

#[tokio::test]
async fn too_few_and_too_many_values_are_refused() {
    const ONE: Statement = Statement { name: "test.one", sql: "select $1" };
    let bed = Bed::new();
    for values in [&[][..], &[Value::Int(1), Value::Int(2)][..]] {
        let outcome = bed
            .db
            .read(&bed.ctx, "test", move |conn| Box::pin(async move { conn.fetch_all::<i64>(&ONE, values).await }));
        let text = source_of(&outcome.await.unwrap_err());
        assert!(text.contains("test.one") && text.contains("1 parameters"), "{text}");
    }
}

#[derive(Debug, PartialEq)]
struct Everything {
    id: PostId,
    text: String,
    bytes: Vec<u8>,
    flag: bool,
    at: Timestamp,
    nothing: Option<Timestamp>,
    hash: [u8; 3],
}

impl FromRow for Everything {
    fn from_row(row: &Row<'_>) -> inkstone_core::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            text: row.text(1)?,
            bytes: row.bytes(2)?,
            flag: row.bool(3)?,
            at: row.time(4)?,
            nothing: row.opt_time(5)?,
            hash: row.array(2)?,
        })
    }
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_went() {
    const ECHO: Statement = Statement { name: "test.echo", sql: "select $1, $2, $3, $4, $5, $6" };
    let bed = Bed::new();
    let at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
    let text = "naïve \u{0}\u{1F600} ' \" ; --";
    let row = bed.db.read(&bed.ctx, "test", move |conn| {
        Box::pin(async move {
            let bytes = [0_u8, 255, 1];
            let values = [PostId(7).into(), text.into(), (&bytes).into(), true.into(), at.into(), Value::Null];
            conn.fetch_one::<Everything>(&ECHO, &values).await
        })
    });
    let hash = [0, 255, 1];
    let wanted =
        Everything { id: PostId(7), text: text.to_owned(), bytes: hash.to_vec(), flag: true, at, nothing: None, hash };
    assert_eq!(row.await.unwrap(), wanted);
}

#[tokio::test]
async fn a_column_of_another_type_is_named_with_its_statement() {
    const TEXT: Statement = Statement { name: "test.text", sql: "select 1, 'x'" };
    let bed = Bed::new();
    let ctx = bed.ctx();
    let numbers =
        bed.db.read(&ctx, "test", |conn| Box::pin(async move { conn.fetch_all::<(i64, i64)>(&TEXT, &[]).await }));
    assert_eq!(source_of(&numbers.await.unwrap_err()), "statement test.text: column 1 is not a whole number");
    let more = bed.db.read(&ctx, "test", |conn| {
        Box::pin(async move { conn.fetch_all::<(i64, String, Option<i64>)>(&TEXT, &[]).await })
    });
    assert_eq!(source_of(&more.await.unwrap_err()), "statement test.text: column 2 is not in the result");
}

#[tokio::test]
async fn two_rows_where_one_belongs_are_an_error_and_leave_nothing() {
    const ADD_TWO: Statement =
        Statement { name: "notes.add_two", sql: "insert into notes (text) values ($1), ($2) returning id" };
    let bed = Bed::new();
    let outcome = bed.db.write(&bed.ctx, "test", |conn| {
        Box::pin(async move { conn.insert(&ADD_TWO, &["a".into(), "b".into()]).await })
    });
    assert!(matches!(outcome.await, Err(Error::Internal(_))));
    assert!(bed.texts().await.is_empty());
}

#[tokio::test]
async fn returning_gives_the_row_and_execute_counts_them() {
    const RENAME: Statement =
        Statement { name: "notes.rename", sql: "update notes set text = text || $1 returning id" };
    let bed = Bed::new();
    assert_eq!(bed.add("a").await.unwrap(), 1);
    assert_eq!(bed.add("b").await.unwrap(), 2);
    // Two rows come back that nobody looks at: the statement has to be run to its end all the same.
    let touched =
        bed.db.write(&bed.ctx, "test", |conn| Box::pin(async move { conn.execute(&RENAME, &["!".into()]).await }));
    assert_eq!(touched.await.unwrap(), 2);
    assert_eq!(bed.texts().await, ["a!", "b!"]);
}

#[tokio::test]
async fn constraints_are_recognised_by_name_and_the_unit_may_answer_for_itself() {
    const LINK: Statement = Statement { name: "links.add", sql: "insert into links (note, position) values ($1, $2)" };
    const WITH_ID: Statement = Statement { name: "notes.with_id", sql: "insert into notes (id, text) values ($1, $2)" };
    let bed = Bed::new();
    bed.add("taken").await.unwrap();
    let long: &str = "x".repeat(256).leak();
    let cases: [(&'static Statement, [Value<'static>; 2], ConstraintKind, &str); 6] = [
        (&ADD_NOTE, ["taken".into(), Value::Null], ConstraintKind::Unique, "notes_text_key"),
        (&ADD_NOTE, [Value::Null, Value::Null], ConstraintKind::NotNull, "notes_text_not_null"),
        (&ADD_NOTE, [long.into(), Value::Null], ConstraintKind::Check, "notes_text_length"),
        (&WITH_ID, [Value::Int(1), "other".into()], ConstraintKind::PrimaryKey, "notes_pkey"),
        (&LINK, [Value::Int(1), Value::Int(0)], ConstraintKind::Unique, "links_note_position_key"),
        (&LINK, [Value::Int(99), Value::Int(0)], ConstraintKind::ForeignKey, ""),
    ];
    let first = bed.db.write(&bed.ctx, "test", |conn| {
        Box::pin(async move { conn.execute(&LINK, &[Value::Int(1), Value::Int(0)]).await })
    });
    first.await.unwrap();
    for (statement, values, kind, name) in cases {
        let outcome = bed.db.write(&bed.ctx, "test", move |conn| {
            Box::pin(async move {
                let error = conn.fetch_all::<i64>(statement, &values).await.unwrap_err();
                let found = constraint_of(&error).cloned();
                // The refused statement changed nothing, and the unit can still commit.
                conn.execute(&SET_HITS, &[Value::Int(1)]).await?;
                Ok(found)
            })
        });
        let found = outcome.await.unwrap().unwrap();
        assert_eq!((found.kind, found.name.as_str()), (kind, name));
    }
    let hits = bed.db.read(&bed.ctx, "test", |conn| Box::pin(async move { conn.fetch_one::<i64>(&HITS, &[]).await }));
    assert_eq!(hits.await.unwrap(), 1);
    assert_eq!(bed.texts().await, ["taken"]);
}

#[tokio::test]
async fn the_meter_counts_every_statement() {
    let bed = Bed::new();
    let ctx = bed.ctx();
    let work = bed.db.read(&ctx, "test", |conn| {
        Box::pin(async move {
            conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?;
            conn.fetch_one::<i64>(&HITS, &[]).await
        })
    });
    work.await.unwrap();
    assert_eq!(ctx.meter.statements(), 2);
}

#[tokio::test]
async fn a_read_cannot_write_and_does_no_harm_by_trying() {
    let bed = Bed::new();
    let outcome =
        bed.db.read(&bed.ctx, "test", |conn| Box::pin(async move { conn.execute(&SET_HITS, &[Value::Int(1)]).await }));
    assert!(matches!(outcome.await, Err(Error::Internal(_))));
    assert_eq!(bed.db.health(), Health::Sound);
    bed.add("still writable").await.unwrap();
}

#[tokio::test]
async fn a_unit_that_awaits_something_else_fails_and_leaves_nothing() {
    let bed = Bed::new();
    let outcome = bed.db.write(&bed.ctx, "test.strays", |conn| {
        Box::pin(async move {
            crate::bed::insert_note(conn, "stray", 0).await?;
            tokio::task::yield_now().await;
            Ok(())
        })
    });
    let text = source_of(&outcome.await.unwrap_err());
    assert!(text.contains("test.strays"), "{text}");
    assert!(bed.texts().await.is_empty());
}

#[tokio::test]
async fn every_statement_of_a_read_sees_the_same_snapshot() {
    let bed = Arc::new(Bed::new());
    bed.add("before").await.unwrap();
    let (entered, gate, mut wait) = crate::bed::Gate::new();
    let (db, ctx) = (bed.db.clone(), bed.ctx());
    let read = tokio::spawn(async move {
        let work = db.read_once(&ctx, "test", move |conn| {
            Box::pin(async move {
                let first = conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?;
                wait()?;
                Ok((first, conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?))
            })
        });
        work.await.unwrap()
    });
    entered.await.unwrap();
    bed.add("between").await.unwrap();
    gate.open();
    let (first, second) = read.await.unwrap();
    assert_eq!(first, ["before"]);
    assert_eq!(second, ["before"]);
    assert_eq!(bed.texts().await, ["before", "between"]);
}

#[test]
fn plans_name_scans_and_statements_that_do_not_fit() {
    const BY_ID: Statement = Statement { name: "notes.by_id", sql: "select text from notes where id = $1" };
    const BY_BODY: Statement = Statement { name: "notes.by_body", sql: "select n.id from notes n where n.body = $1" };
    const GAP: Statement = Statement { name: "notes.gap", sql: "select text from notes where id = $1 or id = $3" };
    const MISSING: Statement = Statement { name: "notes.missing", sql: "select nothing from notes" };
    let plans = plans_under(SCHEMA, &[&BY_ID, &BY_BODY, &ADD_NOTE]).unwrap();
    assert_eq!(plans[0].scans("notes"), Vec::<&str>::new());
    assert_eq!(plans[0].columns, ["text"]);
    assert_eq!(plans[1].scans("n"), ["SCAN n"]);
    assert!(plans[0].is_read_only && !plans[2].is_read_only);
    assert_eq!(plans[2].parameters, 2);
    assert!(source_of(&plans_under(SCHEMA, &[&GAP]).unwrap_err()).contains("no $2"));
    assert!(source_of(&plans_under(SCHEMA, &[&MISSING]).unwrap_err()).contains("notes.missing"));
}

pub(crate) fn source_of(error: &Error) -> String {
    assert_eq!(error.code(), Code::Internal);
    std::error::Error::source(error).unwrap().to_string()
}
