//! How PostgreSQL is used.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Client, ConfigConnectImpl, Connect, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use inkstone_core::clock::SharedClock;
use inkstone_core::{Error, Result};
use rustls::ClientConfig;
use tokio_postgres::{CancelToken, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::PostgresAddress;
use super::hosts::Hosts;
use super::lines::Lines;
use super::words;

/// How statements are planned. Plans must not depend on the values, statements this small gain nothing from
/// JIT, and each finds what it wants by an index, row after row: a test looks at all of them. Left
/// alone, the server takes a list that comes as JSON for a hundred values, and rather reads a table of
/// ten thousand rows from one end to the other than look that many up.
const PLANS: &str = "-c plan_cache_mode=force_generic_plan -c jit=off -c max_parallel_workers_per_gather=0 \
     -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

/// How to use a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where it is.
    pub address: PostgresAddress,
    /// For deadlines and durations.
    pub clock: SharedClock,
    /// Reads that run at once, at least one. Each may have a connection of its own; those of one statement share an eighth as many,
    /// or two. Writes have one more.
    pub readers: u32,
    /// Reads that may wait for their turn; one more is refused.
    pub read_queue: usize,
    /// Writes that may wait for their turn; one more is refused.
    pub write_queue: usize,
    /// The most units of work that share one transaction, up to 64.
    pub group_max: usize,
    /// How long a transaction takes in further units: whoever came first waits for all of them.
    pub group_time: Duration,
    /// There is a pooler in between that gives each transaction another connection, such as
    /// PgBouncer in transaction mode: nothing is kept prepared, nothing is set for a session.
    pub pooler: bool,
    /// How long a connection may take to be made; of several hosts, each has its share of it.
    pub connect_timeout: Duration,
    /// The longest that a write may take or pause, once it has begun: nobody else writes meanwhile.
    pub write_timeout: Duration,
    /// A unit of work that ran for so long is logged.
    pub slow: Duration,
}

impl PostgresOptions {
    /// The defaults for an address.
    pub fn new(address: PostgresAddress, clock: SharedClock) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self {
            address,
            clock,
            readers: u32::try_from(cores.max(2) * 8).unwrap_or(u32::MAX).min(32),
            read_queue: 1024,
            write_queue: 1024,
            group_max: 64,
            group_time: Duration::from_millis(100),
            pooler: false,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            slow: Duration::from_millis(500),
        }
    }

    /// The settings of each connection. No statement runs for longer than `limit`, unless told otherwise.
    fn config(&self, limit: Option<Duration>) -> Config {
        let mut config = self.address.config().clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.connect_timeout);
        }
        if !self.pooler && config.get_options().is_none() {
            // A process that was stopped must not hold a snapshot for ever.
            let limit = limit.unwrap_or_default().as_millis();
            config.options(format!("{PLANS} -c idle_in_transaction_session_timeout=60s -c statement_timeout={limit}"));
        }
        config
    }

    /// What encrypts the connection, if anything does.
    fn tls(&self) -> Option<MakeRustlsConnect> {
        let keys: Option<&Arc<ClientConfig>> = self.address.tls();
        keys.map(|keys| MakeRustlsConnect::new((**keys).clone()))
    }

    /// One connection; or why there is none, in words for the operator.
    pub(crate) async fn single(&self) -> Result<Client, String> {
        let limit = Some(self.connect_timeout);
        let pool = self.pool(1, None).map_err(|error| error.to_string())?;
        let client = pool.timeout_get(&Timeouts { wait: limit, create: limit, recycle: limit }).await;
        client.map_err(|error| match error {
            PoolError::Backend(error) => words(&error),
            PoolError::Timeout(_) => format!("no connection within {:?}", self.connect_timeout),
            error => error.to_string(),
        })
    }

    /// Asks the server to end what a connection is at.
    pub(super) async fn cancel(&self, token: CancelToken) {
        let asked = match self.tls() {
            Some(tls) => token.cancel_query(tls).await,
            None => token.cancel_query(NoTls).await,
        };
        if let Err(error) = asked {
            tracing::debug!(error = %words(&error), "the server cannot be asked to end a statement");
        }
    }

    /// A pool of so many connections, which are made when they are needed.
    pub(super) fn pool(&self, connections: usize, limit: Option<Duration>) -> Result<Pool> {
        let config = self.config(limit);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.clone(), self.hosts(&config), recycling);
        Pool::builder(manager).max_size(connections).runtime(Runtime::Tokio1).build().map_err(Error::internal)
    }

    /// Connections that reads share.
    pub(super) fn lines(&self, limit: Duration) -> Lines {
        let (config, most) = (self.config(Some(limit)), self.readers.div_ceil(8).max(2) as usize);
        Lines::new(self.hosts(&config), config, most, self.connect_timeout, self.clock.clone())
    }

    fn hosts(&self, config: &Config) -> Hosts {
        let connect: Box<dyn Connect> = match self.tls() {
            Some(tls) => Box::new(ConfigConnectImpl { tls }),
            None => Box::new(ConfigConnectImpl { tls: NoTls }),
        };
        Hosts::new(connect, config, self.connect_timeout)
    }
}
