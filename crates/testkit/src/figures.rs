//! What clients felt of a fault, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A request and how it ended, in times since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When it was sent.
    pub begin: Duration,
    /// When the answer was there, or was given up.
    pub end: Duration,
    /// Whether it asked for a change.
    pub is_write: bool,
    /// The status; `None` if there was no answer.
    pub status: Option<u16>,
}

impl Heard {
    /// No answer, or one that blames the server.
    pub fn is_error(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    fn took(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }
}

/// What became of the requests of one kind while a fault held and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Felt {
    /// Requests that ended after the fault began.
    pub requests: usize,
    /// Of these, errors.
    pub errors: usize,
    /// The longest time without a success, from the fault on.
    pub longest_gap: Duration,
    /// The longest that anybody waited for an error.
    pub longest_error: Duration,
    /// From the end of the fault to the end of the first success that was asked for after it;
    /// `None` if there was none.
    pub again_after: Option<Duration>,
}

/// What clients felt of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Of requests that change nothing.
    pub reads: Felt,
    /// Of requests for a change.
    pub writes: Felt,
    /// How often which error came; 0 is no answer.
    pub errors: BTreeMap<u16, usize>,
    /// From the end of the fault to the end of the last error.
    pub errors_until: Duration,
    /// 99 of 100 successes took no longer: before the fault, and while it held.
    pub p99: [Duration; 2],
}

impl Figures {
    /// For a fault that held from `fault` to `healed`.
    pub fn of(heard: &[Heard], fault: Duration, healed: Duration) -> Self {
        let felt = |is_write: bool| {
            let mut of_kind: Vec<Heard> =
                heard.iter().filter(|one| one.is_write == is_write && one.end >= fault).copied().collect();
            of_kind.sort_by_key(|one| one.end);
            Felt::of(&of_kind, fault, healed)
        };
        let after = || heard.iter().filter(|one| one.end >= fault);
        let mut errors = BTreeMap::new();
        for error in after().filter(|one| one.is_error()) {
            *errors.entry(error.status.unwrap_or(0)).or_default() += 1;
        }
        let last_error = after().filter(|one| one.is_error()).map(|one| one.end).max();
        let during = |one: &&Heard| one.end >= fault && one.begin < healed;
        Self {
            reads: felt(false),
            writes: felt(true),
            errors,
            errors_until: last_error.unwrap_or_default().saturating_sub(healed),
            p99: [p99(heard.iter().filter(|one| one.end < fault)), p99(heard.iter().filter(during))],
        }
    }
}

impl Felt {
    /// `heard` is of one kind, ended after the fault began, and is in the order of its ends.
    fn of(heard: &[Heard], fault: Duration, healed: Duration) -> Self {
        let (mut longest_gap, mut last) = (Duration::ZERO, fault);
        for success in heard.iter().filter(|one| !one.is_error()) {
            longest_gap = longest_gap.max(success.end.saturating_sub(last));
            last = success.end;
        }
        let errors = || heard.iter().filter(|one| one.is_error());
        // A run that ends with errors has no success at its end.
        let end = errors().map(|one| one.end).max().unwrap_or(last);
        let again = heard.iter().find(|one| !one.is_error() && one.begin >= healed);
        Self {
            requests: heard.len(),
            errors: errors().count(),
            longest_gap: longest_gap.max(end.saturating_sub(last)),
            longest_error: errors().map(Heard::took).max().unwrap_or_default(),
            again_after: again.map(|one| one.end.saturating_sub(healed)),
        }
    }
}

fn p99<'h>(heard: impl Iterator<Item = &'h Heard>) -> Duration {
    let mut times: Vec<Duration> = heard.filter(|one| !one.is_error()).map(Heard::took).collect();
    times.sort_unstable();
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

/// One line, for tables.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, felt) in [("reads", &self.reads), ("writes", &self.writes)] {
            let Felt { requests, errors, longest_gap, longest_error, again_after } = felt;
            let again = again_after.map_or("never".to_owned(), |after| format!("{} ms", after.as_millis()));
            write!(
                f,
                "{name}: {errors} errors of {requests}, longest gap {} ms, longest wait for an error {} ms, again after {again}; ",
                longest_gap.as_millis(),
                longest_error.as_millis(),
            )?;
        }
        let [before, during] = self.p99.map(|time| time.as_millis());
        write!(f, "errors {:?} until {} ms after; ", self.errors, self.errors_until.as_millis())?;
        write!(f, "p99 {before} ms before, {during} ms during")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn heard(begin: u64, end: u64, is_write: bool, status: u16) -> Heard {
        Heard { begin: ms(begin), end: ms(end), is_write, status: Some(status).filter(|status| *status > 0) }
    }

    #[test]
    fn gaps_waits_and_recovery_are_counted_from_the_fault_on() {
        let run = [
            heard(0, 10, true, 201),
            heard(50, 90, true, 503),
            heard(90, 105, true, 201),
            heard(110, 310, true, 503),
            heard(320, 330, true, 0),
            // Sent while the fault held, and answered after it.
            heard(390, 420, true, 201),
            heard(430, 470, true, 201),
            heard(400, 401, false, 200),
        ];
        let figures = Figures::of(&run, ms(100), ms(400));
        let felt =
            Felt { requests: 5, errors: 2, longest_gap: ms(315), longest_error: ms(200), again_after: Some(ms(70)) };
        assert_eq!(figures.writes, felt);
        assert_eq!(figures.reads.longest_gap, ms(301), "from the fault to the first success");
        assert_eq!(figures.errors, BTreeMap::from([(0, 1), (503, 1)]));
        assert_eq!(figures.errors_until, ms(0));
        assert_eq!(figures.p99, [ms(10), ms(30)]);
    }

    #[test]
    fn what_never_recovers_is_no_success() {
        let run = [heard(110, 150, false, 503), heard(450, 900, false, 503)];
        let figures = Figures::of(&run, ms(100), ms(400));
        assert_eq!(figures.reads.again_after, None);
        assert_eq!(figures.reads.longest_gap, ms(800));
        assert_eq!(figures.errors_until, ms(500));
        assert_eq!(figures.writes, Felt::default());
    }

    #[test]
    fn refusals_on_good_grounds_are_no_errors() {
        let run = [heard(110, 120, true, 412), heard(120, 130, true, 429), heard(130, 140, false, 404)];
        let figures = Figures::of(&run, ms(100), ms(100));
        assert!(figures.errors.is_empty());
        assert_eq!(figures.writes.errors, 0);
    }
}
