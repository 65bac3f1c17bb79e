//! Real servers of a test's own: on free ports, in temporary directories, gone with the test.
//!
//! Every one is started from Debian's package (`./test` installs them; a missing one fails the
//! test and names its package), as an unprivileged user where the tests run as root, with an
//! environment that holds nothing of the machine's. A server ends when its value is dropped, on a
//! panic too, and also when the test process is killed: see [`crate::keeper`]. Nothing is
//! persistent beyond the test except the templates of fresh data directories under
//! `inkstone-testkit-*` in the temporary directory, which take seconds to make.
//!
//! Each has a [`Process`] with which faults are injected: [`Process::kill`], [`Process::pause`],
//! [`Process::resume`], [`Process::restart`]; for faults on the way to it see [`crate::Proxy`].
//! `shared()` is one server for the whole test process, without faults, of which each test takes
//! a database or a key space of its own.
//!
//! To add one: a file here with a [`Plan`], and a test that starts it.

mod authority;
mod haproxy;
mod mariadb;
mod memcached;
mod nginx;
mod pgbouncer;
mod ports;
mod postgres;
mod process;
mod programs;
mod redis;
mod redis_cluster;
mod sentinels;
mod template;

pub use authority::{Authority, Certified};
pub use haproxy::HaProxy;
pub use mariadb::{MariaDb, MariaDbOptions};
pub use memcached::{Memcached, MemcachedOptions};
pub use nginx::Nginx;
pub use pgbouncer::PgBouncer;
pub use ports::free_ports;
pub use postgres::{Postgres, PostgresOptions, ReplicaOptions};
pub use process::Process;
pub use redis::{Redis, RedisOptions};
pub use redis_cluster::RedisCluster;
pub use sentinels::{SentinelOptions, Sentinels};

pub(crate) use process::{Home, Plan, Ready};
pub(crate) use programs::give_away;

/// The name and the password of the one user whom every server knows.
pub const USER: &str = "inkstone";
/// See [`USER`]. A server whose options say so lets in nobody without it.
pub const PASSWORD: &str = "ink-on-stone";
