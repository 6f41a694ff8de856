//! The maintenance of a node's blob store: it records links to existing content, deletes garbage, reports unknown files, and
//! notices, quarantines and reports corruption.
//!
//! Guarantees: content is deleted only under a claim that is good; content whose link was recorded is in the store
//! afterwards, or is known to be missing; nothing stays in the store that nobody knows of for longer than a walk takes to
//! come round. The control plane decides which content is garbage, and which corruption counts.

pub mod check;
pub mod garbage;
pub mod hashing;
pub mod scrub;
pub mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{check::Checker, garbage::Collector, scrub::Scrubber, walk::Walker};
use crate::{
    control::Control,
    fill::Fills,
    links::{corruption_log::CorruptionLog, recorder::LinkRecorder},
    metrics::Metrics,
    storage::BlobStore,
};

/// A node's maintenance of its store.
pub struct Maintenance {
    control: Arc<Control>,
    store: Arc<dyn BlobStore>,
    store_id: String,
    metrics: Arc<Metrics>,
    /// Records links.
    pub recorder: Arc<LinkRecorder>,
    /// The corruption that was found.
    pub corruption: Arc<CorruptionLog>,
}

impl Maintenance {
    /// Of the store that is called `store_id`.
    pub fn new(control: Arc<Control>, store: Arc<dyn BlobStore>, store_id: String, metrics: Arc<Metrics>) -> Self {
        let corruption =
            CorruptionLog::new(Arc::clone(&control.client), Arc::clone(&store), store_id.clone(), Arc::clone(&metrics));
        let recorder = LinkRecorder::new(&control, Arc::clone(&store), store_id.clone(), Arc::clone(&corruption));
        Self { control, store, store_id, metrics, recorder, corruption }
    }

    /// For checks that people ask for.
    pub fn checker(&self) -> Checker {
        Checker {
            client: Arc::clone(&self.control.client),
            store: Arc::clone(&self.store),
            corruption: Arc::clone(&self.corruption),
        }
    }

    /// Starts what goes on in the background until `stop`.
    pub fn spawn(self, tasks: &TaskTracker, fills: Arc<Fills>, scrub_rate: u64, stop: &CancellationToken) {
        let Self { control, store, store_id, metrics, recorder, corruption } = self;
        let collector = Collector {
            client: Arc::clone(&control.client),
            policy: Arc::clone(&control.policy),
            store: Arc::clone(&store),
            store_id: store_id.clone(),
            fills,
            recorder,
            metrics: Arc::clone(&metrics),
        };
        tasks.spawn(collector.run(stop.clone()));
        let walker = Walker {
            client: Arc::clone(&control.client),
            policy: Arc::clone(&control.policy),
            store: Arc::clone(&store),
            store_id: store_id.clone(),
            corruption: Arc::clone(&corruption),
        };
        tasks.spawn(walker.run(stop.clone()));
        let log = Arc::clone(&corruption);
        let stop_log = stop.clone();
        tasks.spawn(async move { log.run(stop_log).await });
        let (client, policy) = (Arc::clone(&control.client), Arc::clone(&control.policy));
        let scrubber = Scrubber { client, policy, store, store_id, corruption, metrics, bytes_per_second: scrub_rate };
        tasks.spawn(scrubber.run(stop.clone()));
    }
}
