//! What is counted, in the OpenMetrics text format.
//!
//! The edge counts requests itself. Everything else (connections, database, cache, identity,
//! queues) is read when somebody asks, from [`Source`]s that the binary hands in.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, StatusCode};
use inkstone_core::guard::load::Priority;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::middleware::access_log::name;

/// The route of what no route knows.
const UNMATCHED: &str = "unmatched";

/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// One value of somebody else's, at the moment of asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name without prefix or `_total`: `database_queue_depth`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What tells it from others of its name; samples of one name stand next to each other.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// Whether a value only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Gives the present values of a part of the program.
pub type Source = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policy {
    policy: &'static str,
}

/// The counters of one kind of answer, found once and kept: looking a label set up costs more
/// than counting.
#[derive(Debug, Clone)]
pub(crate) struct Handles {
    requests: Counter,
    duration: Histogram,
}

impl Handles {
    /// One more such answer, which took this long.
    pub(crate) fn observe(&self, elapsed: Duration) {
        self.requests.inc();
        self.duration.observe(elapsed.as_secs_f64());
    }
}

type MethodAndStatus = (&'static str, &'static str);

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    duration: Family<Served, Histogram, fn() -> Histogram>,
    in_work: Gauge<i64, AtomicI64>,
    admitted: [Counter; Priority::ALL.len()],
    shed: [Counter; Priority::ALL.len()],
    limit: Gauge<i64, AtomicI64>,
    admitted_now: Gauge<i64, AtomicI64>,
    rate_limited: Family<Policy, Counter>,
    handles: RwLock<HashMap<MethodAndStatus, HashMap<String, Handles>>>,
}

/// Counts a request as in work until it is dropped.
pub struct InWork(Gauge<i64, AtomicI64>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// With the version of the program, and what else is to be read.
    pub fn new(version: &'static str, sources: Vec<Source>) -> Self {
        let mut registry = Registry::with_prefix("inkstone");
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let requests = Family::default();
        let duration = Family::new_with_constructor(histogram);
        let in_work = Gauge::default();
        let (admitted, shed) = (Family::default(), Family::default());
        let (limit, admitted_now) = (Gauge::default(), Gauge::default());
        let rate_limited = Family::default();
        registry.register("build", "The program", Info::new(vec![("version", version)]));
        registry.register("http_requests", "Requests answered", requests.clone());
        let help = "Time until the head of the answer was ready";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, duration.clone());
        registry.register("http_requests_in_work", "Requests being answered now", in_work.clone());
        registry.register("http_requests_admitted", "Requests taken on, by how urgent they are", admitted.clone());
        registry.register("http_requests_shed", "Requests turned away because too many were in work", shed.clone());
        registry.register("http_load_limit", "Requests that may be worked on at once", limit.clone());
        registry.register("http_load_in_work", "Of these, requests in work now", admitted_now.clone());
        registry.register("http_requests_rate_limited", "Requests over a rate limit", rate_limited.clone());
        registry.register_collector(Box::new(Sources(sources)));
        let each = |of: &Family<Class, Counter>| {
            Priority::ALL.map(|priority| of.get_or_create(&Class { class: priority.as_str() }).clone())
        };
        let (admitted, shed) = (each(&admitted), each(&shed));
        let handles = RwLock::default();
        Self { registry, requests, duration, in_work, admitted, shed, limit, admitted_now, rate_limited, handles }
    }

    /// A request has come in.
    pub fn begin(&self) -> InWork {
        self.in_work.inc();
        InWork(self.in_work.clone())
    }

    /// A request was answered. `route` is the template of its route, if it found one.
    pub fn observe(&self, method: &Method, route: Option<&str>, status: StatusCode, elapsed: Duration) {
        self.handles(method, route.unwrap_or(UNMATCHED), status).observe(elapsed);
    }

    /// What counts answers of this kind: for those who answer so often that looking it up costs.
    pub(crate) fn handles(&self, method: &Method, route: &str, status: StatusCode) -> Handles {
        let key = (name(method), class(status));
        let known = {
            let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            handles.get(&key).and_then(|routes| routes.get(route)).cloned()
        };
        known.unwrap_or_else(|| self.handles_for(key, route))
    }

    /// A request was taken on.
    pub fn count_admitted(&self, priority: Priority) {
        self.admitted[priority.index()].inc();
    }

    /// A request was turned away because too many were in work.
    pub fn count_shed(&self, priority: Priority) {
        self.shed[priority.index()].inc();
    }

    /// How many requests may be in work, and how many are.
    pub fn note_load(&self, limit: u32, in_work: u32) {
        self.limit.set(limit.into());
        self.admitted_now.set(in_work.into());
    }

    /// A request was over the rate limit of this policy.
    pub fn count_rate_limited(&self, policy: &'static str) {
        self.rate_limited.get_or_create(&Policy { policy }).inc();
    }

    /// Everything, as OpenMetrics text.
    ///
    /// # Errors
    /// When a source gives a value that cannot be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    fn handles_for(&self, (method, status): MethodAndStatus, route: &str) -> Handles {
        let route = route.to_owned();
        let served = Served { method, route: route.clone() };
        let request = Request { method, route: route.clone(), status };
        let made = Handles {
            requests: self.requests.get_or_create(&request).clone(),
            duration: self.duration.get_or_create(&served).clone(),
        };
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.entry((method, status)).or_default().insert(route, made.clone());
        made
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// For exemplars, of which there are none.
type NoLabels = Vec<(&'static str, String)>;

fn encode(metric: &mut MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabels, f64, f64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&value),
    }
}

struct Sources(Vec<Source>);

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sources").field(&self.0.len()).finish()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let samples: Vec<Sample> = self.0.iter().flat_map(|source| source()).collect();
        for group in samples.chunk_by(|one, next| one.name == next.name) {
            let Some(Sample { name, help, kind, .. }) = group.first() else { continue };
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
            for Sample { kind, labels, value, .. } in group {
                if labels.is_empty() {
                    encode(&mut metric, *kind, *value)?;
                } else {
                    encode(&mut metric.encode_family(labels)?, *kind, *value)?;
                }
            }
        }
        Ok(())
    }
}
