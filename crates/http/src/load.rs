//! How many requests are worked on at once, and who is refused first when it is too many.
//!
//! The rules are in [`inkstone_core::guard::load`]; here is who falls under which. Health checks and
//! answers out of the cache are not asked: they cost no more than a refusal.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use inkstone_core::clock::SharedClock;
use inkstone_core::guard::load::{Load, LoadSettings, Priority};

use crate::metrics::Metrics;
use crate::middleware::rate_limit;

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
        let is_in = {
            let mut load = self.lock();
            let is_in = load.enter(priority);
            self.metrics.note_load(load.limit(), load.in_work());
            is_in
        };
        if !is_in {
            self.metrics.count_shed(priority);
            return None;
        }
        self.metrics.count_admitted(priority);
        Some(Slot { gate: Arc::clone(self), entered: self.clock.instant(), left: false })
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

/// A place among the requests in work; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    gate: Arc<Gate>,
    entered: Instant,
    left: bool,
}

impl Slot {
    /// Gives the place back with an answer, which says how much the process has to do: unless it is a
    /// failure, which others are to blame for, or about a password, which takes long on purpose.
    pub fn leave(mut self, path: &str, response: &Response) {
        let status = response.status();
        let says_nothing =
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || rate_limit::is_auth(path);
        self.end(!says_nothing);
    }

    fn end(&mut self, says_something: bool) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let now = self.gate.clock.instant();
        let took = says_something.then(|| now.saturating_duration_since(self.entered));
        let mut load = self.gate.lock();
        load.leave(took, now);
        self.gate.metrics.note_load(load.limit(), load.in_work());
    }
}

impl Drop for Slot {
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
