//! The cache in memory, with one behind it that many processes share.
//!
//! * A **hit in memory** never comes here: the memory answers as if it were alone.
//! * A **miss** is taken by one caller, as ever; before that one loads from the database, it looks
//!   into the shared tier, under a guard and for some milliseconds at most.
//! * What was loaded is **put** into memory at once and into the shared tier later, by a task of its
//!   own: nobody waits for it, and when too much waits, it is left out.
//! * What lies in the shared tier is **believed only** if it is authentic (`envelope`) and if this
//!   process itself, out of the database, knows of nothing that was touched since (`history`).
//!
//! So the shared tier can be slow, down, flushed, rolled back or full of lies, and all that happens is
//! that the database is asked. Why it is built this way: `docs/decisions/0012-shared-cache.md`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_core::cache::{Cache, Hit, Invalidate, Joined, Lifetime, Portable, Reading, Stats};
use inkstone_core::clock::SharedClock;
use inkstone_core::events::{Footprint, RecordedEvent, ServerRun};
use inkstone_core::guard::retry::Dice;
use inkstone_core::guard::{Blocked, Guard, Repeat, Snapshot};
use inkstone_core::{Deadline, Result};
use tokio::sync::{Mutex, mpsc, watch};

use crate::MemoryCache;
use crate::counts::{Counts, SharedStats, count};
use crate::envelope::{Entry, Seal};
use crate::history::{History, Judgement};
use crate::lacks::{Need, Notice, Notices, first_answer};
use crate::remote::{Remote, RemoteError, Taken};

/// Puts that may wait for the shared tier. Beyond it they are left out.
pub const QUEUE: usize = 256;
/// Larger entries are not shared: Memcached takes no more than 1 MiB.
pub const MAX_FORM_BYTES: usize = 1_000_000;
/// How far the clock of the node that made an entry may be ahead of this one's.
const MAX_AHEAD: Duration = Duration::from_secs(5);
/// Nothing is kept longer in the shared tier, whatever its lifetime.
const LONGEST: Duration = Duration::from_hours(24);
/// How long a connection may take at the start until the operator is told, and the pause between
/// further attempts to find the shared tier.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
const FIND_AGAIN: Duration = Duration::from_secs(1);
/// The pause before listening again after the connection ended, doubled from time to time.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// What came of a question to the shared tier.
type Asked<T> = std::result::Result<T, Blocked<RemoteError>>;

/// Something on its way to the shared tier.
struct Put<V> {
    key: String,
    value: Arc<V>,
    entry: Entry,
    keep: Duration,
}

/// What a tier of this kind is made of.
pub struct TieredParts<V: Portable> {
    /// The cache of this process. It must trust its looks for a bounded time only.
    pub memory: Arc<MemoryCache<V>>,
    /// The one that many processes share.
    pub remote: Arc<dyn Remote>,
    /// What stands before it.
    pub guard: Arc<Guard>,
    /// Time.
    pub clock: SharedClock,
    /// What all processes of the site know and nobody else.
    pub secret: Vec<u8>,
    /// Whatever makes two processes give different answers to the same request: their release,
    /// their settings. Those that differ in it share nothing.
    pub variant: String,
    /// Called when there are changes that this process has not seen.
    pub wake: Box<dyn Fn() + Send + Sync>,
    /// Told what the operator is to know of the shared one.
    pub tell: Box<dyn Fn(Notice) + Send + Sync>,
}

/// The memory with a shared tier behind it.
pub struct Tiered<V: Portable> {
    memory: Arc<MemoryCache<V>>,
    remote: Arc<dyn Remote>,
    guard: Arc<Guard>,
    clock: SharedClock,
    seal: Seal,
    history: History,
    wake: Box<dyn Fn() + Send + Sync>,
    notices: Notices,
    puts: mpsc::Sender<Put<V>>,
    waiting: Mutex<mpsc::Receiver<Put<V>>>,
    /// The newest change that this process knows of and everybody has been told of, by it or by another.
    announced: watch::Sender<u64>,
    /// The change that was heard of last, which may be a lie: it is believed of that very change only.
    heard: AtomicU64,
    counts: Counts,
}

