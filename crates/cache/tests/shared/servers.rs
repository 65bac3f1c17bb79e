//! Real servers as tiers.

use std::sync::Arc;
use std::time::Duration;

use inkstone_cache::{Address, Remote};
use inkstone_core::clock::{SharedClock, SystemClock};
use inkstone_testkit::PATIENCE;
use inkstone_testkit::services::{Memcached, Process, Redis};

/// A server of the test's own.
pub(crate) enum Server {
    Redis(Redis),
    Memcached(Memcached),
}

impl Server {
    pub(crate) fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    pub(crate) fn memcached() -> Self {
        Self::Memcached(Memcached::start())
    }

    /// With which it is hurt.
    pub(crate) fn process(&self) -> &Process {
        match self {
            Self::Redis(redis) => redis.process(),
            Self::Memcached(memcached) => memcached.process(),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::Memcached(memcached) => format!("memcached://{}", memcached.address()),
        }
    }

    /// The tier that it is, without a deadline of its own that a busy machine could miss.
    pub(crate) fn remote(&self) -> Arc<dyn Remote> {
        self.remote_within(Duration::from_secs(2))
    }

    pub(crate) fn remote_within(&self, patience: Duration) -> Arc<dyn Remote> {
        open(&self.url().parse().unwrap(), patience)
    }

    /// The tier as a node has it that goes by this clock.
    pub(crate) fn remote_by(&self, clock: SharedClock) -> Arc<dyn Remote> {
        self.url().parse::<Address>().unwrap().open(PATIENCE, clock)
    }
}

/// The tier at this address, by the machine's clock.
pub(crate) fn open(address: &Address, patience: Duration) -> Arc<dyn Remote> {
    address.open(patience, Arc::new(SystemClock))
}

/// Waits until the tier answers: its connection is made when it is first wanted.
pub(crate) async fn connected(remote: Arc<dyn Remote>) -> Arc<dyn Remote> {
    for _ in 0..3000 {
        if remote.ping().await.is_ok() {
            return remote;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{remote:?} does not answer: {:?}", remote.ping().await);
}
