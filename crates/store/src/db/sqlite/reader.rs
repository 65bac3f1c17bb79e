//! A reader thread.

use std::sync::Arc;

use inkstone_core::{Code, Error};

use crate::db::Conn;
use crate::db::job::{Job, Ran};
use crate::db::slow;

use super::connection::{Link, Role};
use super::trouble::trouble_of;
use super::{Shared, job, too_late};

/// Serves reads until the queue is closed and empty.
pub(super) fn run(shared: &Arc<Shared>, conn: Conn) {
    let mut conn = Some(conn);
    while let Some(job) = shared.reads.pop() {
        let now = shared.options.clock.instant();
        if job.is_abandoned() {
            shared.counters.readers.dropped.add(1);
            continue;
        }
        if job.deadline().remaining(now).is_zero() {
            shared.counters.readers.dropped.add(1);
            job.refuse(too_late());
            continue;
        }
        let name = job.name();
        let ran;
        (conn, ran) = serve(shared, conn, job);
        let took = shared.options.clock.instant().saturating_duration_since(now);
        shared.counters.readers.busy.add_time(took);
        if took >= shared.options.slow {
            slow::warn(name, "read", took, ran != Ran::Done);
        }
    }
}

/// Runs one read on one snapshot. Gives the connection back, unless it is beyond use, and what came of the read.
fn serve(shared: &Shared, conn: Option<Conn>, mut job: Box<dyn Job>) -> (Option<Conn>, Ran) {
    let lane = &shared.counters.readers;
    lane.jobs.add(1);
    let mut conn = match conn.map_or_else(|| Link::open(&shared.options, Role::Reader).map(Conn::sqlite), Ok) {
        Ok(conn) => conn,
        Err(error) => {
            tracing::error!(error = %error, "a reader's connection cannot be opened");
            lane.failed.add(1);
            job.refuse(unreadable());
            return (None, Ran::Failed);
        }
    };
    conn.link().set_deadline(Some(job.deadline()));
    if let Err(error) = conn.link().control("begin") {
        tracing::error!(error = %error, db.unit = job.name(), "a read cannot begin");
        lane.failed.add(1);
        if let Some(trouble) = trouble_of(&error) {
            shared.stop_writing_after(trouble, &error.to_string());
        }
        job.refuse(unreadable());
        return (None, Ran::Failed);
    }
    let ran = job::run(&mut *job, &mut conn);
    match ran {
        Ran::Done => {}
        Ran::Failed => lane.failed.add(1),
        Ran::Panicked => {
            lane.failed.add(1);
            lane.panicked.add(1);
        }
    }
    conn.link().set_deadline(None);
    // An interrupted or broken statement may have ended the transaction by itself.
    let ended = if conn.link().is_idle() { Ok(()) } else { conn.link().control("rollback") };
    if let Some((trouble, text)) = conn.link().take_trouble() {
        shared.stop_writing_after(trouble, &text);
    }
    job.reply();
    match ended {
        Ok(()) => (Some(conn), ran),
        Err(error) => {
            tracing::error!(error = %error, "a read cannot end; its connection is opened anew");
            (None, ran)
        }
    }
}

fn unreadable() -> Error {
    Error::try_later(Code::Unavailable, "The database cannot be read.", std::time::Duration::from_secs(5))
}
