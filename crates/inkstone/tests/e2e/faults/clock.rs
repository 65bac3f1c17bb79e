//! Battery row F13 under load: the clock of a server jumps ahead, and nobody who is at work notices.

use inkstone_testkit::Inkstone;
use inkstone_testkit::history::Promise;

use super::trial::Trial;
use crate::clock::{Dial, HOUR};
use crate::{BINARY, open_store};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_is_not_noticed_at_work() {
    let home = tempfile::tempdir().unwrap();
    let dial = Dial::new(home.path());
    let server = Inkstone::start_with(BINARY, dial.options());
    let name = "a node's clock moved ahead by an hour";
    let mut trial = Trial::begin(name, &server, &[server.base()], Promise::default()).await;
    trial.strikes();
    dial.turn(HOUR);
    trial.work(400).await;
    trial.nobody_is_let_in().await;
    // It is not turned back: what was published ahead of time would not be public until then.
    trial.heals();
    let figures = trial.end(&server.client(), &open_store(&server)).await;
    assert!(figures.errors.is_empty(), "{figures}");
}
