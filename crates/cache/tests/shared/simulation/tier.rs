//! The tier of the simulation: what it holds, and how nodes reach it.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_cache::{Remote, RemoteError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{NODES, Simulation};

/// What the tier holds, and what is on its way there.
#[derive(Default)]
pub(super) struct Tier {
    pub(super) held: BTreeMap<String, Bytes>,
    /// Puts that were acknowledged, or given up, and have not arrived.
    pub(super) late: Vec<(String, Bytes)>,
    /// An earlier state: what a replica that lags would know.
    pub(super) snapshot: BTreeMap<String, Bytes>,
    pub(super) is_down: bool,
    /// Nodes that cannot reach it.
    pub(super) cut_off: [bool; NODES],
    /// Announcements on their way: to whom, and of which change.
    pub(super) messages: Vec<(usize, u64)>,
    /// How those who listen are reached.
    pub(super) ears: [Option<UnboundedSender<u64>>; NODES],
}

/// The tier as one node reaches it.
pub(super) struct Line(pub(super) Weak<Simulation>, pub(super) usize);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

#[async_trait]
impl Remote for Line {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let simulation = self.0.upgrade().ok_or(RemoteError::NotConnected)?;
        if simulation.chance(0.3) {
            simulation.happen();
        }
        let answer = {
            let tier = simulation.tier.lock().unwrap();
            if tier.is_down || tier.cut_off[self.1] {
                Err(RemoteError::NotConnected)
            } else {
                Ok(tier.held.get(name).cloned())
            }
        };
        if simulation.chance(0.3) {
            simulation.happen();
        }
        answer
    }

    async fn put(&self, name: &str, form: Bytes, _: Duration) -> Result<(), RemoteError> {
        let simulation = self.0.upgrade().ok_or(RemoteError::NotConnected)?;
        let is_late = simulation.chance(0.4);
        if simulation.tier.lock().unwrap().cut_off[self.1] {
            return Err(RemoteError::NotConnected);
        }
        let mut tier = simulation.tier.lock().unwrap();
        if is_late {
            tier.late.push((name.to_owned(), form));
            return Err(RemoteError::NotConnected);
        }
        tier.held.insert(name.to_owned(), form);
        Ok(())
    }

    async fn ping(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    async fn announce(&self, _: &str, change_seq: u64) -> Result<(), RemoteError> {
        let simulation = self.0.upgrade().ok_or(RemoteError::NotConnected)?;
        let mut tier = simulation.tier.lock().unwrap();
        if tier.is_down || tier.cut_off[self.1] {
            return Err(RemoteError::NotConnected);
        }
        for node in 0..NODES {
            // Lost, once, or twice.
            for _ in 0..simulation.pick(3) {
                tier.messages.push((node, change_seq));
            }
        }
        Ok(())
    }

    async fn listen(&self, _: &str, hear: &(dyn Fn(u64) + Send + Sync)) -> Result<(), RemoteError> {
        let (ear, mut heard) = unbounded_channel();
        self.0.upgrade().ok_or(RemoteError::NotConnected)?.tier.lock().unwrap().ears[self.1] = Some(ear);
        while let Some(change_seq) = heard.recv().await {
            hear(change_seq);
        }
        Err(RemoteError::NotConnected)
    }
}
