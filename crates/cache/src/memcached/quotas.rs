//! Quotas that all nodes share, counted in Memcached.
//!
//! What lies there is one number ([`Rate`]), which is read and then written under the condition that
//! nobody has written in between (`mg … c`, `ms … C`). What this process is asked while it is at it
//! is counted in the next round, all of it at once: only nodes ever meet there, and as many of them
//! as want something of one quota at the same moment. A quota that is used up is only read.
//!
//! Memcached has no clock to ask, so the moments are those of this node's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inkstone_core::clock::SharedClock;
use inkstone_core::guard::retry::Dice;
use tokio::sync::oneshot;

use super::{LONGEST, Servers, nonsense};
use crate::gcra::{CLOCKS_APART, Rate};
use crate::remote::{RemoteError, Taken};

/// How often a number is read and written until it is given up. Whenever a round is in vain another
/// node has counted.
const ROUNDS: u32 = 16;
/// The longest pause before the next round, times the number of the round: nodes get out of step.
const PAUSE: Duration = Duration::from_micros(200);

/// Everybody who wants something of a quota.
pub(super) struct Quotas {
    servers: Arc<Servers>,
    clock: SharedClock,
    /// How long a round of questions may take altogether.
    patience: Duration,
    dice: Dice,
    /// By name; whoever has a place here, even an empty one, is being counted.
    waiting: Mutex<HashMap<String, Vec<Asking>>>,
}

struct Asking {
    rate: Rate,
    answer: oneshot::Sender<Result<Taken, RemoteError>>,
}

/// What lies under a name.
struct Kept {
    /// The number; none if it is not there, or is no number.
    full_at: Option<u64>,
    /// The name of this very state of it; none if nothing is there.
    version: Option<u64>,
}

impl Quotas {
    pub(super) fn new(servers: Arc<Servers>, clock: SharedClock, patience: Duration, seed: u64) -> Self {
        Self { servers, clock, patience, dice: Dice::new(seed), waiting: Mutex::default() }
    }

    /// Takes one, after those who asked before.
    pub(super) async fn take(self: &Arc<Self>, name: &str, rate: Rate) -> Result<Taken, RemoteError> {
        let (answer, answered) = oneshot::channel();
        if self.queue(name, Asking { rate, answer }) {
            // A task of its own: whoever asked first may go away, the others wait for an answer.
            tokio::spawn(Arc::clone(self).count(name.to_owned()));
        }
        answered.await.unwrap_or(Err(RemoteError::NotConnected))
    }

    /// Whether nobody is counting what is asked of `name`.
    fn queue(&self, name: &str, asking: Asking) -> bool {
        match self.waiting().entry(name.to_owned()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(asking);
                false
            }
            Entry::Vacant(place) => {
                place.insert(vec![asking]);
                true
            }
        }
    }

    /// Counts until nobody asks any more.
    async fn count(self: Arc<Self>, name: String) {
        while let Some(mut round) = self.next_round(&name) {
            // Whoever has gone counts for itself by now.
            round.retain(|asking| !asking.answer.is_closed());
            if round.is_empty() {
                continue;
            }
            let rates: Vec<Rate> = round.iter().map(|asking| asking.rate).collect();
            let settled = tokio::time::timeout(self.patience, self.settle(&name, &rates)).await;
            let late = |_| Err(RemoteError::Failed(format!("no answer within {:?}", self.patience)));
            match settled.unwrap_or_else(late) {
                Ok(taken) => round.into_iter().zip(taken).for_each(|(asking, taken)| asking.tell(Ok(taken))),
                Err(error) => round.into_iter().for_each(|asking| asking.tell(Err(error.clone()))),
            }
        }
    }

    /// Those who have asked meanwhile; none if there are none: then the place is free.
    fn next_round(&self, name: &str) -> Option<Vec<Asking>> {
        let mut waiting = self.waiting();
        let round = waiting.get_mut(name).map(std::mem::take).filter(|round| !round.is_empty());
        if round.is_none() {
            waiting.remove(name);
        }
        round
    }

    /// Takes one for each of `rates`, as far as there are.
    async fn settle(&self, name: &str, rates: &[Rate]) -> Result<Vec<Taken>, RemoteError> {
        for round in 1..=ROUNDS {
            let kept = self.read(name).await?;
            let now = u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0);
            let mut full_at = kept.full_at;
            let mut take = |rate: &Rate| {
                let (next, taken) = rate.take(full_at, now);
                full_at = Some(next);
                taken
            };
            let taken: Vec<Taken> = rates.iter().map(&mut take).collect();
            let Some(full_at) = full_at.filter(|_| full_at != kept.full_at) else { return Ok(taken) };
            let left = Duration::from_micros(full_at.saturating_sub(now));
            if self.write(name, full_at, kept.version, left).await? {
                return Ok(taken);
            }
            tokio::time::sleep((PAUSE * round).mul_f64(self.dice.roll())).await;
        }
        Err(RemoteError::Contended)
    }

    async fn read(&self, name: &str) -> Result<Kept, RemoteError> {
        let (line, value) = self.servers.ask(name, &[b"mg ", name.as_bytes(), b" v c\r\n"]).await?;
        let Some(value) = value else {
            return if line == "EN" { Ok(Kept { full_at: None, version: None }) } else { Err(nonsense(&line)) };
        };
        let version = line.split(' ').find_map(|word| word.strip_prefix('c')?.parse().ok());
        // What is no number was not put there by us, and is replaced.
        let full_at = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        Ok(Kept { full_at, version: Some(version.ok_or_else(|| nonsense(&line))?) })
    }

    /// Whether it was written: if nobody has written since `version`, or since there was nothing.
    /// What says nothing any more, by any clock, is forgotten.
    ///
    /// When a connection breaks a question may be asked twice, and the first one have been heard: then
    /// one is counted twice, to the disadvantage of whoever asked.
    async fn write(&self, name: &str, full_at: u64, version: Option<u64>, left: Duration) -> Result<bool, RemoteError> {
        let number = full_at.to_string();
        let condition = version.map_or_else(|| "ME".to_owned(), |version| format!("C{version}"));
        // Memcached counts whole seconds, of which the first may be over at once.
        let seconds = (left + CLOCKS_APART).as_secs().saturating_add(2).min(LONGEST.as_secs());
        let request = format!("ms {name} {} {condition} T{seconds}\r\n{number}\r\n", number.len());
        match self.servers.ask(name, &[request.as_bytes()]).await? {
            (line, None) if line == "HD" => Ok(true),
            (line, None) if matches!(line.as_str(), "EX" | "NF" | "NS") => Ok(false),
            (line, _) => Err(nonsense(&line)),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Vec<Asking>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    fn tell(self, taken: Result<Taken, RemoteError>) {
        // Whoever does not listen any more counts for itself.
        drop(self.answer.send(taken));
    }
}
