//! The outbox: every change, in the one order in which changes were committed.

use async_trait::async_trait;
use inkstone_core::events::{ChangeFeed, Entity, Event, Look, Mark, RecordedEvent, ServerRun};
use inkstone_core::{Context, Error, Result};
use jiff::Timestamp;

use crate::db::{Conn, Dialect, FromRow, Row, Statement, Variant};
use crate::purge::{Trimmed, count_old};
use crate::store::{Journal, Store, json_list};

/// Not a sequence: its numbers would be given out in another order than commits happen, and a
/// reader that had seen 8 would never look at 7 again.
const NEXT_CHANGE: Statement =
    Statement { name: "outbox.next_change", sql: "update counters set value = value + 1 where name = 'change_seq'" };

const INSERT: Statement = Statement {
    name: "outbox.insert",
    sql: "insert into outbox (change_seq, event_id, kind, subject, entities, payload, request_id, at)
          select c.value, $1, $2, $3, $4, $5, $6, $7
          from counters c
          where c.name = 'change_seq'
          returning change_seq",
};

/// Events, and beside each which run of which server tells of it.
macro_rules! after {
    ($server_run:literal) => {
        concat!(
            "select change_seq, kind, entities, at, ",
            $server_run,
            " from outbox
          where change_seq > $1
          order by change_seq
          limit $2"
        )
    };
}

/// Of SQLite there is none but this process.
const AFTER: Statement = Statement { name: "outbox.after", sql: after!("0") };

/// A server that takes over was not started in the same microsecond. (What tells a takeover from a restart, the timeline, not
/// everybody may ask for.)
const AFTER_ON_POSTGRES: Statement = Statement {
    name: "outbox.after",
    sql: after!("cast(extract(epoch from pg_postmaster_start_time()) * 1000000 as bigint)"),
};

pub(crate) const LATEST: Statement =
    Statement { name: "outbox.latest", sql: "select value from counters where name = 'change_seq'" };

/// How far the database is, and the change of a number that it shows, by which histories are told apart.
pub(crate) const STANDING: Statement = Statement {
    name: "outbox.standing",
    sql: "select c.value, o.at
          from counters c
          left join outbox o on o.change_seq = $1
          where c.name = 'change_seq'",
};

const CURSOR: Statement =
    Statement { name: "outbox.cursor", sql: "select change_seq from outbox_cursors where consumer = $1" };

/// A cursor never goes back, whoever writes late.
const ADVANCE: Statement = Statement {
    name: "outbox.advance",
    sql: "insert into outbox_cursors (consumer, change_seq)
          values ($1, $2)
          on conflict (consumer) do update
          set change_seq = excluded.change_seq
          where outbox_cursors.change_seq < excluded.change_seq",
};

