//! One trial: clients at work, a fault, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use inkstone_core::events::{ChangeFeed as _, Entity};
use inkstone_store::Store;
use inkstone_testkit::history::{Change, Ending, Event, Promise, assert_kept};
use inkstone_testkit::{Client, Figures, Fleet, FleetOptions, Heard, Inkstone, Log};

use super::smoke::Smoke;
use crate::context;

/// Clients of each trial.
const CLIENTS: usize = 8;
/// Requests that must succeed before a fault and after it.
const WORK: usize = 200;

/// A fault under load. In this order: [`Trial::begin`], [`Trial::strikes`] and the fault itself,
/// [`Trial::holds`] or [`Trial::felt`] with [`Trial::nobody_is_let_in`], the end of the fault and
/// [`Trial::heals`], [`Trial::end`].
pub(crate) struct Trial {
    name: String,
    fleet: Fleet,
    smoke: Smoke,
    promise: Promise,
    struck: Option<Duration>,
    healed: Option<Duration>,
}

impl Trial {
    /// Lets a fleet and the permission matrix loose on `doors`: where the clients go, one after the
    /// other, which may be the server itself, several nodes, a balancer or a proxy. `server` is one
    /// on which accounts can be made. Returns when the clients have got some work done.
    pub(crate) async fn begin(name: &str, server: &Inkstone, doors: &[&str], promise: Promise) -> Self {
        let smoke = Smoke::prepare(server, &Client::new(doors[0])).await;
        server.add_user("fleet", "editor");
        let token = server.token("fleet", "read posts:write");
        let clients = (0..CLIENTS).map(|number| Client::new(doors[number % doors.len()]).with_token(&token));
        let fleet = Fleet::start(clients.collect(), FleetOptions { seed: 7, ..FleetOptions::default() });
        fleet.acknowledged(WORK).await;
        Self { name: name.to_owned(), fleet, smoke, promise, struck: None, healed: None }
    }

    /// Says that the fault is injected now: call it right before.
    pub(crate) fn strikes(&mut self) {
        self.struck = Some(self.fleet.elapsed());
    }

    /// Says that the fault has ended now: call it right after.
    pub(crate) fn heals(&mut self) {
        self.healed = Some(self.fleet.elapsed());
    }

    /// Waits until so many requests have succeeded. For faults that nobody must notice.
    pub(crate) async fn work(&self, requests: usize) {
        self.fleet.acknowledged(requests).await;
    }

    /// Waits until so many requests have ended, in whatever way.
    pub(crate) async fn felt(&self, requests: usize) {
        self.fleet.ended(requests).await;
    }

    /// Lets the fault hold for so long since it struck.
    pub(crate) async fn holds(&self, time: Duration) {
        let until = self.struck.unwrap_or_default() + time;
        tokio::time::sleep(until.saturating_sub(self.fleet.elapsed())).await;
    }

    /// Asks, now, what must be refused. During a fault it may be refused with 5xx or by silence.
    pub(crate) async fn nobody_is_let_in(&self) {
        let (refused, later) = self.smoke.nobody_is_let_in().await;
        println!("{}: {refused} refused, {later} told to come later, nobody let in", self.name);
    }

    /// Waits until the clients work as before, stops them, and holds everything that they were told
    /// against what is there: `client` lists the posts, `store` has the events.
    pub(crate) async fn end(self, client: &Client, store: &Store) -> Figures {
        self.fleet.acknowledged(WORK).await;
        self.smoke.refused_as_ever().await;
        let struck = self.struck.unwrap_or_default();
        let healed = self.healed.unwrap_or(struck);
        let mut log = self.fleet.stop().await;
        let mut rows = log.rows(client).await;
        let mut events = events(store, &log).await;
        rows.retain(|row| !self.smoke.made(&row.thing));
        events.retain(|event| !self.smoke.made(&event.thing));
        let (acked, refused, unknown) = log.outcomes();
        let figures = tell(&self.name, &log.heard, struck, healed);
        println!("{}: {acked} acknowledged, {refused} refused, {unknown} unknown; {} posts", self.name, rows.len());
        assert_kept(&log.records, &Ending { rows, events: Some(events) }, self.promise);
        figures
    }
}

/// Says what a fault that held from `struck` to `healed` cost, as `./battery` reads it.
pub(crate) fn tell(name: &str, heard: &[Heard], struck: Duration, healed: Duration) -> Figures {
    let figures = Figures::of(heard, struck, healed);
    println!("FIGURES {name}: held {} ms; {figures}", healed.saturating_sub(struck).as_millis());
    figures
}

/// Every event in the outbox, as a receiver would number the changes of each post.
pub(crate) async fn events(store: &Store, log: &Log) -> Vec<Event> {
    let mut versions: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let batch = store.changes_after(&context(), after, 500).await.unwrap();
        let Some(last) = batch.last() else { return events };
        after = last.change_seq;
        for event in &batch {
            let post = event.entities.iter().find_map(|entity| match entity {
                Entity::Post(id) => Some(id.0),
                _ => None,
            });
            let Some(post) = post else { continue };
            let change = if event.kind == "post.deleted" {
                Change::Deleted
            } else {
                let version = versions.entry(post).or_default();
                *version += 1;
                Change::Written(*version)
            };
            let thing = log.things.get(&post).cloned().unwrap_or_else(|| format!("post:{post}"));
            events.push(Event { id: event.change_seq.to_string(), thing, change });
        }
    }
}
