//! What the parts count, in the names of `/metrics`.

use std::sync::Arc;

use inkstone_cache::{MemoryCache, Tiered};
use inkstone_core::cache::Cache as _;
use inkstone_core::guard::Snapshot;
use inkstone_core::guard::breaker::State;
use inkstone_http::metrics::{Kind, Sample, Source};
use inkstone_http::representation::Representation;
use inkstone_http::server::{Cut, StatsHandle};
use inkstone_store::db::{GROUP_SIZE_BOUNDS, Health, Replicas};

use super::Blog;
use super::caches::Caches;

/// What the blog's own parts count.
pub(super) fn sources(blog: &Blog, caches: &Caches) -> Vec<Source> {
    let mut sources: Vec<Source> = vec![database(blog), identity(blog), guards(blog, caches)];
    if let Some(replicas) = blog.replicas.clone() {
        sources.push(Arc::new(move || replica_samples(&replicas)));
    }
    if let Some(cache) = caches.memory.clone() {
        sources.push(Arc::new(move || cache_samples(&cache)));
    }
    if let Some(shared) = caches.shared.clone() {
        sources.push(Arc::new(move || shared_samples(&shared)));
    }
    sources
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
    sample(name, help, Kind::Counter, Vec::new(), value)
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Sample {
    sample(name, help, Kind::Gauge, Vec::new(), value)
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts every one")]
fn sample(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: Vec<(&'static str, String)>,
    value: u64,
) -> Sample {
    Sample { name, help, kind, labels, value: value as f64 }
}

fn database(blog: &Blog) -> Source {
    let store = blog.store.clone();
    Arc::new(move || {
        let stats = store.db().stats();
        let (readers, writer) = (&stats.readers, &stats.writer);
        let sides = |name, help, kind, read: u64, write: u64| {
            [("read", read), ("write", write)]
                .map(|(side, value)| sample(name, help, kind, vec![("side", side.to_owned())], value))
        };
        let mut samples = Vec::new();
        let gauges = Kind::Gauge;
        let counters = Kind::Counter;
        samples.extend(sides("database_queued", "Units of work that wait", gauges, readers.queued, writer.queued));
        samples.extend(sides(
            "database_queue_capacity",
            "Units that may wait",
            gauges,
            readers.capacity,
            writer.capacity,
        ));
        samples.extend(sides("database_jobs", "Units of work done", counters, readers.jobs, writer.jobs));
        samples.extend(sides("database_failed", "Units that gave an error", counters, readers.failed, writer.failed));
        samples.extend(sides(
            "database_shed",
            "Units refused: the queue was full",
            counters,
            readers.shed,
            writer.shed,
        ));
        samples.extend(sides("database_dropped", "Units too late to begin", counters, readers.dropped, writer.dropped));
        let busy = [("read", readers.busy), ("write", writer.busy)].map(|(side, busy)| Sample {
            name: "database_busy_seconds",
            help: "Time spent on units of work",
            kind: counters,
            labels: vec![("side", side.to_owned())],
            value: busy.as_secs_f64(),
        });
        samples.extend(busy);
        samples.push(counter("database_commits", "Transactions committed", writer.groups));
        samples.push(counter("database_commit_errors", "Commits that failed", writer.commit_errors));
        samples.push(Sample {
            name: "database_committing_seconds",
            help: "Time spent in commits, flushes to disk included",
            kind: counters,
            labels: Vec::new(),
            value: writer.committing.as_secs_f64(),
        });
        let bounds = GROUP_SIZE_BOUNDS.iter().map(ToString::to_string).chain(["more".to_owned()]);
        for (bound, count) in bounds.zip(writer.group_sizes) {
            let labels = vec![("up_to", bound)];
            samples.push(sample("database_commit_units", "Commits by their units", counters, labels, count));
        }
        samples.push(counter("database_reopened", "Connections opened anew after an error", writer.reopened));
        samples.push(counter("database_checkpoints", "Checkpoints tried", writer.checkpoints));
        samples.push(counter("database_checkpoint_errors", "Checkpoints that failed", writer.checkpoint_errors));
        samples.push(gauge("database_log_pages", "Pages in the write-ahead log", writer.log_pages));
        let writes = u64::from(store.db().health() == Health::Sound);
        samples.push(gauge("database_writable", "1 while writes are taken", writes));
        samples
    })
}

fn replica_samples(replicas: &Replicas) -> Vec<Sample> {
    let stats = replicas.stats();
    let mut samples = Vec::new();
    for replica in &stats.replicas {
        let name = || vec![("replica", replica.name.clone())];
        let lag = Sample {
            name: "database_replica_lag_seconds",
            help: "For how long a replica has lacked a change that this process knows of",
            kind: Kind::Gauge,
            labels: name(),
            value: replica.lag.as_secs_f64(),
        };
        samples.push(lag);
        let mut push = |metric, help, kind, value| samples.push(sample(metric, help, kind, name(), value));
        let is_read = u64::from(replica.trouble.is_none());
        push("database_replica_usable", "1 while a replica is read from", Kind::Gauge, is_read);
        push("database_replica_behind", "Reads for which a replica lacked a change", Kind::Counter, replica.behind);
        push("database_replica_failed", "Reads that a replica failed to answer", Kind::Counter, replica.failed);
    }
    let by_replicas = stats.replicas.iter().map(|replica| replica.reads).sum();
    for (target, count) in [("replica", by_replicas), ("primary", stats.primary_reads)] {
        let labels = vec![("target", target.to_owned())];
        samples.push(sample("database_public_reads", "Public reads, by where", Kind::Counter, labels, count));
    }
    samples
}

fn identity(blog: &Blog) -> Source {
    let identity = blog.identity.clone();
    Arc::new(move || {
        let stats = identity.hashing_stats();
        vec![
            counter("passwords_hashed", "Passwords hashed", stats.hashed),
            counter("passwords_verified", "Passwords compared with a hash", stats.verified),
            gauge("password_hashing_in_use", "Turns taken or waited for", stats.in_use as u64),
        ]
    })
}

fn cache_samples(cache: &MemoryCache<Representation>) -> Vec<Sample> {
    let stats = cache.stats();
    let lookups = [("hit", stats.hits), ("stale", stats.stale_hits), ("miss", stats.misses)];
    let mut samples = lookups
        .map(|(outcome, count)| {
            sample("cache_lookups", "Lookups", Kind::Counter, vec![("outcome", outcome.to_owned())], count)
        })
        .to_vec();
    samples.push(counter("cache_evictions", "Entries thrown out to make room", stats.evictions));
    samples.push(counter("cache_refused", "Entries not taken in", stats.refused_puts));
    samples.push(counter("cache_invalidations", "Entities named by invalidations", stats.invalidations));
    samples.push(counter("cache_joined", "Waits for a load of somebody else", stats.joined_loads));
    samples.push(gauge("cache_bytes", "What the entries weigh", stats.bytes));
    samples.push(gauge("cache_entries", "Entries", stats.entries));
    samples
}

fn shared_samples(shared: &Tiered<Representation>) -> Vec<Sample> {
    let stats = shared.shared_stats();
    let lookups = [
        ("hit", stats.hits),
        ("miss", stats.misses),
        ("outdated", stats.outdated),
        ("unknown", stats.unknown),
        ("ahead", stats.ahead),
        ("corrupt", stats.corrupt),
        ("unavailable", stats.unavailable),
    ];
    let mut samples = lookups
        .map(|(outcome, count)| {
            let labels = vec![("outcome", outcome.to_owned())];
            sample("shared_cache_lookups", "Lookups in the shared cache", Kind::Counter, labels, count)
        })
        .to_vec();
    samples.push(counter("shared_cache_puts", "Answers put into the shared cache", stats.puts));
    samples.push(counter("shared_cache_dropped_puts", "Answers not put there", stats.dropped_puts));
    samples.push(counter("shared_cache_heard", "Announcements of changes heard", stats.heard));
    samples
}

/// What the guards before the dependencies saw.
fn guards(blog: &Blog, caches: &Caches) -> Source {
    let (store, shared, replicas) = (blog.store.clone(), caches.shared.clone(), blog.replicas.clone());
    Arc::new(move || {
        let mut guards = store.db().guards();
        guards.extend(replicas.iter().flat_map(|replicas| replicas.guards()));
        guards.extend(shared.iter().map(|shared| ("shared_cache".to_owned(), shared.guard())));
        guard_samples(&guards)
    })
}

/// All of one name stand together.
fn guard_samples(guards: &[(String, Snapshot)]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut labelled = |name, help, kind, label: &'static str, values: fn(&Snapshot) -> Vec<(&'static str, u64)>| {
        for (dependency, seen) in guards {
            for (of, value) in values(seen) {
                let labels = vec![("dependency", dependency.clone()), (label, of.to_owned())];
                samples.push(sample(name, help, kind, labels, value));
            }
        }
    };
    labelled("guard_state", "1 for the state of the breaker", Kind::Gauge, "state", |seen| {
        State::ALL.map(|state| (state.as_str(), u64::from(seen.state == state))).to_vec()
    });
    labelled("guard_transitions", "Changes of state of the breaker", Kind::Counter, "to", |seen| {
        vec![
            ("open", seen.transitions.opened),
            ("open_again", seen.transitions.reopened),
            ("half-open", seen.transitions.half_opened),
            ("closed", seen.transitions.closed),
        ]
    });
    labelled("guard_refused", "Calls that were not made", Kind::Counter, "reason", |seen| {
        vec![("open", seen.refused_open), ("full", seen.refused_full)]
    });
    let mut push = |name, help, kind, value: fn(&Snapshot) -> u64| {
        for (dependency, seen) in guards {
            samples.push(sample(name, help, kind, vec![("dependency", dependency.clone())], value(seen)));
        }
    };
    push("guard_calls", "Calls to a dependency", Kind::Counter, |seen| seen.calls);
    push("guard_failures", "Tries that failed by the dependency's fault", Kind::Counter, |seen| seen.failures);
    push("guard_timeouts", "Tries that took too long", Kind::Counter, |seen| seen.timeouts);
    push("guard_retries", "Tries after the first", Kind::Counter, |seen| seen.retries);
    push("guard_retries_denied", "Retries beyond the budget", Kind::Counter, |seen| seen.retries_denied);
    push("guard_at_work", "Calls at work", Kind::Gauge, |seen| seen.at_work.into());
    push("guard_waiting", "Calls that wait for their turn", Kind::Gauge, |seen| seen.waiting.into());
    samples
}

/// What the listeners count. `servers` have a name each.
pub(crate) fn servers(servers: Vec<(&'static str, StatsHandle)>) -> Source {
    Arc::new(move || {
        let mut samples = Vec::new();
        let mut each = |name, help, kind, value: fn(&StatsHandle) -> u64| {
            for (listener, stats) in &servers {
                let labels = vec![("listener", (*listener).to_owned())];
                samples.push(sample(name, help, kind, labels, value(stats)));
            }
        };
        let (counters, gauges) = (Kind::Counter, Kind::Gauge);
        each("connections_accepted", "Connections accepted", counters, |stats| stats.accepted());
        each("connections_open", "Connections open", gauges, |stats| stats.open() as u64);
        each("connections_per_address_max", "Connections of the client with most", gauges, |stats| {
            stats.open_per_address_max() as u64
        });
        each("connections_refused", "Connections over the cap of their client", counters, |stats| {
            stats.refused_by_address()
        });
        each("connections_waited_for_room", "Times that accepting waited for room", counters, |stats| {
            stats.waited_for_room()
        });
        each("accept_errors", "Connections that could not be accepted", counters, |stats| stats.accept_errors());
        each("tls_failures", "TLS handshakes that failed", counters, |stats| stats.tls_failures());
        each("requests_refused", "Requests that break the rules of HTTP", counters, |stats| stats.refused_requests());
        each("answers_over_budget", "Answers replaced by 503: too many bytes waited", counters, |stats| {
            stats.refused_by_budget()
        });
        each("answer_bytes_in_flight", "Bytes of large answers that wait", gauges, |stats| {
            stats.bytes_in_flight() as u64
        });
        for (listener, stats) in &servers {
            for &reason in Cut::ALL {
                let labels = vec![("listener", (*listener).to_owned()), ("reason", reason.label().to_owned())];
                let help = "Connections cut, by the limit that they broke";
                samples.push(sample("connections_cut", help, counters, labels, stats.cut(reason)));
            }
        }
        samples
    })
}
