//! Reads through the cache: what anybody may see is loaded once, kept, and served until it changes.
//!
//! | the cache has it | the answer | the store |
//! |---|---|---|
//! | fresh | from the cache | is not asked |
//! | stale, still worth serving | from the cache | is asked once, in the background |
//! | only for emergencies | loaded; from the cache if the store fails or dawdles | is asked once for all who wait |
//! | not | loaded | is asked once for all who wait |
//!
//! What was loaded from a replica while nobody could ask the primary for changes says in `Age` how old
//! it may be, and is not kept.
//!
//! A key is the canonical address of what it stands for (path, and query in its canonical form): a
//! request for exactly that address gives exactly that representation. [`crate::front`] counts on it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::cache::{Cache, Freshness, Hit, Joined, Lifetime, Reading};
use inkstone_core::context::{Context, Deadline};
use inkstone_core::{Code, Error};

use crate::app::{App, Edge};
use crate::problem::{Result, status};
use crate::representation::{Representation, Verdict};

/// The cache of finished answers.
pub type Answers = dyn Cache<Representation>;

/// How long a refresh in the background may take. The cache leaves the task with one caller for as
/// long, unless it is configured otherwise.
const REFRESH_TIME: Duration = Duration::from_secs(10);

/// How long anybody waits for the store while an old answer is at hand. A store that hangs is then
/// noticed as a slow answer and not as none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gives what `key` stands for, out of the cache of `app` or loaded by `load`, and how it came about.
///
/// Only for requests by GET or HEAD. Callers who are somebody in particular are loaded for and
/// leave no trace in the cache; so does everything that was not made [public](crate::representation::Builder::public).
///
/// # Errors
/// What `load` failed with, unless the cache has an answer for emergencies; or [`Code::DeadlineExceeded`].
pub async fn read_through<F, Fut>(
    app: &App,
    ctx: &Context,
    key: &str,
    lifetime: Lifetime,
    load: F,
) -> Result<(Arc<Representation>, Verdict)>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = inkstone_core::Result<Representation>> + Send + 'static,
{
    Reader::new(app.edge.clone(), app.cache.clone()).read(ctx, key, lifetime, load).await
}

/// A cache, and what reading through it needs. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    edge: Edge,
    cache: Option<Arc<Answers>>,
}

impl Reader {
    /// Reads through this cache, or, without one, loads every time.
    pub fn new(edge: Edge, cache: Option<Arc<Answers>>) -> Self {
        Self { edge, cache }
    }

    /// See [`read_through`].
    ///
    /// # Errors
    /// As there.
    pub async fn read<F, Fut>(
        &self,
        ctx: &Context,
        key: &str,
        lifetime: Lifetime,
        load: F,
    ) -> Result<(Arc<Representation>, Verdict)>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = inkstone_core::Result<Representation>> + Send + 'static,
    {
        // A change that this process could not follow yet is in nothing that it keeps.
        let may_be_kept = ctx.caller == Caller::Anonymous && ctx.meter.awaited() == 0;
        let Some(cache) = self.cache.as_ref().filter(|_| may_be_kept) else {
            let loaded = Arc::new(load(ctx.clone()).await?);
            return Ok((loaded, ctx.meter.behind().map_or(Verdict::Bypass, |age| Verdict::Behind { age })));
        };
        let mut ctx = ctx.clone();
        match cache.get(key) {
            Some(hit) if hit.freshness == Freshness::OnlyOnError => {
                ctx.deadline = ctx.deadline.min(Deadline::at(hit.looked_up_at + PATIENCE));
            }
            Some(hit) => {
                if hit.freshness == (Freshness::Stale { refresh: true }) {
                    self.refresh(cache, &ctx, key, lifetime, load);
                }
                let verdict = verdict(&hit);
                return Ok((hit.value, verdict));
            }
            None => {}
        }
        match self.load_once(cache.as_ref(), &ctx, key, lifetime, load).await {
            Err(error) if is_ours(&error) => {
                // Asked again and not remembered: a write may have ended it while we waited.
                let Some(hit) = cache.get(key) else { return Err(error.into()) };
                warn(&ctx, &error, "answered from the cache because the store failed");
                let verdict = verdict(&hit);
                Ok((hit.value, verdict))
            }
            loaded => Ok(loaded?),
        }
    }

