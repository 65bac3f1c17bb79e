//! What happens beside the requests: following the changes, and regular tasks.
//!
//! * [`Relay`] hands every committed change, in order, to a [`Consumer`]: so the cache of this
//!   process learns what other processes have written.
//! * [`Periodic`] runs a [`Job`] now and then: removing what has expired, rotating keys. Inside of a
//!   [`Leased`], one node does it for all, and one that lost its lease writes nothing any more.
//! * [`Workers`] keeps both going and ends them when the server stops.
//!
//! To add a regular task: implement [`Job`] in [`jobs`], and start it where the program is put
//! together; under a lease, if what it does is done for all nodes. To add something that follows the changes: implement [`Consumer`], and give its relay
//! a name of its own if it must not miss a change while the program is down.

use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::SharedClock;
use inkstone_core::context::{Context, Deadline};

mod backoff;
pub mod consumers;
pub mod jobs;
mod leased;
mod periodic;
mod relay;
mod workers;

pub use leased::{Leased, Leases};
pub use periodic::{Job, Periodic};
pub use relay::{Consumer, Relay, RelaySettings, Resume};
pub use tokio_util::sync::CancellationToken;
pub use workers::Workers;

/// A context for work that nobody asked for: the operator's, with a deadline.
fn context(clock: &SharedClock, task: &str, deadline: Duration) -> Context {
    Context::new(Caller::Operator, task, Deadline::at(clock.instant() + deadline))
}
