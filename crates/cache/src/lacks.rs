//! What a shared tier does not do for this process: found out before it is needed, or when it is,
//! and told to the operator once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::remote::{Remote, RemoteError};

/// The pause before asking again for a connection that is being made.
const PAUSE: Duration = Duration::from_millis(20);

/// What is needed of a shared tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// To be there and to answer.
    Answer,
    /// To hand out what lies there.
    Read,
    /// To take something in.
    Write,
    /// To count for all processes.
    Count,
    /// To tell other processes of changes.
    Announce,
    /// To hear of changes from other processes.
    Listen,
}

impl Need {
    /// What it cannot do, as one would say it of a server.
    pub fn lack(self) -> &'static str {
        match self {
            Self::Answer => "does not answer",
            Self::Read => "does not let us read",
            Self::Write => "does not let us write",
            Self::Count => "does not let us count",
            Self::Announce => "does not let us announce changes",
            Self::Listen => "does not let us hear of changes",
        }
    }

    /// How it is without: nothing that is needed is ever vital.
    pub fn without(self) -> &'static str {
        match self {
            Self::Answer => "answers are not shared and rate limits count per process",
            Self::Read | Self::Write => "answers are not shared",
            Self::Count => "rate limits count per process",
            Self::Announce | Self::Listen => "processes learn of changes only when they look for them",
        }
    }
}

/// Something that is needed and not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What.
    pub need: Need,
    /// Why.
    pub error: RemoteError,
}

/// What the operator is to know of a shared tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It did not answer when this process started; it is asked on.
    Unreachable(RemoteError),
    /// Now it does.
    Answers,
    /// It answers and refuses this. Told once for each need.
    Denied(Lack),
}

/// Tells notices, each of them once.
pub(crate) struct Notices {
    tell: Box<dyn Fn(Notice) + Send + Sync>,
    denied: Mutex<BTreeSet<Need>>,
}

impl Notices {
    pub(crate) fn new(tell: Box<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self { tell, denied: Mutex::default() }
    }

    pub(crate) fn tell(&self, notice: Notice) {
        (self.tell)(notice);
    }

    /// Notes that something came to nothing. What is only unreachable, or broken, is for the guard to tell.
    pub(crate) fn failed(&self, need: Need, error: &RemoteError) {
        let RemoteError::Denied(_) = error else { return };
        let is_news = self.denied.lock().unwrap_or_else(PoisonError::into_inner).insert(need);
        if is_news {
            self.tell(Notice::Denied(Lack { need, error: error.clone() }));
        }
    }
}

/// Waits until it answers or refuses to, and gives why it does neither when patience is over.
pub(crate) async fn first_answer(remote: &dyn Remote, patience: Duration) -> Result<(), RemoteError> {
    let mut trouble = RemoteError::Unreachable(format!("nothing answers within {patience:?}"));
    let asked = async {
        loop {
            match remote.ping().await {
                Err(RemoteError::NotConnected) => {}
                Err(error @ (RemoteError::Unreachable(_) | RemoteError::Failed(_))) => trouble = error,
                answer => return answer,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answer = tokio::time::timeout(patience, asked).await;
    answer.unwrap_or(Err(trouble))
}

/// Tries everything that a cache will ask of a tier, under names that begin with `prefix`, and gives
/// what it lacks. Each step has so much patience. What lay there is not touched.
pub async fn examine(remote: &dyn Remote, prefix: &str, patience: Duration) -> Vec<Lack> {
    if let Err(error) = first_answer(remote, patience).await {
        return vec![Lack { need: Need::Answer, error }];
    }
    let (entry, quota, channel) = (format!("{prefix}entry"), format!("{prefix}quota"), format!("{prefix}channel"));
    let second = Duration::from_secs(1);
    let wrote = within(patience, remote.put(&entry, Bytes::from_static(b"-"), second)).await;
    let read = within(patience, remote.get(&entry)).await.map(drop);
    // So many that it is never used up: a refusal would count nothing.
    let counted = within(patience, remote.take(&quota, 1_000_000, second)).await.map(drop);
    let announced = within(patience, remote.announce(&channel, 0)).await;
    let heard = match &announced {
        Ok(()) => within(patience, hear(remote, &channel)).await,
        // Nothing would be heard, whether we may listen or not; only a refusal is worth a word.
        Err(_) => match tokio::time::timeout(patience / 10, remote.listen(&channel, &|_: u64| {})).await {
            Ok(Err(error @ RemoteError::Denied(_))) => Err(error),
            _ => Ok(()),
        },
    };
    let tried = [
        (Need::Write, wrote),
        (Need::Read, read),
        (Need::Count, counted),
        (Need::Announce, announced),
        (Need::Listen, heard),
    ];
    let lack = |(need, outcome): (Need, Result<(), RemoteError>)| match outcome {
        Ok(()) | Err(RemoteError::Unsupported) => None,
        Err(error) => Some(Lack { need, error }),
    };
    tried.into_iter().filter_map(lack).collect()
}

async fn within<T>(patience: Duration, call: impl Future<Output = Result<T, RemoteError>>) -> Result<T, RemoteError> {
    let late = |_| Err(RemoteError::Failed(format!("no answer within {patience:?}")));
    tokio::time::timeout(patience, call).await.unwrap_or_else(late)
}

/// Listens, and announces until it hears itself.
async fn hear(remote: &dyn Remote, channel: &str) -> Result<(), RemoteError> {
    let heard = tokio::sync::Notify::new();
    let hear = |_: u64| heard.notify_one();
    tokio::select! {
        ended = remote.listen(channel, &hear) => ended,
        () = heard.notified() => Ok(()),
        ended = announce_on(remote, channel) => ended,
    }
}

/// What is lost on the way is announced again.
async fn announce_on(remote: &dyn Remote, channel: &str) -> Result<(), RemoteError> {
    loop {
        remote.announce(channel, 0).await?;
        tokio::time::sleep(PAUSE).await;
    }
}
