//! Ports that nobody uses.

use std::hash::BuildHasher as _;
use std::net::TcpListener;

/// `count` different ports on 127.0.0.1 that were free a moment ago.
///
/// They lie below the range from which the kernel takes the near ends of connections, so that a
/// server that was killed finds its port free when it comes back. Whoever takes one must still be
/// ready to find it taken in the meantime, and ask again.
pub fn free_ports(count: usize) -> Vec<u16> {
    let (lowest, highest) = (10_000, ephemeral_from().saturating_sub(1).max(20_000));
    let mut held: Vec<(u16, TcpListener)> = Vec::new();
    let random = std::collections::hash_map::RandomState::new();
    for attempt in 0_u64.. {
        if held.len() == count {
            break;
        }
        assert!(attempt < 10_000, "no free ports between {lowest} and {highest}");
        let offset = random.hash_one(attempt) % u64::from(highest - lowest);
        let port = lowest + u16::try_from(offset).expect("less than a port");
        // Held until all are found, so that no port is given twice.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
    }
    held.into_iter().map(|(port, _)| port).collect()
}

/// The first port that the kernel gives to outgoing connections.
fn ephemeral_from() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}
