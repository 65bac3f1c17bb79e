//! Several nodes over one PostgreSQL, with and without a Redis: what holds on one of them holds on
//! all, and a node that fails, hangs, is cut off, leaves or joins changes nothing of that.

mod clock;
mod commands;
mod drain;
mod failover;
mod herd;
mod history;
mod invalidation;
mod leases;
mod sharing;
mod upgrade;

use std::time::Duration;

use inkstone_testkit::services::{Memcached, Postgres, Redis};
use inkstone_testkit::{Inkstone, Options, until};

use crate::BINARY;

/// How old an answer may be where another node has written: `cache.max_lag` of all nodes here.
const MAX_LAG: Duration = Duration::from_secs(2);

/// What nodes have in common.
#[derive(Clone, Default)]
struct Site {
    env: Vec<(String, String)>,
}

impl Site {
    /// Nodes over this database.
    fn over(database: &str) -> Self {
        // Each test says what it stands on, whatever the others are run on.
        let site = Self::default().set("STORE__URL", database).set("CACHE__SHARED__URL", "");
        let site = site.set("SERVER__PUBLIC_URL", "http://blog.example");
        // Generous: the machine that tests may be busy, and what is tested is not its speed.
        site.set("CACHE__SHARED__TIMEOUT", "2s").set("CACHE__MAX_LAG", &format!("{}ms", MAX_LAG.as_millis()))
    }

    /// Nodes over a database of their own on the shared server.
    fn fresh() -> Self {
        Self::over(&Postgres::shared().url(&Postgres::shared().database()))
    }

    /// With a cache between them, on the shared server.
    fn with_redis(self) -> Self {
        self.set("CACHE__SHARED__URL", &Redis::shared().keyspace())
    }

    /// With another one between them.
    fn with_memcached(self) -> Self {
        self.set("CACHE__SHARED__URL", &format!("memcached://{}", Memcached::shared().address()))
    }

    /// With this setting.
    fn set(mut self, name: &str, value: &str) -> Self {
        let name = format!("INKSTONE__{name}");
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    /// One more node.
    fn node(&self) -> Inkstone {
        Inkstone::start_with(BINARY, Options { env: self.env.clone(), ..Options::default() })
    }
}

/// The sum of a metric over all of its labels that begin so.
async fn metric(server: &Inkstone, name: &str) -> f64 {
    let text = server.operations().get("/metrics").await.text();
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    assert!(!values.is_empty(), "{name} is not among\n{text}");
    values.iter().sum()
}
