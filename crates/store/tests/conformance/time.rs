//! The time of the database, by which all nodes over it go.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::{Clock as _, CommonClock, SharedClock, SystemClock};
use inkstone_store::db::Dialect;
use jiff::SignedDuration;

use crate::bed::*;

conformance! {
    a_server_says_what_time_it_is_and_a_file_does_not
}

/// The server runs on this machine, so that both mean the same clock: what it said lies between the
/// question and the answer. The bed's own clock stands still, years ago, and has no say.
async fn a_server_says_what_time_it_is_and_a_file_does_not(bed: Bed) {
    let clock: SharedClock = bed.clock.clone();
    let (began, before) = (SystemClock.instant(), SystemClock.now());
    let reading = bed.store.db().read_time(&ctx(), &clock).await.unwrap();
    let (after, ended) = (SystemClock.now(), SystemClock.instant());
    let Some(reading) = reading else {
        assert_eq!(bed.store.db().dialect(), Dialect::Sqlite);
        return;
    };
    assert!(before <= reading.time && reading.time <= after, "{before} {} {after}", reading.time);
    assert!(began <= reading.asked && reading.asked <= reading.answered && reading.answered <= ended);
    let common = CommonClock::new(Arc::new(SystemClock));
    common.correct(&reading);
    let off = common.own_ahead().unwrap().abs();
    let round_trip = reading.answered.duration_since(reading.asked) + Duration::from_millis(1);
    assert!(off <= SignedDuration::try_from(round_trip).unwrap(), "{off}");
}
