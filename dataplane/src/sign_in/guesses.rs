//! Keeps the memory of sign-ins from telling guessed passwords: what is remembered of a password answers its own address only, and
//! only while nothing else is being tried from there. Every other try goes to the control plane, which counts failures.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

/// Addresses remembered with failed sign-ins.
const REMEMBERED: usize = 20_000;

/// The sign-ins under way, and those that failed, by client address.
pub struct Guesses {
    under_way: Mutex<HashMap<Arc<str>, usize>>,
    failed: Cache<Arc<str>, Instant>,
}

/// A sign-in under way. Dropping it ends it.
pub struct Guess {
    guesses: Arc<Guesses>,
    address: Arc<str>,
}

impl Guesses {
    /// Nothing was tried yet.
    pub fn new() -> Self {
        Self { under_way: Mutex::default(), failed: Cache::new(REMEMBERED) }
    }

    /// Begins a sign-in whose credentials may be a guess.
    pub fn begin(guesses: &Arc<Self>, address: Arc<str>) -> Guess {
        *guesses.under_way.lock().entry(Arc::clone(&address)).or_default() += 1;
        Guess { guesses: Arc::clone(guesses), address }
    }

    /// Returns whether what was remembered of a password that `owner` brought at that time may answer `asker`.
    pub fn admits(&self, asker: &str, owner: &str, remembered_at: Instant) -> bool {
        let is_owner = !asker.is_empty() && asker == owner;
        is_owner
            && !self.under_way.lock().contains_key(asker)
            && self.failed.get(asker).is_none_or(|failed_at| failed_at < remembered_at)
    }
}

impl Guess {
    /// The address that it came from.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// It was wrong.
    pub fn failed(self) {
        self.guesses.failed.insert(Arc::clone(&self.address), Instant::now());
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        let mut under_way = self.guesses.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.address);
            }
        }
    }
}
