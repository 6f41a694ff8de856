//! Work that several requests need at the same moment, done once ("single flight").

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tracing::Instrument;

/// Work under way, by key. The work runs in a task of its own: whoever asked first may leave, and so may the others.
pub struct Flights<K, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { running: Arc::default() }
    }
}

/// How a requester came by a result.
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
pub struct FlightLost;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Does `work` for `key`, unless that is being done already; waits for the result in either case.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<(V, Role), FlightLost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut result, role) = match locked(&self.running).entry(key.clone()) {
            Entry::Occupied(there) => (there.get().clone(), Role::Joined),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver.clone());
                let landing = Landing { key, running: Arc::clone(&self.running) };
                let work = work();
                tokio::spawn(
                    async move {
                        let value = work.await;
                        // First off the list, then announced: who comes later starts anew instead of getting old news.
                        drop(landing);
                        sender.send_replace(Some(value));
                    }
                    .in_current_span(),
                );
                (receiver, Role::Started)
            }
        };
        let value = result.wait_for(Option::is_some).await.map_err(|_| FlightLost)?.clone();
        value.map(|value| (value, role)).ok_or(FlightLost)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the work off the list, also when its task is lost.
struct Landing<K: Eq + Hash, V> {
    key: K,
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        locked(&self.running).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn concurrent_requests_share_one_run_and_later_ones_start_anew() {
        let flights = Arc::new(Flights::<u8, usize>::default());
        let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (flights, runs, gate) = (Arc::clone(&flights), Arc::clone(&runs), Arc::clone(&gate));
            async move {
                let work = move || async move {
                    gate.notified().await;
                    runs.fetch_add(1, Ordering::SeqCst)
                };
                flights.run(1, work).await.unwrap()
            }
        };
        let first = tokio::spawn(ask());
        let second = tokio::spawn(ask());
        tokio::task::yield_now().await;
        gate.notify_one();
        let mut roles =
            [first.await.unwrap(), second.await.unwrap()].map(|(value, role)| (value, role == Role::Joined));
        roles.sort_unstable();
        assert_eq!(roles, [(0, false), (0, true)]);
        gate.notify_one();
        assert_eq!(ask().await.0, 1);
    }

    #[tokio::test]
    async fn the_work_goes_on_without_whoever_started_it() {
        let flights = Arc::new(Flights::<u8, u8>::default());
        let gate = Arc::new(Notify::new());
        let (shared, gated) = (Arc::clone(&flights), Arc::clone(&gate));
        let first = tokio::spawn(async move {
            let work = move || async move {
                gated.notified().await;
                7
            };
            shared.run(1, work).await
        });
        tokio::task::yield_now().await;
        let second = flights.run(1, || async { unreachable!("the first is under way") });
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        first.abort();
        gate.notify_one();
        assert_eq!(second.await.unwrap(), (7, Role::Joined));
    }

    #[tokio::test]
    async fn lost_work_is_told_and_forgotten() {
        let flights = Flights::<u8, u8>::default();
        assert!(flights.run(1, || async { panic!("lost on purpose") }).await.is_err());
        assert_eq!(flights.run(1, || async { 2 }).await.unwrap().0, 2);
    }
}