impl<V: Portable> Tiered<V> {
    /// Puts both tiers together. [`Tiered::run`] must run beside the requests.
    pub fn new(parts: TieredParts<V>) -> Self {
        let TieredParts { memory, remote, guard, clock, secret, variant, wake, tell } = parts;
        let (puts, waiting) = mpsc::channel(QUEUE);
        Self {
            memory,
            remote,
            guard,
            clock,
            seal: Seal::new(&secret, &variant),
            history: History::new(),
            wake,
            notices: Notices::new(tell),
            puts,
            waiting: Mutex::new(waiting),
            announced: watch::Sender::new(0),
            heard: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// What goes on beside the requests: putting, announcing, listening. Never ends by itself.
    pub async fn run(&self) {
        tokio::join!(self.find(), self.put_what_waits(), self.announce(), self.listen());
    }

    /// Tells the operator whether the shared tier was there at the start: as long as nobody asks for
    /// anything, nobody else would notice. Later the guard tells.
    async fn find(&self) {
        let mut has_told = false;
        loop {
            match first_answer(&*self.remote, FIRST_ANSWER).await {
                Ok(()) if has_told => return self.notices.tell(Notice::Answers),
                Ok(()) => return,
                Err(error) if !has_told => self.notices.tell(Notice::Unreachable(error)),
                Err(_) => {}
            }
            has_told = true;
            tokio::time::sleep(FIND_AGAIN).await;
        }
    }

    /// Asks the shared tier for something, past the guard.
    async fn ask<T, Fut>(&self, need: Need, deadline: Deadline, call: impl FnMut() -> Fut) -> Asked<T>
    where
        Fut: Future<Output = std::result::Result<T, RemoteError>>,
    {
        let asked = self.guard.call(deadline, Repeat::Never, call).await;
        if let Err(Blocked::Failed(error)) = &asked {
            self.notices.failed(need, error);
        }
        asked
    }

    /// Where the guard before the shared tier stands.
    pub fn guard(&self) -> Snapshot {
        self.guard.snapshot()
    }

    /// Whether the shared tier answers.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    pub async fn check(&self) -> std::result::Result<(), String> {
        let asked = self.guard.call(self.no_deadline(), Repeat::Never, || self.remote.ping()).await;
        asked.map_err(|blocked| blocked.to_string())
    }

    /// Takes one from a quota that all processes share; none if the shared tier cannot count, or not
    /// now. `whose` is kept there as a digest only.
    pub async fn take(&self, whose: &str, quota: u32, window: Duration) -> Option<Taken> {
        let name = self.seal.quota(whose);
        // Not repeated: it may have been counted.
        let take = || self.remote.take(&name, quota, window);
        self.ask(Need::Count, self.no_deadline(), take).await.ok()
    }

    /// What the shared tier did so far.
    pub fn shared_stats(&self) -> SharedStats {
        self.counts.read()
    }

    /// Looks into the shared tier, and keeps in memory what it finds there; none if it is not fresh.
    async fn fetch(&self, key: &str, deadline: Deadline, reading: Reading) -> Option<Hit<V>> {
        let name = self.seal.name(key);
        let form = match self.ask(Need::Read, deadline, || self.remote.get(&name)).await {
            Ok(Some(form)) => form,
            Ok(None) => {
                count(&self.counts.misses);
                return None;
            }
            Err(_) => {
                count(&self.counts.unavailable);
                return None;
            }
        };
        let Some((entry, value)) = self.seal.open(&name, &form) else {
            count(&self.counts.corrupt);
            return None;
        };
        let counter = match self.history.judge(entry.position, &entry.entities) {
            Judgement::Holds => {
                let hit = self.adopt(key, reading, entry, value);
                count(if hit.is_some() { &self.counts.hits } else { &self.counts.outdated });
                return hit;
            }
            Judgement::Outdated => &self.counts.outdated,
            Judgement::Unknown => &self.counts.unknown,
            Judgement::Ahead => {
                (self.wake)();
                &self.counts.ahead
            }
        };
        count(counter);
        None
    }

    /// Keeps an entry of the shared tier in memory. `reading` was taken before it was asked for, so
    /// whatever is touched from then on ends it here as it would end a load of our own.
    fn adopt(&self, key: &str, reading: Reading, entry: Entry, value: &[u8]) -> Option<Hit<V>> {
        let (now, today) = (self.clock.instant(), self.clock.now().as_microsecond());
        if entry.made_at.saturating_sub(today) > micros(MAX_AHEAD) {
            return None;
        }
        let age = between(entry.made_at, today);
        let expires_at = match entry.expires_at {
            0 => None,
            at => Some(now + between(today, at).min(LONGEST)),
        };
        let value = Arc::new(V::decode(value, entry.entities)?);
        self.memory.adopt(reading, key, value, age, entry.lifetime, expires_at);
        self.memory.get_fresh(key)
    }

    /// Has a value put into the shared tier, if it can be said what it contains.
    fn offer(&self, reading: Reading, key: &str, value: Arc<V>, lifetime: Lifetime, expires_at: Option<Instant>) {
        let entities = value.entities().to_vec();
        let Some(position) = self.history.position_of(reading) else { return };
        let (now, today) = (self.clock.instant(), self.clock.now().as_microsecond());
        let keep = lifetime.fresh + lifetime.stale_while_revalidate.max(lifetime.stale_if_error);
        let left = expires_at.map_or(LONGEST, |at| at.saturating_duration_since(now));
        let expires_at = expires_at.map_or(0, |_| today.saturating_add(micros(left)));
        let entry = Entry { position, made_at: today, lifetime, expires_at, entities };
        let put = Put { key: key.to_owned(), value, entry, keep: keep.min(left).min(LONGEST) };
        if self.puts.try_send(put).is_err() {
            count(&self.counts.dropped_puts);
        }
    }

    async fn put_what_waits(&self) {
        let mut waiting = self.waiting.lock().await;
        // Never ends: this value holds a sender itself.
        while let Some(put) = waiting.recv().await {
            let counter = if self.put_now(put).await { &self.counts.puts } else { &self.counts.dropped_puts };
            count(counter);
        }
    }

    async fn put_now(&self, put: Put<V>) -> bool {
        let Put { key, value, entry, keep } = put;
        if self.history.judge(entry.position, &entry.entities) != Judgement::Holds || keep < Duration::from_secs(1) {
            return false;
        }
        let name = self.seal.name(&key);
        let form = self.seal.close(&name, &entry, |form| value.encode(form));
        if form.len() > MAX_FORM_BYTES {
            return false;
        }
        let form = Bytes::from(form);
        let put = || self.remote.put(&name, form.clone(), keep);
        self.ask(Need::Write, self.no_deadline(), put).await.is_ok()
    }

    /// Tells the other processes of changes, as soon as this one has seen them and as long as no
    /// other has told of them. What is lost on the way is found by looking.
    async fn announce(&self) {
        let (channel, mut announced) = (self.channel(), self.announced.subscribe());
        while announced.changed().await.is_ok() {
            let newest = *announced.borrow_and_update();
            let announce = || self.remote.announce(&channel, newest);
            let told = self.ask(Need::Announce, self.no_deadline(), announce).await;
            if told == Err(Blocked::Failed(RemoteError::Unsupported)) {
                return;
            }
        }
    }

    async fn listen(&self) {
        let (channel, dice) = (self.channel(), Dice::new(self.clock.now().as_microsecond().cast_unsigned()));
        let hear = |change_seq: u64| {
            count(&self.counts.heard);
            // Known by now: nobody needs to hear of it from here.
            self.heard.store(change_seq, Ordering::Relaxed);
            if change_seq > self.history.newest() {
                (self.wake)();
            }
        };
        let [mut pause, longest] = PAUSES;
        loop {
            let heard = self.counts.heard.load(Ordering::Relaxed);
            match self.remote.listen(&channel, &hear).await {
                Err(RemoteError::Unsupported) => return,
                Err(error) => self.notices.failed(Need::Listen, &error),
                Ok(()) => {}
            }
            let has_worked = self.counts.heard.load(Ordering::Relaxed) > heard;
            pause = if has_worked { PAUSES[0] } else { (pause * 2).min(longest) };
            tokio::time::sleep(pause.mul_f64(0.5 + dice.roll() / 2.0)).await;
        }
    }

    fn channel(&self) -> String {
        format!("{}changes", self.seal.prefix())
    }

    /// The guard's own time is all that work in the background gets.
    fn no_deadline(&self) -> Deadline {
        Deadline::at(self.clock.instant() + Duration::from_mins(1))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The time from one moment to a later one, both in microseconds; zero if it is not later.
fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

#[async_trait]
impl<V: Portable> Cache<V> for Tiered<V> {
    fn reading(&self) -> Reading {
        self.memory.reading()
    }

    fn get(&self, key: &str) -> Option<Hit<V>> {
        self.memory.get(key)
    }

    fn get_fresh(&self, key: &str) -> Option<Hit<V>> {
        self.memory.get_fresh(key)
    }

    fn put(&self, reading: Reading, key: &str, value: Arc<V>, lifetime: Lifetime, expires_at: Option<Instant>) -> bool {
        let is_kept = self.memory.put(reading, key, Arc::clone(&value), lifetime, expires_at);
        if is_kept {
            self.offer(reading, key, value, lifetime, expires_at);
        }
        is_kept
    }

    async fn join(&self, key: &str, deadline: Deadline) -> Result<Joined<V>> {
        let leader = match self.memory.join(key, deadline).await? {
            Joined::Load(leader) => leader,
            landed => return Ok(landed),
        };
        match self.fetch(key, deadline, leader.reading()).await {
            Some(hit) => {
                leader.finish_found(&hit);
                Ok(Joined::Found(hit))
            }
            None => Ok(Joined::Load(leader)),
        }
    }

    fn stats(&self) -> Stats {
        self.memory.stats()
    }
}

impl<V: Portable> Invalidate for Tiered<V> {
    fn follow(&self, changes: &[RecordedEvent]) {
        self.history.follow(changes, || {
            self.memory.follow(changes);
            self.memory.reading()
        });
        let newest = self.history.newest();
        let heard = self.heard.load(Ordering::Relaxed);
        self.announced.send_if_modified(|known| {
            let is_news = newest > *known && newest != heard;
            *known = newest.max(*known);
            is_news
        });
    }

    fn forget(&self) {
        // The history first: what was judged by the old one began before the memory forgets, and is refused there.
        self.history.forget();
        self.memory.forget();
        self.heard.store(0, Ordering::Relaxed);
        self.announced.send_if_modified(|known| {
            *known = 0;
            false
        });
    }

    fn turn_to(&self, server_run: ServerRun, since: Option<Instant>) {
        // The history first, as above. Who begins before the memory has turned read from nobody knows whom.
        self.history.turn_to(server_run, Reading(u64::MAX));
        self.memory.turn_to(server_run, since);
        self.history.turn_to(server_run, self.memory.reading());
    }

    fn confirm(&self, as_of: Instant) {
        self.memory.confirm(as_of);
    }

    fn distrust(&self, since: Instant, written: &Footprint) {
        // The history first, as above.
        self.history.expect(written);
        self.memory.distrust(since, written);
    }
}

impl<V: Portable> fmt::Debug for Tiered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered")
            .field("memory", &self.memory)
            .field("remote", &self.remote)
            .field("shared", &self.shared_stats())
            .finish_non_exhaustive()
    }
}
