//! Passwords: what is accepted ([`rules`]) and the bounded pool that hashes them.
//!
//! Argon2id is slow and hungry on purpose (19 MiB and some 30 ms each), so it runs on a few
//! threads with a short queue in front: a flood of sign-ins is shed and cannot starve the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use inkstone_core::Context;
use inkstone_core::clock::{SharedClock, SharedEntropy};
use inkstone_core::error::{Code, Error, Result};
use secrecy::zeroize::Zeroizing;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub mod rules;

pub use rules::PasswordContext;

/// The least memory, in KiB, passes and lanes (OWASP's floor for Argon2id).
const FLOOR: (u32, u32, u32) = (19 * 1024, 2, 1);
/// More than this is a mistake in the configuration: 1 GiB.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;

/// The cost of password hashes, and how many are computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashingSettings {
    /// Memory for one hash in KiB; less than 19456 is raised to that.
    pub memory_kib: u32,
    /// Passes over the memory; at least 2.
    pub passes: u32,
    /// Lanes; at least 1.
    pub lanes: u32,
    /// Hashes computed at the same time; at least 1.
    pub workers: usize,
    /// Sign-ins that may wait for their turn; those beyond are told to come back.
    pub queue: usize,
}

impl Default for HashingSettings {
    fn default() -> Self {
        let (memory_kib, passes, lanes) = FLOOR;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { memory_kib, passes, lanes, workers: cores.saturating_sub(1).max(1), queue: 64 }
    }
}

impl HashingSettings {
    fn params(&self) -> Params {
        let memory_kib = self.memory_kib.clamp(FLOOR.0, MOST_MEMORY_KIB);
        let (passes, lanes) = (self.passes.clamp(FLOOR.1, 64), self.lanes.clamp(FLOOR.2, 16));
        // Within these bounds Argon2 accepts everything; its default is the floor.
        Params::new(memory_kib, passes, lanes, None).unwrap_or_default()
    }
}

/// A turn in the pool. Whoever holds it may hash, and counts against the bound until it is dropped.
pub(crate) struct Turn {
    _worker: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// What a comparison gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) matches: bool,
    /// The hash was made with other parameters than are in use now.
    pub(crate) outdated: bool,
}

/// How much hashing was done and is waiting: for metrics, and for the test that unknown logins
/// cost the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashingStats {
    /// Passwords hashed since the start.
    pub hashed: u64,
    /// Passwords compared with a hash since the start.
    pub verified: u64,
    /// Turns taken or waited for at this moment.
    pub in_use: usize,
}

pub(crate) struct Hasher {
    params: Params,
    /// Nobody's password, with the parameters in use: compared with where there is nothing to compare with.
    nobody: Arc<str>,
    workers: Arc<Semaphore>,
    places: Arc<Semaphore>,
    capacity: usize,
    clock: SharedClock,
    entropy: SharedEntropy,
    hashed: AtomicU64,
    verified: Arc<AtomicU64>,
}

impl Hasher {
    pub(crate) fn new(settings: HashingSettings, clock: SharedClock, entropy: SharedEntropy) -> Self {
        let params = settings.params();
        let workers = settings.workers.clamp(1, 1024);
        let capacity = workers + settings.queue.min(1_000_000);
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        // 16 bytes of salt and 32 of output, both arbitrary: no password leads there.
        let nobody =
            format!("$argon2id$v=19$m={memory},t={passes},p={lanes}$AAAAAAAAAAAAAAAAAAAAAA${}", "A".repeat(43));
        Self {
            params,
            nobody: nobody.into(),
            workers: Arc::new(Semaphore::new(workers)),
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            clock,
            entropy,
            hashed: AtomicU64::new(0),
            verified: Arc::default(),
        }
    }

    pub(crate) fn stats(&self) -> HashingStats {
        HashingStats {
            hashed: self.hashed.load(Ordering::Relaxed),
            verified: self.verified.load(Ordering::Relaxed),
            in_use: self.capacity - self.places.available_permits(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `DeadlineExceeded` when the turn did not come in time.
    pub(crate) async fn turn(&self, ctx: &Context) -> Result<Turn> {
        let overloaded =
            || Error::try_later(Code::Overloaded, "Too many people are signing in right now.", Duration::from_secs(1));
        let place = self.places.clone().try_acquire_owned().map_err(|_| overloaded())?;
        let late = || Error::refused(Code::DeadlineExceeded, "The deadline passed before the password was looked at.");
        let left = ctx.deadline.remaining(self.clock.instant());
        if left.is_zero() {
            return Err(late());
        }
        let worker = tokio::time::timeout(left, self.workers.clone().acquire_owned())
            .await
            .map_err(|_| late())?
            .map_err(Error::internal)?;
        Ok(Turn { _worker: worker, _place: place })
    }

    /// Hashes a password that [`rules::normalise`] gave.
    pub(crate) async fn hash(&self, turn: Turn, password: Zeroizing<String>) -> Result<(String, Turn)> {
        let mut salt = [0_u8; 16];
        self.entropy.fill(&mut salt)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        self.hashed.fetch_add(1, Ordering::Relaxed);
        // The turn travels with the work: work whose caller has gone away still counts.
        blocking(move || {
            let hash = argon2.hash_password_with_salt(password.as_bytes(), &salt);
            (hash.map(|hash| hash.to_string()), turn)
        })
        .await
        .and_then(|(hash, turn)| Ok((hash.map_err(|error| Error::internal(error.to_string()))?, turn)))
    }

    /// Compares a password with a hash, or with nobody's: the work is the same, the answer no.
    pub(crate) async fn verify(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<(Verdict, Turn)> {
        let nobody = self.nobody.clone();
        let wanted = self.params.clone();
        let verified = self.verified.clone();
        blocking(move || {
            let stored = hash.as_deref().and_then(|hash| {
                PasswordHash::new(hash).inspect_err(|_| tracing::error!("a stored password hash cannot be read")).ok()
            });
            let outdated = stored.as_ref().is_some_and(|hash| is_outdated(hash, &wanted));
            let is_known = stored.is_some();
            let equals = stored.or_else(|| PasswordHash::new(&nobody).ok()).is_some_and(|hash| {
                verified.fetch_add(1, Ordering::Relaxed);
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            });
            let verdict = Verdict { matches: equals && is_known, outdated };
            (verdict, turn)
        })
        .await
    }
}

/// Whether any parameter is weaker than wanted. Stronger ones stay: nobody's hash gets weaker.
fn is_outdated(hash: &PasswordHash, wanted: &Params) -> bool {
    let Ok(params) = Params::try_from(hash) else { return true };
    hash.algorithm != Algorithm::Argon2id.ident()
        || hash.version != Some(Version::V0x13.into())
        || params.m_cost() < wanted.m_cost()
        || params.t_cost() < wanted.t_cost()
        || params.p_cost() < wanted.p_cost()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}
