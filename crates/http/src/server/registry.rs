//! All connections of a server: who may come in, who is late, who is still there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::connection::{Connection, Shared, Verdict};
use super::limits::Limits;
use super::network::client_of;
use super::stats::Cut;

#[derive(Default)]
struct Table {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
    per_client: HashMap<IpAddr, usize>,
}

/// The connections that are open.
pub(super) struct Registry {
    shared: Arc<Shared>,
    table: Mutex<Table>,
    emptied: Notify,
}

/// A place in the registry. To drop it gives it back.
pub(super) struct Place {
    registry: Arc<Registry>,
    number: u64,
    client: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, table: Mutex::default(), emptied: Notify::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here can be half done when a thread panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in, unless its client has too many.
    pub(super) fn admit(self: &Arc<Self>, connection: &Arc<Connection>, permit: OwnedSemaphorePermit) -> Option<Place> {
        let client = counted_client(&self.shared.limits, connection.peer().ip());
        let mut table = self.table();
        if let Some(client) = client {
            let count = table.per_client.entry(client).or_default();
            if *count >= self.shared.limits.max_connections_per_address {
                return None;
            }
            *count += 1;
        }
        let number = table.next;
        table.next += 1;
        table.connections.insert(number, connection.clone());
        self.shared.stats.set_open(table.connections.len());
        drop(table);
        Some(Place { registry: self.clone(), number, client, _permit: permit })
    }

    /// Looks over all connections. `is_full`: others wait for their places.
    pub(super) fn look(&self, is_full: bool) {
        let table = self.table();
        let most = table.per_client.values().copied().max().unwrap_or(0);
        self.shared.stats.set_open_per_address_max(most);
        for connection in table.connections.values() {
            match connection.judge(is_full) {
                None => {}
                Some(Verdict::Drain) => {
                    connection.drain();
                    connection.wake();
                }
                Some(Verdict::Rest) => connection.ask_to_rest(),
                Some(Verdict::HeadTimeout) => connection.time_out_head(),
                Some(Verdict::Cut(reason)) => connection.cut(reason),
            }
        }
    }

    /// Asks all connections to finish, and says how many there are.
    pub(super) async fn drain(&self) -> usize {
        let open = {
            let table = self.table();
            table.connections.values().for_each(|connection| connection.drain());
            table.connections.len()
        };
        // Has the runtime look at its sockets first, so that a request that has arrived by now is read and answered.
        tokio::task::yield_now().await;
        self.table().connections.values().for_each(|connection| connection.wake());
        open
    }

    /// Ends all connections, and says how many of them had requests in flight.
    pub(super) fn cut(&self) -> usize {
        let table = self.table();
        let mut busy = 0;
        for connection in table.connections.values() {
            busy += usize::from(connection.in_flight() > 0 || connection.is_busy());
            connection.cut(Cut::Drain);
        }
        busy
    }

    /// Waits until no connection is left.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.table().connections.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Under which client a connection counts. `None` for those that are not counted.
fn counted_client(limits: &Limits, address: IpAddr) -> Option<IpAddr> {
    if limits.uncapped_networks.iter().any(|network| network.contains(address)) {
        return None;
    }
    Some(client_of(address))
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.registry.table();
        table.connections.remove(&self.number);
        if let Some(client) = self.client
            && let Some(count) = table.per_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                table.per_client.remove(&client);
            }
        }
        let open = table.connections.len();
        self.registry.shared.stats.set_open(open);
        drop(table);
        if open == 0 {
            self.registry.emptied.notify_waiters();
        }
    }
}
