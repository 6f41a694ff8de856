//! Ports for servers that have to be told theirs.

use std::{
    net::{SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// First port of the search; below the range from which the kernel assigns ports (32768 and up), so that nobody else gets
/// the port between the look and its use.
const FIRST: u16 = 12_000;

/// Number of ports to choose from.
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on loopback whose port is free and given to nobody else in this process.
pub fn free_address() -> SocketAddr {
    // Test processes that run at the same time start at different places.
    let start = (process::id().wrapping_mul(7919) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT)
}
