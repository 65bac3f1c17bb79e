//! The writer thread: many units of work, one transaction, one flush to disk.
//!
//! Whatever waits is taken as one group into `begin immediate … commit`, each unit under its own
//! savepoint, so that one that fails takes only itself back. Nobody is answered before the commit
//! has returned, not even with an error: what a unit saw of the units before it is only true if
//! they were committed. A commit that fails is an error for the whole group, and the connection
//! is closed, since what state it is in is anybody's guess.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::{Code, Error, Result};
use tokio::sync::oneshot;

use crate::db::job::{Job, Ran};
use crate::db::{Conn, SqlError, slow};

use super::connection::{Link, Role};
use super::trouble::{TO_DO, Trouble, trouble_of};
use super::{Shared, cannot_open, job, too_late};

/// What the writer is asked for.
pub(super) enum Task {
    Job(Box<dyn Job>),
    Recover(oneshot::Sender<Result<()>>),
}

/// Why a group was lost.
struct Lost {
    trouble: Option<Trouble>,
    text: String,
    /// The disk gave an error while it was being committed: the log may hold all of it, and show it after the next
    /// start.
    may_be_there: bool,
}

impl Lost {
    fn of(error: &rusqlite::Error) -> Self {
        Self::of_trouble(trouble_of(error), error.to_string())
    }

    fn of_trouble(trouble: Option<Trouble>, text: String) -> Self {
        Self { trouble, text, may_be_there: false }
    }

    /// As [`Lost::of_trouble`], where it was the commit that failed.
    fn at_commit(trouble: Option<Trouble>, text: String) -> Self {
        Self { trouble, text, may_be_there: trouble == Some(Trouble::Io) }
    }

    fn to_error(&self) -> Error {
        match self.trouble {
            Some(_) if self.may_be_there => {
                let detail = "The disk gave an error while the change was being committed: it may have happened.";
                Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
            }
            Some(trouble) => trouble.to_error(),
            None => Error::internal(SqlError::new("commit", self.text.clone())),
        }
    }
}

/// Serves writes until the queue is closed and empty. Gives the connection back for [`close`].
pub(super) fn run(shared: &Arc<Shared>, conn: Conn) -> Option<Conn> {
    let mut writer = Writer { shared, conn: Some(conn), is_damaged: false };
    while let Some(tasks) = shared.writes.pop_group(shared.options.group_max.max(1)) {
        let began = shared.options.clock.instant();
        let mut group = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task {
                Task::Job(job) => group.extend(writer.admit(job)),
                Task::Recover(reply) => {
                    writer.serve(std::mem::take(&mut group));
                    let _ = reply.send(writer.recover());
                }
            }
        }
        writer.serve(group);
        writer.checkpoint_if_due();
        shared.counters.writer.busy.add_time(shared.options.clock.instant().saturating_duration_since(began));
    }
    writer.conn
}

/// Empties the write-ahead log and closes the connection.
pub(super) fn close(mut conn: Conn) -> Result<()> {
    let copied = conn.link().checkpoint("truncate");
    conn.into_link().close().map_err(Error::internal)?;
    match copied {
        Ok(_) => Ok(()),
        Err((_, text)) => Err(Error::internal(SqlError::new("db.close", text))),
    }
}

struct Writer<'s> {
    shared: &'s Shared,
    conn: Option<Conn>,
    /// The whole database was looked at, and is not sound.
    is_damaged: bool,
}

