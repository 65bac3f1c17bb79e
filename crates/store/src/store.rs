//! The store itself, and the journal that every write keeps: audit entries and events.

use std::sync::Arc;

use inkstone_core::access::Actor;
use inkstone_core::audit::Entry;
use inkstone_core::clock::{SharedClock, SharedEntropy};
use inkstone_core::events::Event;
use inkstone_core::{Context, Error, Result};
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::db::{Conn, Db, Replicas};
use crate::{audit, outbox};

/// Every repository of the blog over one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    clock: SharedClock,
    entropy: SharedEntropy,
}

impl Store {
    /// The repositories over `db`, whose schema is up to date. `clock` decides what is public at
    /// the time of a read and dates what carries no date of its own; `entropy` names events.
    pub fn new(db: Db, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self { db, clock, entropy }
    }

    /// The same repositories, whose reads may go to replicas: see [`Db::reading_from`].
    #[must_use]
    pub fn reading_from(&self, replicas: Arc<Replicas>) -> Self {
        Self { db: self.db.reading_from(replicas), ..self.clone() }
    }

    /// The executor beneath, for health, statistics and closing.
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What a unit of work needs to write down who did what, and when.
    pub(crate) fn journal(&self, ctx: &Context) -> Journal {
        Journal {
            now: self.clock.now(),
            caller: Actor::of(&ctx.caller),
            request_id: ctx.request_id.clone(),
            entropy: self.entropy.clone(),
        }
    }
}

/// Goes into a unit of work and writes its audit entries and events in the same transaction.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// The time of the write.
    pub(crate) now: Timestamp,
    /// Who called.
    pub(crate) caller: Actor,
    pub(crate) request_id: String,
    pub(crate) entropy: SharedEntropy,
}

impl Journal {
    /// Records a deed.
    pub(crate) async fn audit(
        &self,
        conn: &mut Conn,
        actor: Actor,
        action: &'static str,
        subject: impl std::fmt::Display,
        details: Json,
    ) -> Result<()> {
        self.record(conn, &Entry { actor, action, subject: subject.to_string(), details }).await
    }

    /// Records an entry.
    pub(crate) async fn record(&self, conn: &mut Conn, entry: &Entry) -> Result<()> {
        audit::insert(conn, self, entry).await
    }

    /// Puts events into the outbox.
    pub(crate) async fn publish(&self, conn: &mut Conn, events: &[Event]) -> Result<()> {
        for event in events {
            outbox::insert(conn, self, event).await?;
        }
        Ok(())
    }
}

/// A JSON array, the one form in which a list goes into a statement.
pub(crate) fn json_list<T: serde::Serialize>(items: &[T]) -> Result<String> {
    serde_json::to_string(items).map_err(Error::internal)
}

/// What the store holds but the domain refuses: somebody wrote past the program.
pub(crate) fn stored<T>(what: &'static str, value: std::result::Result<T, inkstone_core::Fault>) -> Result<T> {
    value.map_err(|fault| Error::internal(format!("stored {what} is not valid: {}", fault.detail)))
}
