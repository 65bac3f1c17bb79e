//! Why a command did not do what it was asked: in words for people, with what to do about it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use inkstone_core::error::{Code, Error};

use crate::config;

/// The exit code of a command that failed.
pub const FAILED: u8 = 1;
/// The exit code of a command that was not understood: nothing was done.
pub const USAGE: u8 = 2;

/// A command that failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is not valid.
    Config(Vec<config::Fault>),
    /// The command line makes no sense.
    Usage(String),
    /// The deed was refused or went wrong.
    Failed {
        /// What happened.
        what: String,
        /// What to do about it.
        hint: Option<Hint>,
    },
    /// The reader of the output has gone away, which is nobody's mistake.
    NobodyReads,
    /// It went wrong, and everything about that has been said.
    Said,
}

/// What to do about a failure.
#[derive(Debug)]
pub enum Hint {
    /// This.
    Words(String),
    /// To ask `inkstone doctor`, in these words: nothing that it could say itself.
    Doctor(&'static str),
}

impl Hint {
    /// For what may have many reasons.
    const ANYTHING: Self = Self::Doctor("`inkstone doctor` looks for what could be wrong");

    fn of(code: Code) -> Option<Self> {
        match code {
            Code::StorageDamaged => Some(Self::Doctor(
                "`inkstone doctor` says what is damaged; keep a copy of the data, and restore a backup",
            )),
            Code::StorageFull => {
                Some(Self::Words("make room on the disk of the data directory; nothing was lost".to_owned()))
            }
            Code::Unavailable | Code::Overloaded => Some(Self::ANYTHING),
            _ => None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Words(words) => words,
            Self::Doctor(words) => words,
        })
    }
}

/// What commands return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None }
    }

    /// A failure with a hint.
    pub fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(Hint::Words(hint.into())) }
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Usage(_) => ExitCode::from(USAGE),
            Self::Failed { .. } | Self::Said => ExitCode::from(FAILED),
            Self::NobodyReads => ExitCode::SUCCESS,
        }
    }

    /// What happened, and what to do about it, where that is said apart and is more than to ask `inkstone doctor`.
    pub fn for_doctor(self) -> (String, Option<String>) {
        match self {
            Self::Failed { what, hint: Some(Hint::Words(hint)) } => (what, Some(hint)),
            Self::Failed { what, hint: Some(Hint::Doctor(_)) | None } => (what, None),
            other => (other.message().unwrap_or_default().trim_start_matches("error: ").trim().to_owned(), None),
        }
    }

    /// What stands on stderr; nothing for what has been said.
    pub fn message(&self) -> Option<String> {
        Some(match self {
            Self::Config(faults) => {
                let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
                format!("error: the configuration is not valid\n{}\n", lines.join("\n"))
            }
            Self::Usage(what) => format!("error: {what}\n\nFor more information, try '--help'.\n"),
            Self::Failed { what, hint: None } => format!("error: {what}\n"),
            Self::Failed { what, hint: Some(hint) } => format!("error: {what}\n  hint: {hint}\n"),
            Self::NobodyReads | Self::Said => return None,
        })
    }
}

impl From<Vec<config::Fault>> for Failure {
    fn from(faults: Vec<config::Fault>) -> Self {
        Self::Config(faults)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(faults) => {
                let faults = faults.iter().map(|fault| {
                    let place = fault.pointer.trim_start_matches('/').replace('/', ".");
                    let colon = if place.is_empty() { "" } else { ": " };
                    format!("{place}{colon}{}", fault.detail)
                });
                Self::new(faults.collect::<Vec<_>>().join("\n  "))
            }
            Error::Refused { code, detail } | Error::TryLater { code, detail, .. } => {
                Self::Failed { what: detail.into_owned(), hint: Hint::of(code) }
            }
            Error::LacksScope(scope) => Self::new(format!("This needs the scope {}.", scope.as_str())),
            // On the operator's own terminal nothing needs to be hidden.
            Error::Internal(source) => {
                let chain = std::iter::successors(Some(&*source as &dyn std::error::Error), |error| error.source());
                let text = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
                Self::Failed { what: text, hint: Some(Hint::ANYTHING) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inkstone_core::error::FaultCode;

    #[test]
    fn what_the_domain_refuses_reads_like_a_sentence() {
        let failure = Failure::from(Error::invalid("/handle", FaultCode::Taken, "Taken already."));
        assert_eq!(failure.message().unwrap(), "error: handle: Taken already.\n");
        let failure = Failure::from(Error::refused(Code::StorageFull, "There is no space left."));
        assert!(failure.message().unwrap().contains("hint: make room"));
    }

    #[test]
    fn who_is_the_doctor_is_not_told_to_ask_the_doctor() {
        for code in [Code::StorageDamaged, Code::Unavailable] {
            let failure = || Failure::from(Error::refused(code, "It is not there."));
            assert!(failure().message().unwrap().contains("hint: `inkstone doctor` "));
            assert_eq!(failure().for_doctor(), ("It is not there.".to_owned(), None));
        }
        assert_eq!(Failure::from(Error::internal("fire")).for_doctor().1, None);
        let hint = "stop the server, and run `inkstone doctor` again";
        assert_eq!(Failure::with_hint("It runs.", hint).for_doctor().1.as_deref(), Some(hint));
    }

    #[test]
    fn an_internal_error_tells_its_whole_story() {
        let source = io::Error::other("the disk is on fire");
        let failure = Failure::from(Error::internal(source));
        assert!(failure.message().unwrap().contains("the disk is on fire"));
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.message(), None);
        assert_eq!(failure.exit_code(), ExitCode::SUCCESS);
    }
}