/// MySQL gives nothing back.
pub(crate) const MARIADB: &[Variant] = &[
    Variant {
        name: "outbox.insert",
        sql: &[
            "insert into outbox (change_seq, event_id, kind, subject, entities, payload, request_id, at)
          select c.value, $1, $2, $3, $4, $5, $6, $7
          from counters c
          where c.name = 'change_seq'",
            "select value from counters where name = 'change_seq'",
        ],
    },
    // No two servers of one replication have the same. It stays when the server is started anew.
    Variant { name: "outbox.after", sql: &[after!("cast(@@global.server_id as signed)")] },
    Variant {
        name: "outbox.advance",
        sql: &["insert into outbox_cursors (consumer, change_seq)
          values ($1, $2)
          on duplicate key update change_seq = greatest(change_seq, values(change_seq))"],
    },
];

const SLOWEST: Statement = Statement { name: "outbox.slowest", sql: "select min(c.change_seq) from outbox_cursors c" };

const OLDEST: Statement = Statement {
    name: "outbox.oldest",
    sql: "select o.change_seq, o.at
          from outbox o
          where o.change_seq <= $1
          order by o.change_seq
          limit $2",
};

const TRIM: Statement = Statement { name: "outbox.trim", sql: "delete from outbox where change_seq <= $1" };

pub(crate) const STATEMENTS: &[&Statement] =
    &[&NEXT_CHANGE, &INSERT, &AFTER, &LATEST, &STANDING, &CURSOR, &ADVANCE, &SLOWEST, &OLDEST, &TRIM];

pub(crate) async fn insert(conn: &mut Conn, journal: &Journal, event: &Event) -> Result<()> {
    let mut random = [0; 10];
    journal.entropy.fill(&mut random)?;
    let event_id = uuid_v7(journal.now, random);
    let entities: Vec<String> = event.entities.iter().map(Entity::to_string).collect();
    conn.execute_later(&NEXT_CHANGE, &[]).await?;
    let change_seq: i64 = conn
        .fetch_one(
            &INSERT,
            &[
                (&event_id).into(),
                event.kind.into(),
                (&event.subject.to_string()).into(),
                (&json_list(&entities)?).into(),
                (&event.payload.to_string()).into(),
                (&journal.request_id).into(),
                journal.now.into(),
            ],
        )
        .await?;
    // The time as it is kept, so that it is the same when it is read.
    let at = Timestamp::from_microsecond(journal.now.as_microsecond()).map_err(Error::internal)?;
    conn.note_written(Mark { change_seq, at: Some(at) }, &event.entities);
    Ok(())
}

/// Removes some of the oldest changes, as far as they were made by `until` and are passed by all. Never the
/// newest one, nor the newest that is as old as that: by it those who follow know that the history is still
/// theirs, also if they have not seen yet what came after it.
pub(crate) async fn trim(conn: &mut Conn, until: Timestamp, passed: i64, most: u32) -> Result<Trimmed> {
    let slowest: Option<i64> = conn.fetch_one(&SLOWEST, &[]).await?;
    let latest: i64 = conn.fetch_one(&LATEST, &[]).await?;
    let bound = slowest.unwrap_or(passed).min(passed).saturating_add(1).min(latest);
    let rows: Vec<(i64, Timestamp)> = conn.fetch_all(&OLDEST, &[bound.into(), (most + 1).into()]).await?;
    let old = count_old(&rows, until);
    let Some((last, _)) = old.checked_sub(2).and_then(|place| rows.get(place)) else { return Ok(Trimmed::NOTHING) };
    let removed = conn.execute(&TRIM, &[(*last).into()]).await?;
    Ok(Trimmed { removed, there_is_more: old > most as usize })
}

/// A UUID of version 7 (RFC 9562 §5.7): 48 bits of milliseconds, then randomness.
fn uuid_v7(at: Timestamp, random: [u8; 10]) -> String {
    let millis = at.as_millisecond().max(0).to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis[2..]);
    bytes[6..].copy_from_slice(&random);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

struct EventRow(RecordedEvent, ServerRun);

impl FromRow for EventRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let entities: Vec<String> =
            serde_json::from_str(row.str(2)?).map_err(|_| row.bad(2, "is not a list of entities"))?;
        let event = RecordedEvent {
            change_seq: row.int(0)?,
            kind: row.text(1)?,
            // A newer release may have written kinds of entities that this one does not know.
            entities: entities.iter().filter_map(|text| Entity::parse(text)).collect(),
            at: row.time(3)?,
        };
        Ok(Self(event, ServerRun(row.int(4)?)))
    }
}

#[async_trait]
impl ChangeFeed for Store {
    async fn look_after(&self, ctx: &Context, change_seq: i64, limit: u32) -> Result<Look> {
        let after = if self.db().dialect() == Dialect::Postgres { &AFTER_ON_POSTGRES } else { &AFTER };
        let rows: Vec<EventRow> = self
            .db()
            .read(ctx, after.name, move |conn| {
                Box::pin(async move { conn.fetch_all(after, &[change_seq.into(), limit.into()]).await })
            })
            .await?;
        let server_run = rows.first().map(|row| row.1);
        Ok(Look { events: rows.into_iter().map(|row| row.0).collect(), server_run })
    }

    async fn latest_change(&self, ctx: &Context) -> Result<i64> {
        self.db().read(ctx, "outbox.latest", |conn| Box::pin(async move { conn.fetch_one(&LATEST, &[]).await })).await
    }

    async fn cursor(&self, ctx: &Context, consumer: &str) -> Result<Option<i64>> {
        let consumer = consumer.to_owned();
        self.db()
            .read(ctx, "outbox.cursor", move |conn| {
                Box::pin(async move { conn.fetch_optional(&CURSOR, &[(&consumer).into()]).await })
            })
            .await
    }

    async fn advance_cursor(&self, ctx: &Context, consumer: &str, change_seq: i64) -> Result<()> {
        let consumer = consumer.to_owned();
        self.db()
            .write(ctx, "outbox.advance", move |conn| {
                Box::pin(async move {
                    conn.execute(&ADVANCE, &[(&consumer).into(), change_seq.into()]).await?;
                    Ok(())
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_a_uuid_of_version_7_and_begins_with_its_time() {
        let at = Timestamp::from_millisecond(0x0180_0102_0304).unwrap();
        assert_eq!(uuid_v7(at, [0xff; 10]), "01800102-0304-7fff-bfff-ffffffffffff");
        assert_eq!(uuid_v7(at, [0; 10]), "01800102-0304-7000-8000-000000000000");
    }
}
