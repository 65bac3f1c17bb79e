//! What the executor counts, for metrics. All counters grow from the start of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of [`WriterStats::group_sizes`]; the last bucket has none.
pub const GROUP_SIZE_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// A look at the counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The readers.
    pub readers: ReaderStats,
    /// The writer.
    pub writer: WriterStats,
}

/// What the readers did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// How many threads there are.
    pub threads: u64,
    /// Units of work that wait now.
    pub queued: u64,
    /// How many may wait.
    pub capacity: u64,
    /// Units that were run.
    pub jobs: u64,
    /// Of those, units that gave an error, refusals of the domain included.
    pub failed: u64,
    /// Of those, units that panicked.
    pub panicked: u64,
    /// Units that were refused because the queue was full.
    pub shed: u64,
    /// Units that were not started because their deadline had passed or nobody waited any more.
    pub dropped: u64,
    /// Time spent on units, summed over threads.
    pub busy: Duration,
}

/// What the writer did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Units of work that wait now.
    pub queued: u64,
    /// How many may wait.
    pub capacity: u64,
    /// Units that were run.
    pub jobs: u64,
    /// As [`ReaderStats::failed`].
    pub failed: u64,
    /// As [`ReaderStats::panicked`].
    pub panicked: u64,
    /// As [`ReaderStats::shed`].
    pub shed: u64,
    /// As [`ReaderStats::dropped`].
    pub dropped: u64,
    /// Time spent on units and commits.
    pub busy: Duration,
    /// Transactions that were committed.
    pub groups: u64,
    /// How many of them had how many units: one bucket for each of [`GROUP_SIZE_BOUNDS`], not
    /// summed up, and one for more.
    pub group_sizes: [u64; GROUP_SIZE_BOUNDS.len() + 1],
    /// Time spent in commits, flushes to disk included.
    pub committing: Duration,
    /// Commits that failed.
    pub commit_errors: u64,
    /// How often the connection was opened anew after an error.
    pub reopened: u64,
    /// Checkpoints that were tried.
    pub checkpoints: u64,
    /// Checkpoints that gave an error.
    pub checkpoint_errors: u64,
    /// Pages in the write-ahead log.
    pub log_pages: u64,
}

/// A number that only grows, or is set; read without order.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn add_time(&self, more: Duration) {
        self.add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

/// The counters of one kind of thread.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) jobs: Counter,
    pub(super) failed: Counter,
    pub(super) panicked: Counter,
    pub(super) shed: Counter,
    pub(super) dropped: Counter,
    pub(super) busy: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) readers: Lane,
    pub(super) writer: Lane,
    pub(super) groups: Counter,
    pub(super) group_sizes: [Counter; GROUP_SIZE_BOUNDS.len() + 1],
    pub(super) committing: Counter,
    pub(super) commit_errors: Counter,
    pub(super) reopened: Counter,
    pub(super) checkpoints: Counter,
    pub(super) checkpoint_errors: Counter,
    pub(super) log_pages: Counter,
}

impl Counters {
    pub(super) fn count_group(&self, size: u64) {
        self.groups.add(1);
        let bucket = GROUP_SIZE_BOUNDS.iter().position(|bound| size <= *bound).unwrap_or(GROUP_SIZE_BOUNDS.len());
        self.group_sizes[bucket].add(1);
    }

    /// The counters as they are now; what is queued is for the caller to fill in.
    pub(super) fn snapshot(&self) -> Stats {
        let (readers, writer) = (&self.readers, &self.writer);
        Stats {
            readers: ReaderStats {
                threads: 0,
                queued: 0,
                capacity: 0,
                jobs: readers.jobs.get(),
                failed: readers.failed.get(),
                panicked: readers.panicked.get(),
                shed: readers.shed.get(),
                dropped: readers.dropped.get(),
                busy: readers.busy.time(),
            },
            writer: WriterStats {
                queued: 0,
                capacity: 0,
                jobs: writer.jobs.get(),
                failed: writer.failed.get(),
                panicked: writer.panicked.get(),
                shed: writer.shed.get(),
                dropped: writer.dropped.get(),
                busy: writer.busy.time(),
                groups: self.groups.get(),
                group_sizes: std::array::from_fn(|bucket| self.group_sizes[bucket].get()),
                committing: self.committing.time(),
                commit_errors: self.commit_errors.get(),
                reopened: self.reopened.get(),
                checkpoints: self.checkpoints.get(),
                checkpoint_errors: self.checkpoint_errors.get(),
                log_pages: self.log_pages.get(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fall_into_their_buckets() {
        let counters = Counters::default();
        for size in [1, 2, 3, 4, 64, 65] {
            counters.count_group(size);
        }
        assert_eq!(counters.snapshot().writer.group_sizes, [1, 1, 2, 0, 0, 0, 1, 1]);
        assert_eq!(counters.snapshot().writer.groups, 6);
    }
}
