//! What the arms share whose database is a server: who may come in and for how long they wait, what is
//! counted, what is known of its health, and where it is.
//!
//! How a transaction is opened, asked and ended over the wire is each arm's own.

mod address;
mod condition;
mod front;
mod privacy;
mod silence;
mod trouble;

pub(super) use address::in_brackets;
pub use address::{BadAddress, ServerAddress};
pub(super) use front::{Ask, CLOSING, Front, GRACE, Kind, lane};
pub(super) use privacy::{Privacy, is_here};
pub(super) use silence::Silence;
pub(super) use trouble::Trouble;