    /// Loads, or waits for the one who already does; no longer than the deadline allows.
    async fn load_once<F, Fut>(
        &self,
        cache: &Answers,
        ctx: &Context,
        key: &str,
        lifetime: Lifetime,
        load: F,
    ) -> inkstone_core::Result<(Arc<Representation>, Verdict)>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = inkstone_core::Result<Representation>>,
    {
        let leader = match cache.join(key, ctx.deadline).await? {
            Joined::Loaded(value) => return Ok((value, Verdict::Collapsed)),
            Joined::Behind(value, age) => return Ok((value, Verdict::Behind { age })),
            Joined::Found(hit) => {
                let verdict = verdict(&hit);
                return Ok((hit.value, verdict));
            }
            Joined::Load(leader) => leader,
        };
        let loaded = self.within(ctx.deadline, load(ctx.clone())).await.map(Arc::new);
        // Kept before the others are told: whoever comes now must find either the flight or the value.
        if let (Ok(value), Some(age)) = (&loaded, ctx.meter.behind()) {
            leader.finish_behind(value, age);
            return Ok((Arc::clone(value), Verdict::Behind { age }));
        }
        let is_good = |value| keep(cache, leader.reading(), key, value, lifetime);
        let stored = loaded.as_ref().is_ok_and(is_good);
        leader.finish(loaded.as_ref());
        loaded.map(|value| (value, Verdict::Miss { stored }))
    }

    /// Loads on a task of its own, with a deadline of its own: whoever was chosen to refresh has been
    /// answered already and may be gone. If it fails, the old answer stays until its time is over.
    fn refresh<F, Fut>(&self, cache: &Arc<Answers>, ctx: &Context, key: &str, lifetime: Lifetime, load: F)
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = inkstone_core::Result<Representation>> + Send + 'static,
    {
        let ctx = Context::new(
            Caller::Anonymous,
            ctx.request_id.clone(),
            Deadline::at(self.edge.clock().instant() + REFRESH_TIME),
        );
        let (reader, cache, key) = (self.clone(), Arc::clone(cache), key.to_owned());
        tokio::spawn(async move {
            let reading = cache.reading();
            match reader.within(ctx.deadline, load(ctx.clone())).await {
                // What may be old already replaces nothing.
                Ok(_) if ctx.meter.behind().is_some() => {}
                Ok(value) => {
                    keep(cache.as_ref(), reading, &key, &Arc::new(value), lifetime);
                }
                Err(error) if is_ours(&error) => warn(&ctx, &error, "could not refresh a stale answer"),
                // It is gone. The write that took it away has ended the old answer too.
                Err(_) => {}
            }
        });
    }

    /// Runs `load` until the deadline and no longer, whatever it does with the deadline itself.
    async fn within<T>(
        &self,
        deadline: Deadline,
        load: impl Future<Output = inkstone_core::Result<T>>,
    ) -> inkstone_core::Result<T> {
        let time_left = deadline.remaining(self.edge.clock().instant());
        let too_late = || Error::refused(Code::DeadlineExceeded, "The answer was not ready in time.");
        tokio::time::timeout(time_left, load).await.unwrap_or_else(|_| Err(too_late()))
    }
}

/// Keeps what is public and a success or a redirection; whether it did.
fn keep(cache: &Answers, reading: Reading, key: &str, value: &Arc<Representation>, lifetime: Lifetime) -> bool {
    let is_worth_it = value.lifetime().is_some() && (value.status().is_success() || value.status().is_redirection());
    // No content is known to change by itself at a certain time: posts cannot be scheduled yet.
    is_worth_it && cache.put(reading, key, Arc::clone(value), lifetime, None)
}

/// Whether it is not the request that is at fault, so that an old answer is better than this error.
fn is_ours(error: &Error) -> bool {
    status(error.code()).is_server_error()
}

fn verdict(hit: &Hit<Representation>) -> Verdict {
    let age = hit.age();
    match hit.freshness {
        Freshness::Fresh => Verdict::Hit { age, ttl: hit.ttl },
        Freshness::Stale { .. } => Verdict::Stale { age, overdue: hit.overdue },
        Freshness::OnlyOnError => Verdict::StaleIfError { age, overdue: hit.overdue },
    }
}

fn warn(ctx: &Context, error: &Error, message: &'static str) {
    let cause = error.source().map(ToString::to_string);
    tracing::warn!(request.id = ctx.request_id, error.code = error.code().as_str(), error = cause, "{message}");
}
