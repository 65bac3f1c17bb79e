//! Units of work on a thread, where nothing is awaited for real.

use std::task::{Context, Poll, Waker};

use inkstone_core::Error;

use crate::db::job::{Job, Ran};
use crate::db::{Conn, SqlError};

/// Does the work. Every await on a connection to SQLite is ready at once, so that one poll is the whole run.
pub(super) fn run(job: &mut dyn Job, conn: &mut Conn) -> Ran {
    if let Poll::Ready(ran) = job.run(conn).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return ran;
    }
    let text = "the unit of work awaited something other than its connection";
    job.overrule(Error::internal(SqlError::new(job.name(), text)));
    Ran::Failed
}
