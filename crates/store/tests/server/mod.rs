//! What every database does that is a server, each through `crate::backend`.

pub(crate) mod bed;
mod executor;
mod fitting;
pub(crate) mod migrations;
mod order;
mod trouble;
