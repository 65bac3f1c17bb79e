//! Rate limits by GCRA, and the fields that tell callers where they stand
//! (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! Two policies: `writes`, by account or, for the anonymous, by address, checked once the caller
//! is known ([`check_write`]); and `auth`, by address, before anything of a sign-in is looked at
//! ([`check_auth`]). `t` is the time until the whole quota is back, so whoever waits for it may
//! use all of it; `Retry-After` on a 429 is the shorter time until one more request passes.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use governor::clock::Clock as GovernorClock;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, Method};
use inkstone_core::Code;
use inkstone_core::access::Caller;
use inkstone_core::clock::SharedClock;

use super::exchange::{Exchange, RequestInfo};
use crate::app::Edge;
use crate::problem::{Problem, Result};
use crate::representation::header_value;
use crate::settings::{RateLimit, RateLimits};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How many keys addresses share when there is no room for one each.
const SHARED_KEYS: u64 = 1024;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Our clock, as governor wants it.
#[derive(Debug, Clone)]
struct OurClock(SharedClock);

impl GovernorClock for OurClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// An account.
    User(i64),
    /// An address. IPv6 counts by network of 64 bits, which is what one subscriber has.
    Address(IpAddr),
}

impl Who {
    /// The caller, or where the request came from.
    pub fn of(caller: &Caller, client: IpAddr) -> Self {
        match caller.user_id() {
            Some(user) => Self::User(user.0),
            None => Self::at(client),
        }
    }

    /// Everybody at this address.
    pub fn at(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V6(address) => Self::Address(IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into())),
            address @ IpAddr::V4(_) => Self::Address(address),
        }
    }
}

/// Where somebody stands with a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    policy: &'static str,
    quota: u32,
    window_secs: u32,
    remaining: u32,
    reset_secs: u64,
}

impl Standing {
    /// Adds `RateLimit-Policy` and `RateLimit`.
    pub fn add(&self, headers: &mut HeaderMap) {
        let Self { policy, quota, window_secs, remaining, reset_secs } = self;
        headers.insert(RATELIMIT_POLICY, header_value(&format!("\"{policy}\";q={quota};w={window_secs}")));
        headers.insert(RATELIMIT, header_value(&format!("\"{policy}\";r={remaining};t={reset_secs}")));
    }
}

/// Where somebody stands with a quota that all processes share, after one more was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many are left.
    pub remaining: u32,
    /// How long to wait for one, where none was left.
    pub wait: Option<Duration>,
}

/// Counts for all processes of a site together. While it cannot be reached each process counts for
/// itself, so that N of them let up to N quotas through: nobody is refused because of a fault of ours.
#[async_trait]
pub trait SharedQuotas: Send + Sync {
    /// Takes one from the quota of `whose`, which holds so many and is full again after `window`;
    /// none if it cannot be counted now. Must not take long.
    async fn take(&self, whose: &str, quota: u32, window: Duration) -> Option<Taken>;
}

type Limiter = RateLimiter<u64, DashMapStateStore<u64>, OurClock, StateInformationMiddleware>;

/// One policy and where everybody stands with it.
struct Policy {
    name: &'static str,
    limit: RateLimit,
    limiter: Limiter,
    clock: OurClock,
    max_keys: usize,
    hasher: RandomState,
    swept: Mutex<Instant>,
}

impl Policy {
    fn new(name: &'static str, limit: RateLimit, max_keys: usize, clock: &SharedClock) -> Option<Self> {
        let RateLimit { quota, window_secs } = limit;
        // One request per this long, and a whole quota at once: GCRA's two parameters.
        let interval = Duration::from_secs(u64::from(window_secs.get())) / quota.get();
        let gcra = Quota::with_period(interval)?.allow_burst(quota);
        let clock = OurClock(clock.clone());
        let limiter = Limiter::new(gcra, DashMapStateStore::default(), clock.clone());
        let swept = Mutex::new(clock.now());
        Some(Self { name, limit, limiter, clock, max_keys, hasher: RandomState::new(), swept })
    }

    /// Counts one request. Gives the standing, and how long to wait where the quota is used up.
    fn count(&self, who: Who) -> (Standing, Option<Duration>) {
        // Hashed under a secret of the process, so that nobody can choose to share a key.
        let hash = self.hasher.hash_one(who);
        let is_shared = matches!(who, Who::Address(_)) && self.is_full();
        let key = if is_shared { hash % SHARED_KEYS } else { hash };
        match self.limiter.check_key(&key) {
            Ok(state) => (self.standing(state.remaining_burst_capacity()), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                (self.standing(0), Some(wait.max(Duration::from_millis(1))))
            }
        }
    }

