//! Three Redis primaries that share the slots of a cluster.

use super::{Redis, RedisOptions};
use crate::wait::wait_until;

/// How many hash slots a cluster has.
const SLOTS: usize = 16_384;
const COUNT: usize = 3;

/// Three primaries without replicas. One that is lost takes its slots with it; the others go on.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts them with these options, and waits until each of them knows all.
    pub fn start(options: &RedisOptions) -> Self {
        let options = RedisOptions { cluster: true, ..options.clone() };
        let nodes: Vec<Redis> = (0..COUNT).map(|_| Redis::start_with(options.clone())).collect();
        for (place, node) in nodes.iter().enumerate() {
            // Numbers of their own from the beginning: else they would have to agree on them first.
            node.cli(&["cluster", "set-config-epoch", &(place + 1).to_string()]);
            let (first, next) = (SLOTS * place / COUNT, SLOTS * (place + 1) / COUNT);
            node.cli(&["cluster", "addslotsrange", &first.to_string(), &(next - 1).to_string()]);
        }
        for node in &nodes[1..] {
            let [port, bus] = node.process().ports() else { panic!("a node has a port and a bus") };
            nodes[0].cli(&["cluster", "meet", "127.0.0.1", &port.to_string(), &bus.to_string()]);
        }
        let cluster = Self { nodes };
        cluster.wait_until_whole();
        cluster
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The hosts for an address: all of its nodes.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        hosts.join(",")
    }

    /// Waits until each node that runs sees all of them at work.
    pub fn wait_until_whole(&self) {
        wait_until("the cluster is whole", || self.nodes.iter().all(is_whole));
    }
}

fn is_whole(node: &Redis) -> bool {
    let Ok(info) = node.try_cli(&["cluster", "info"]) else { return false };
    let is = |line: &str| info.lines().any(|found| found.trim_end() == line);
    is("cluster_state:ok") && is(&format!("cluster_slots_ok:{SLOTS}")) && is(&format!("cluster_size:{COUNT}"))
}
