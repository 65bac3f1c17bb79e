//! What the log says of a unit of work that took long.

use std::time::Duration;

/// Says that it took long; and of one that came to an error, which may be why, that it did. `kind` is `read` or `write`.
pub(super) fn warn(unit: &'static str, kind: &'static str, took: Duration, has_failed: bool) {
    // A number also for those who read JSON, where there is none of 128 bits.
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if has_failed {
        tracing::warn!(db.unit = unit, db.kind = kind, db.duration_ms = took, "a unit of work took long, and failed");
    } else {
        tracing::warn!(db.unit = unit, db.kind = kind, db.duration_ms = took, "a unit of work was slow");
    }
}