    /// Counts one request in the quota that all processes share; none if that is not to be had now.
    async fn take(&self, shared: &dyn SharedQuotas, who: Who) -> Option<(Standing, Option<Duration>)> {
        let RateLimit { quota, window_secs } = self.limit;
        let whose = match who {
            Who::User(id) => format!("{} user {id}", self.name),
            Who::Address(address) => format!("{} address {address}", self.name),
        };
        let window = Duration::from_secs(u64::from(window_secs.get()));
        let taken = shared.take(&whose, quota.get(), window).await?;
        Some((self.standing(taken.remaining), taken.wait.map(|wait| wait.max(Duration::from_millis(1)))))
    }

    fn standing(&self, remaining: u32) -> Standing {
        let (quota, window_secs) = (self.limit.quota.get(), self.limit.window_secs.get());
        let missing = u64::from(quota.saturating_sub(remaining));
        // Rounded up, so that nobody who obeys comes too early.
        let reset_secs = (missing * u64::from(window_secs)).div_ceil(u64::from(quota));
        Standing { policy: self.name, quota, window_secs, remaining, reset_secs }
    }

    /// Whether there is no room for more addresses, after forgetting, at most once a second,
    /// those who have their whole quota back. Under a flood of addresses they share keys, so that
    /// memory stays bounded; accounts keep their own.
    fn is_full(&self) -> bool {
        if self.limiter.len() < self.max_keys {
            return false;
        }
        let now = self.clock.now();
        if let Ok(mut swept) = self.swept.try_lock()
            && now.saturating_duration_since(*swept) >= SWEEP_INTERVAL
        {
            *swept = now;
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.len() >= self.max_keys
    }
}

/// The policies of the site.
pub struct RateLimiters {
    writes: Option<Policy>,
    auth: Option<Policy>,
}

impl RateLimiters {
    /// From the settings.
    pub fn new(settings: &RateLimits, clock: &SharedClock) -> Self {
        let policy = |name, limit: Option<RateLimit>| Policy::new(name, limit?, settings.max_keys, clock);
        Self { writes: policy("writes", settings.writes), auth: policy("auth", settings.auth) }
    }
}

/// Counts a request that changes something, once it is known who makes it.
///
/// # Errors
/// [`Code::RateLimited`].
pub async fn check_write(edge: &Edge, info: &RequestInfo, method: &Method, path: &str, caller: &Caller) -> Result<()> {
    if method.is_safe() || is_auth(path) {
        return Ok(());
    }
    check(edge, edge.rate_limiters.writes.as_ref(), info, Who::of(caller, info.client)).await
}

/// Counts a request to sign in, refresh or sign out.
///
/// # Errors
/// [`Code::RateLimited`].
pub async fn check_auth(exchange: &Exchange) -> Result<()> {
    if exchange.method().is_safe() || !is_auth(exchange.path()) {
        return Ok(());
    }
    let (edge, info) = (exchange.edge(), exchange.info());
    check(edge, edge.rate_limiters.auth.as_ref(), info, Who::at(info.client)).await
}

/// `/api/<version>/auth/…` and the one-time set-up.
pub(crate) fn is_auth(path: &str) -> bool {
    let mut words = path.split('/').skip(1);
    words.next() == Some("api") && words.next().is_some() && matches!(words.next(), Some("auth" | "setup"))
}

async fn check(edge: &Edge, policy: Option<&Policy>, info: &RequestInfo, who: Who) -> Result<()> {
    let Some(policy) = policy else { return Ok(()) };
    let (mut standing, mut wait) = policy.count(who);
    // Who has used up the quota here alone has done so altogether, and costs the others no question.
    if let (Some(shared), None) = (edge.shared_quotas.get(), wait)
        && let Some(taken) = policy.take(shared.as_ref(), who).await
    {
        (standing, wait) = taken;
    }
    info.note_standing(standing);
    let Some(wait) = wait else { return Ok(()) };
    edge.metrics().count_rate_limited(policy.name);
    Err(Problem::new(Code::RateLimited, "The quota is used up. Retry-After says when there is room again.")
        .retry_after(wait))
}
