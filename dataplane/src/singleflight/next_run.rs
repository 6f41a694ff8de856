//! Work whose result must not be older than the question: shared by those who ask before it begins.

use std::{collections::HashMap, future::Future, hash::Hash, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};
use tracing::Instrument;

use super::SharedWorkLost;

/// Longest time that a run is held back by the one before it. A run may be slow because it waits for something that the next
/// one can share (a check of the tag by another node), but only if the next one asks before that has ended.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

type Work<V> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = V> + Send>> + Send>;

/// A run that has not begun.
struct Run<V> {
    work: Work<V>,
    result: watch::Sender<Option<V>>,
}

/// Runs of work, by key. Whoever asks while a run is under way gets the result of the next, since the one under way may know
/// less than was true when it asked. The next run begins when the one before it ends, or after [`LONGEST_WAIT`]. The work runs
/// in a task of its own: those who asked may leave.
pub struct NextRun<K, V> {
    /// Keys with a run that holds back the next, each with the run after it.
    waiting: Arc<Mutex<HashMap<K, Option<Run<V>>>>>,
}

impl<K, V> Default for NextRun<K, V> {
    fn default() -> Self {
        Self { waiting: Arc::default() }
    }
}

impl<K, V> NextRun<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Returns the result of work for `key` that begins no earlier than now; `work` is done unless somebody else's will be.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F + Send + 'static) -> Result<V, SharedWorkLost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut result = self.join(key, Box::new(move || Box::pin(work())));
        let value = result.wait_for(Option::is_some).await.map_err(|_| SharedWorkLost)?.clone();
        value.ok_or(SharedWorkLost)
    }

    fn join(&self, key: K, work: Work<V>) -> watch::Receiver<Option<V>> {
        let mut waiting = self.waiting.lock();
        if let Some(Some(next)) = waiting.get(&key) {
            return next.result.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let run = Run { work, result: sender };
        if let Some(next) = waiting.get_mut(&key) {
            *next = Some(run);
        } else {
            waiting.insert(key.clone(), None);
            let runs = Runs { key, waiting: Arc::clone(&self.waiting), ended: false };
            tokio::spawn(runs.drive(run).in_current_span());
        }
        receiver
    }
}

/// The runs of one key, one after the other. If the task is lost, so is the run that waits.
struct Runs<K: Eq + Hash, V> {
    key: K,
    waiting: Arc<Mutex<HashMap<K, Option<Run<V>>>>>,
    ended: bool,
}

impl<K: Eq + Hash, V: Send + Sync + 'static> Runs<K, V> {
    async fn drive(mut self, first: Run<V>) {
        let mut run = first;
        loop {
            let Run { work, result } = run;
            let ended = tokio::spawn(async move { result.send_replace(Some(work().await)) }.in_current_span());
            // A run that takes longer goes on beside the next. One that panicked has told those who wait by its lost sender.
            let _ = timeout(LONGEST_WAIT, ended).await;
            let mut waiting = self.waiting.lock();
            match waiting.get_mut(&self.key).and_then(Option::take) {
                Some(next) => run = next,
                None => {
                    waiting.remove(&self.key);
                    self.ended = true;
                    return;
                }
            }
        }
    }
}

impl<K: Eq + Hash, V> Drop for Runs<K, V> {
    fn drop(&mut self) {
        if !self.ended {
            self.waiting.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