impl Writer<'_> {
    /// Drops what nobody waits for any more.
    fn admit(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        if job.is_abandoned() {
            self.shared.counters.writer.dropped.add(1);
            return None;
        }
        if job.deadline().remaining(self.shared.options.clock.instant()).is_zero() {
            self.shared.counters.writer.dropped.add(1);
            job.refuse(too_late());
            return None;
        }
        Some(job)
    }

    fn serve(&mut self, mut group: Vec<Box<dyn Job>>) {
        if group.is_empty() {
            return;
        }
        self.shared.counters.writer.jobs.add(group.len() as u64);
        match self.run_group(&mut group) {
            Ok(()) => {
                self.shared.counters.count_group(group.len() as u64);
                for job in group {
                    job.reply();
                }
            }
            Err(lost) => {
                self.shared.counters.writer.failed.add(group.len() as u64);
                for job in group {
                    job.refuse(lost.to_error());
                }
            }
        }
    }

    /// Runs a group as one transaction. Nothing of it is in the database after an error.
    fn run_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Lost> {
        if self.shared.broken().is_some() {
            return Err(Lost::of_trouble(Some(Trouble::ReadOnly), String::new()));
        }
        let mut conn = self.connection()?;
        if let Err(error) = conn.link().control("begin immediate") {
            let lost = Lost::of(&error);
            self.give_up_on(conn, &lost);
            return Err(lost);
        }
        let mut failed = 0;
        for job in group.iter_mut() {
            match self.run_job(&mut conn, job) {
                Ok(Ran::Done) => {}
                Ok(Ran::Failed | Ran::Panicked) => failed += 1,
                Err(lost) => {
                    self.give_up_on(conn, &lost);
                    return Err(lost);
                }
            }
        }
        let began = self.shared.options.clock.instant();
        let committed = conn.link().commit();
        self.shared.counters.committing.add_time(self.shared.options.clock.instant().saturating_duration_since(began));
        match committed {
            Ok(()) => {
                self.shared.counters.writer.failed.add(failed);
                self.conn = Some(conn);
                Ok(())
            }
            Err((trouble, text)) => {
                self.shared.counters.commit_errors.add(1);
                let lost = Lost::at_commit(trouble, text);
                self.give_up_on(conn, &lost);
                Err(lost)
            }
        }
    }

    /// Runs one unit of work under a savepoint. An error means that the whole transaction is lost.
    fn run_job(&self, conn: &mut Conn, job: &mut Box<dyn Job>) -> Result<Ran, Lost> {
        conn.link().control("savepoint unit").map_err(|error| Lost::of(&error))?;
        let began = self.shared.options.clock.instant();
        let ran = job::run(&mut **job, conn);
        let took = self.shared.options.clock.instant().saturating_duration_since(began);
        if took >= self.shared.options.slow {
            slow::warn(job.name(), "write", took, ran != Ran::Done);
        }
        let trouble = conn.link().take_trouble();
        if let Some((trouble, text)) = trouble
            && (trouble.ends_writing() || conn.link().is_idle())
        {
            return Err(Lost::of_trouble(Some(trouble), text));
        }
        if conn.link().is_idle() {
            let text = format!("{} ended the transaction that it ran in", job.name());
            return Err(Lost::of_trouble(None, text));
        }
        if ran != Ran::Done {
            conn.link().control("rollback to unit").map_err(|error| Lost::of(&error))?;
        }
        if ran == Ran::Panicked {
            self.shared.counters.writer.panicked.add(1);
        }
        conn.link().control("release unit").map_err(|error| Lost::of(&error))?;
        Ok(ran)
    }

    fn connection(&mut self) -> Result<Conn, Lost> {
        if let Some(conn) = self.conn.take() {
            return Ok(conn);
        }
        self.shared.counters.reopened.add(1);
        Link::open(&self.shared.options, Role::Writer).map(Conn::sqlite).map_err(|error| {
            tracing::error!(error = %error, "the writer's connection cannot be opened");
            Lost::of(&error)
        })
    }

    /// Closes a connection, which takes its transaction back, and stops writing if the disk is to blame.
    fn give_up_on(&mut self, conn: Conn, lost: &Lost) {
        let trouble = lost.trouble.map(|trouble| format!("{trouble:?}"));
        let became = if lost.may_be_there { "may have been committed" } else { "was taken back" };
        tracing::warn!(error = %lost.text, db.trouble = trouble, "a transaction {became}; its callers were told");
        if let Err(error) = conn.into_link().close() {
            tracing::error!(error = %error, "the writer's connection cannot be closed");
        }
        if let Some(trouble) = lost.trouble {
            self.shared.stop_writing_after(trouble, &lost.text);
        }
    }

    /// Copies the log into the database between two groups, when nobody waits for an answer.
    fn checkpoint_if_due(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let (pages, due) = (conn.link().log_pages(), self.shared.options.checkpoint_pages.max(1));
        self.shared.counters.log_pages.set(pages as u64);
        if pages < due {
            return;
        }
        // Readers that never pause let the log grow: past a bound, new ones are made to wait.
        let mode = if pages < due.saturating_mul(16) { "passive" } else { "restart" };
        self.shared.counters.checkpoints.add(1);
        let Err((trouble, text)) = conn.link().checkpoint(mode) else { return };
        self.shared.counters.checkpoint_errors.add(1);
        tracing::warn!(error = %text, "the write-ahead log could not be copied into the database");
        if let Some(trouble) = trouble {
            self.shared.stop_writing_after(trouble, &text);
        }
    }

    /// Starts afresh with what is on the disk, if that is sound and the disk takes writes again.
    fn recover(&mut self) -> Result<()> {
        // What has been found to be damaged does not heal, and looking takes time.
        if self.is_damaged {
            return Err(Trouble::Corrupt.to_error());
        }
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.into_link().close()
        {
            tracing::warn!(error = %error, "the writer's connection cannot be closed");
        }
        self.shared.counters.reopened.add(1);
        let mut link = Link::open(&self.shared.options, Role::Writer)
            .map_err(|error| cannot_open(&self.shared.options, &error))?;
        let faults = link.integrity_check().map_err(|error| Lost::of(&error).to_error())?;
        if let Some(first) = faults.first() {
            tracing::error!(fault = %first, db.faults = faults.len(), "the database is not sound: {TO_DO}");
            self.is_damaged = true;
            return Err(Trouble::Corrupt.to_error());
        }
        if let Err((trouble, text)) = link.checkpoint("passive") {
            return Err(Lost::of_trouble(trouble, text).to_error());
        }
        self.conn = Some(Conn::sqlite(link));
        self.shared.set_broken(None);
        tracing::info!("the store takes changes again");
        Ok(())
    }
}
