//! Work that several requests need at the same moment, done once.

pub mod next_run;

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument;

/// Work under way, by key. The work runs in a task of its own: whoever asked first may leave, and so may the others.
pub struct Singleflight<K, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Default for Singleflight<K, V> {
    fn default() -> Self {
        Self { running: Arc::default() }
    }
}

/// The way in which a requester got a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It started the work.
    Started,
    /// The work was under way.
    Joined,
}

/// The work's task was lost (a bug, or the runtime is going down).
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("shared work was aborted")]
pub struct SharedWorkLost;

impl<K, V> Singleflight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Does `work` for `key`, unless that is being done already; waits for the result in either case.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<(V, Role), SharedWorkLost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut result, role) = match self.running.lock().entry(key.clone()) {
            Entry::Occupied(there) => (there.get().clone(), Role::Joined),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver.clone());
                let running_entry = Running { key, running: Arc::clone(&self.running) };
                let work = work();
                tokio::spawn(
                    async move {
                        let value = work.await;
                        // First off the list, then announced: who comes later starts anew instead of getting old news.
                        drop(running_entry);
                        sender.send_replace(Some(value));
                    }
                    .in_current_span(),
                );
                (receiver, Role::Started)
            }
        };
        let value = result.wait_for(Option::is_some).await.map_err(|_| SharedWorkLost)?.clone();
        value.map(|value| (value, role)).ok_or(SharedWorkLost)
    }
}

/// Takes the work off the list, also when its task is lost.
struct Running<K: Eq + Hash, V> {
    key: K,
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K: Eq + Hash, V> Drop for Running<K, V> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
