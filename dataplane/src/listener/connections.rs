//! The connections of one port: a bound on all of them, and on those of one client.
//!
//! At a bound, the oldest of the connections that wait for their client gives way to the new one: first
//! those that never asked for anything. A connection with an answer under way never gives way.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Limits, activity::Activity};

/// Waiting connections that are compared before one is chosen.
const COMPARED: usize = 64;
/// Bits of an IPv6 address that name a client: what a provider gives one customer at least.
const CLIENT_BITS_V6: u32 = 64;

/// See the module.
pub(super) struct Connections {
    limits: Limits,
    trusted: Arc<[IpNet]>,
    open: Mutex<Open>,
    freed: Notify,
    gauge: Gauge,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Known>,
    by_client: HashMap<IpAddr, Vec<u64>>,
}

struct Known {
    client: IpAddr,
    activity: Arc<Activity>,
    close: CancellationToken,
}

/// A connection's place; given back when dropped.
pub(super) struct Entry {
    id: u64,
    connections: Arc<Connections>,
    /// The connection's activity.
    pub activity: Arc<Activity>,
    /// Cancelled when it has to give way.
    pub close: CancellationToken,
}

/// The room for a new connection.
enum Room {
    Here,
    /// The client has as many as it may, and all of them are busy.
    ClientIsFull,
    /// All places are taken, and all of them are busy.
    Full,
}

impl Connections {
    pub(super) fn new(limits: Limits, trusted: Arc<[IpNet]>, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { limits, trusted, open: Mutex::default(), freed: Notify::new(), gauge })
    }

    /// Waits until there is room for a connection from `peer`; `None` if its client has too many.
    pub(super) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Entry> {
        loop {
            let freed = self.freed.notified();
            match self.try_admit(peer) {
                Ok(entry) => return Some(entry),
                Err(Room::Full) => freed.await,
                Err(_) => return None,
            }
        }
    }

    /// Does the same without waiting.
    pub(super) fn admit_now(self: &Arc<Self>, peer: IpAddr) -> Option<Entry> {
        self.try_admit(peer).ok()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Result<Entry, Room> {
        let client = client_of(peer);
        let is_trusted = self.trusted.iter().any(|net| net.contains(&peer.to_canonical()));
        let mut open = self.open();
        let room = open.make_room(client, if is_trusted { usize::MAX } else { self.limits.per_client }, &self.limits);
        if !matches!(room, Room::Here) {
            return Err(room);
        }
        let id = open.next;
        open.next += 1;
        let (activity, close) = (Arc::<Activity>::default(), CancellationToken::new());
        open.by_client.entry(client).or_default().push(id);
        open.by_id.insert(id, Known { client, activity: Arc::clone(&activity), close: close.clone() });
        drop(open);
        self.gauge.inc();
        Ok(Entry { id, connections: Arc::clone(self), activity, close })
    }
}

impl Open {
    fn make_room(&mut self, client: IpAddr, per_client: usize, limits: &Limits) -> Room {
        let of_client = self.by_client.get(&client).map_or(&[][..], Vec::as_slice);
        if of_client.len() >= per_client {
            let Some(id) = self.oldest_waiting(of_client.iter().copied()) else { return Room::ClientIsFull };
            self.close(id);
        }
        if self.by_id.len() >= limits.connections {
            let Some(id) = self.oldest_waiting(self.by_id.keys().copied()) else { return Room::Full };
            self.close(id);
        }
        Room::Here
    }

    fn oldest_waiting(&self, ids: impl Iterator<Item = u64>) -> Option<u64> {
        ids.filter_map(|id| Some((self.by_id.get(&id)?.activity.waiting()?, id))).take(COMPARED).min().map(|(_, id)| id)
    }

    fn close(&mut self, id: u64) {
        if let Some(known) = self.remove(id) {
            known.close.cancel();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Known> {
        let known = self.by_id.remove(&id)?;
        if let Some(ids) = self.by_client.get_mut(&known.client) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_client.remove(&known.client);
            }
        }
        Some(known)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open().remove(self.id);
        self.connections.gauge.dec();
        self.connections.freed.notify_one();
    }
}

/// Returns the address that stands for a client: its IPv4 address, or its IPv6 network.
pub(crate) fn client_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - CLIENT_BITS_V6);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests;
