//! How many requests are worked on at once, and who is refused first when it is too many.
//!
//! The rules are in [`inkstone_core::guard::load`]; here is who falls under which. Health checks and
//! answers out of the cache are not asked: they cost no more than a refusal.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use inkstone_core::clock::SharedClock;
use inkstone_core::guard::load::{Load, LoadSettings, Priority};

use crate::metrics::Metrics;
use crate::middleware::{gates, rate_limit};
use crate::problem::Result;

/// What programs that read everything have in their names, most of them, in lower case.
const CRAWLERS: [&str; 8] = ["bot", "crawl", "spider", "slurp", "scrap", "archive", "facebookexternalhit", "preview"];

/// How urgent a request is. Credentials are not looked at: whoever sends some is taken to be
/// somebody, and whoever lies about it gains a place, not an answer.
pub fn priority(method: &Method, headers: &HeaderMap) -> Priority {
    let is_somebody = headers.contains_key(header::AUTHORIZATION);
    match (method.is_safe(), is_somebody) {
        (true, true) => Priority::SignedInRead,
        (false, true) => Priority::SignedInWrite,
        (_, false) if is_crawler(headers) => Priority::Crawler,
        (true, false) => Priority::Read,
        (false, false) => Priority::Write,
    }
}

fn is_crawler(headers: &HeaderMap) -> bool {
    let Some(agent) = headers.get(header::USER_AGENT) else { return false };
    // People's browsers bring cookies, if not ours, then those of the site around us.
    if headers.contains_key(header::COOKIE) {
        return false;
    }
    let agent = agent.as_bytes().to_ascii_lowercase();
    CRAWLERS.iter().any(|word| agent.windows(word.len()).any(|part| part == word.as_bytes()))
}

/// Lets requests in, as many as can be worked on at once.
pub struct Gate {
    load: Mutex<Load>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub(crate) fn new(settings: LoadSettings, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        let load = Load::new(settings, clock.instant());
        metrics.note_load(load.limit(), load.in_work());
        Self { load: Mutex::new(load), clock, metrics }
    }

    /// Whether a request of this kind would be refused now; counted if so.
    pub(crate) fn refuses(&self, priority: Priority) -> bool {
        let refuses = self.lock().refuses(priority);
        if refuses {
            self.metrics.count_shed(priority);
        }
        refuses
    }

    /// Takes a place, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, priority: Priority) -> Option<Slot> {
        if !self.ask(priority, Load::enter) {
            return None;
        }
        self.metrics.count_admitted(priority);
        let at = Mutex::new(At::Work { since: self.clock.instant() });
        Some(Slot(Arc::new(Place { gate: Arc::clone(self), priority, at })))
    }

    fn ask(&self, priority: Priority, enter: fn(&mut Load, Priority) -> bool) -> bool {
        let is_in = {
            let mut load = self.lock();
            let is_in = enter(&mut load, priority);
            self.metrics.note_load(load.limit(), load.in_work());
            is_in
        };
        if !is_in {
            self.metrics.count_shed(priority);
        }
        is_in
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("load", &self.lock()).finish_non_exhaustive()
    }
}

/// A place among the requests in work, for the request and whoever answers it; given back when the
/// last of them drops it.
#[derive(Debug, Clone)]
pub struct Slot(Arc<Place>);

#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    priority: Priority,
    at: Mutex<At>,
}

/// What becomes of the place.
#[derive(Debug, Clone, Copy)]
enum At {
    /// It is taken. What was worked before the client was waited for counts, so `since` may be earlier.
    Work { since: Instant },
    /// Others have it: the client is waited for, after so much work.
    Wait { worked: Duration },
    /// It is given back.
    End,
}

impl Slot {
    /// Gives the place back with an answer, which says how much the process has to do: unless it is a
    /// failure, which others are to blame for, or about a password, which takes long on purpose.
    pub fn leave(self, path: &str, response: &Response) {
        let status = response.status();
        let says_nothing =
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || rate_limit::is_auth(path);
        self.0.end(!says_nothing);
    }

    /// Waits for the client, whose time is not ours: others may have the place meanwhile, and the time does not
    /// count. Whoever fails stays outside.
    ///
    /// # Errors
    /// [`Code::Overloaded`](inkstone_core::Code::Overloaded) if too many wait so, or if there is no place afterwards;
    /// and those of `waiting`.
    pub(crate) async fn outside<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.0.step_out() {
            return Err(gates::too_much());
        }
        let output = waiting.await?;
        if self.0.step_in() { Ok(output) } else { Err(gates::too_much()) }
    }
}

impl Place {
    fn step_out(&self) -> bool {
        let mut at = self.at();
        let At::Work { since } = *at else { return true };
        let mut load = self.gate.lock();
        if !load.step_out() {
            self.gate.metrics.count_shed(self.priority);
            return false;
        }
        self.gate.metrics.note_load(load.limit(), load.in_work());
        *at = At::Wait { worked: self.gate.clock.instant().saturating_duration_since(since) };
        true
    }

    fn step_in(&self) -> bool {
        let mut at = self.at();
        let At::Wait { worked } = *at else { return true };
        let is_in = self.gate.ask(self.priority, Load::step_in);
        let now = self.gate.clock.instant();
        *at = if is_in { At::Work { since: now.checked_sub(worked).unwrap_or(now) } } else { At::End };
        is_in
    }

    fn end(&self, says_something: bool) {
        let at = std::mem::replace(&mut *self.at(), At::End);
        let mut load = self.gate.lock();
        match at {
            At::Work { since } => {
                let now = self.gate.clock.instant();
                load.leave(says_something.then(|| now.saturating_duration_since(since)), now);
            }
            At::Wait { .. } => load.stay_out(),
            At::End => {}
        }
        self.gate.metrics.note_load(load.limit(), load.in_work());
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn people_come_before_crawlers_and_readers_before_writers() {
        let priority = |method: Method, fields: &[(header::HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            priority(&method, &fields.collect())
        };
        let browser = (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0");
        let crawler = (header::USER_AGENT, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)");
        let token = (header::AUTHORIZATION, "Bearer x");
        let cookie = (header::COOKIE, "a=b");
        assert_eq!(priority(Method::GET, std::slice::from_ref(&browser)), Priority::Read);
        assert_eq!(priority(Method::GET, &[]), Priority::Read);
        assert_eq!(priority(Method::HEAD, std::slice::from_ref(&crawler)), Priority::Crawler);
        assert_eq!(priority(Method::POST, std::slice::from_ref(&crawler)), Priority::Crawler);
        assert_eq!(priority(Method::GET, &[crawler.clone(), cookie]), Priority::Read);
        assert_eq!(priority(Method::GET, &[crawler, token.clone()]), Priority::SignedInRead);
        assert_eq!(priority(Method::PATCH, &[browser.clone(), token]), Priority::SignedInWrite);
        assert_eq!(priority(Method::POST, &[browser]), Priority::Write);
        assert_eq!(priority(Method::OPTIONS, &[]), Priority::Read);
    }
}
