//! Logs: for people on a terminal, as JSON lines otherwise; always on stderr, always in UTC.
//!
//! Whoever logs never waits for the reader of the log: lines go through a bounded queue to a
//! thread, and what does not fit is dropped and counted.

mod writer;

use std::io::IsTerminal as _;

use inkstone_core::clock::SharedClock;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Log, LogFormat};

pub use writer::Flush;

/// What is logged for those only who name it in their filter: the pool of connections to PostgreSQL repeats for each of
/// them that it broke, and not why; the store says once that, and why, the database is away.
const QUIET: &str = "deadpool=off";

/// Keeps the log going; dropped last, it writes what is still queued.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    flush: Flush,
}

impl Telemetry {
    /// Takes on another filter, such as `info,inkstone_http=debug`.
    ///
    /// # Errors
    /// Why the filter cannot be understood.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        self.filter.reload(parse(filter)?).map_err(|error| error.to_string())
    }

    /// What to call before the process ends without returning: it waits for a while until all lines are written.
    pub fn last_words(&self) -> impl Fn() + Send + Sync + 'static {
        let sink = self.flush.sink();
        move || {
            // Where they cannot be written, nobody is left to tell.
            let _all_written = sink.finish();
        }
    }

    /// Lines that were dropped because the reader of the log was too slow.
    pub fn dropped_lines(&self) -> u64 {
        self.flush.dropped_lines()
    }
}

/// Says why `filter` cannot be understood.
///
/// # Errors
/// The reason, in words.
pub fn check_filter(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    // A single word that is no level is taken for the name of a target: almost certainly a typing mistake.
    let word = filter.trim();
    let is_level = ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_ascii_lowercase().as_str());
    if !is_level && parsed.max_level_hint().is_some() && !word.contains(['=', ',', ':']) && !word.contains("inkstone") {
        return Err(format!(
            "{word:?} is no level: use error, warn, info, debug or trace, or parts such as inkstone_http=debug"
        ));
    }
    Ok(())
}

/// Starts the log of the process; panics are logged as errors from here on.
///
/// # Errors
/// Why the filter cannot be understood, or that there is a log already.
pub fn start(settings: &Log, clock: SharedClock) -> Result<Telemetry, String> {
    let (filter, handle) = reload::Layer::new(parse(&settings.filter)?);
    let is_terminal = std::io::stderr().is_terminal();
    let (sink, flush) = writer::start(std::io::stderr());
    let is_human = match settings.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let timer = Utc(clock);
    let layer = tracing_subscriber::fmt::layer().with_writer(sink).with_timer(timer);
    let layer = if is_human {
        layer.with_ansi(is_terminal).boxed()
    } else {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(layer))
        .map_err(|error| error.to_string())?;
    log_panics();
    Ok(Telemetry { filter: handle, flush })
}

/// The filter, without what [`QUIET`] keeps back: of two parts for one target the later counts, and of several the one
/// that names most of it.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| error.to_string())
}

/// RFC 3339 in UTC with milliseconds, from the injected clock.
#[derive(Debug)]
struct Utc(SharedClock);

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.3}", self.0.now())
    }
}

/// A panic leaves a line like every other error does, with a backtrace where `RUST_BACKTRACE` asks for one.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a text");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!(panic.message = message, panic.location = location, thread.name = thread, %backtrace, "panicked");
        } else {
            tracing::error!(panic.message = message, panic.location = location, thread.name = thread, "panicked");
        }
    }));
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{check_filter, parse};

    #[test]
    fn what_says_nothing_is_logged_for_those_who_ask() {
        for (filter, is_shown) in [
            ("info", false),
            ("trace", false),
            ("info,inkstone=debug", false),
            ("off", false),
            ("info,deadpool=warn", true),
            ("deadpool.postgres=warn", true),
            ("deadpool=debug,error", true),
        ] {
            let shown = tracing::subscriber::with_default(Registry::default().with(parse(filter).unwrap()), || {
                let others = tracing::enabled!(target: "inkstone::start", tracing::Level::WARN);
                assert_eq!(others, filter.starts_with("info") || filter == "trace", "{filter}");
                tracing::enabled!(target: "deadpool.postgres", tracing::Level::WARN)
            });
            assert_eq!(shown, is_shown, "{filter}");
        }
    }

    #[test]
    fn filters_are_checked() {
        for filter in ["info", "WARN", "off", "info,inkstone_http=debug", "inkstone=trace"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        for filter in ["verbose", "inkstone=loud", "info,inkstone_http=yes"] {
            assert!(check_filter(filter).is_err(), "{filter}");
        }
    }
}
