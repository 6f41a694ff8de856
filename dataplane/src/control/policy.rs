//! The control plane's last snapshot: the policy that decides on every request.

mod snapshot;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::snapshot::{
    GroupId, GroupPolicy, PolicyChange, PolicySnapshot, Revocation, UpstreamPolicy, VerifyingKey,
};

/// The current [`PolicySnapshot`]: whole, immutable, and read without waiting.
pub struct Policy {
    snapshot: ArcSwap<PolicySnapshot>,
    has_snapshot: watch::Sender<bool>,
    /// The revision that the watch told last, announced once it is in place.
    applied: watch::Sender<i64>,
    /// Names all that this node remembers of answers; another one when that is void.
    memory_id: Mutex<Arc<str>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            has_snapshot: watch::Sender::new(false),
            applied: watch::Sender::new(0),
            memory_id: Mutex::new(new_memory_id()),
        }
    }
}

impl Policy {
    /// Returns the current snapshot, to keep; it is empty before the control plane said anything.
    pub fn current(&self) -> Arc<PolicySnapshot> {
        self.snapshot.load_full()
    }

    /// Returns the current snapshot, for a short look.
    pub(crate) fn load(&self) -> Guard<Arc<PolicySnapshot>> {
        self.snapshot.load()
    }

    /// True with a snapshot: the control plane's, or the one of an earlier process.
    pub fn has_snapshot(&self) -> bool {
        *self.has_snapshot.borrow()
    }

    /// Waits until there is a snapshot.
    pub async fn wait_for_snapshot(&self) {
        // The sender lives as long as `self`: this cannot fail.
        let _ = self.has_snapshot.subscribe().wait_for(|has| *has).await;
    }

    /// Follows the revision that this node serves by; changes with each that it applies.
    pub fn applied_revision(&self) -> watch::Receiver<i64> {
        self.applied.subscribe()
    }

    /// Names all that this node remembers of the control plane's answers. A memory with another name is void.
    pub fn memory_id(&self) -> Arc<str> {
        Arc::clone(&self.memory_id.lock())
    }

    /// Makes void all that was remembered so far: the control plane's database is not the one that it was told of.
    pub(crate) fn renew_memory(&self) {
        *self.memory_id.lock() = new_memory_id();
    }

    /// Goes on with the memory of an earlier process.
    pub(crate) fn adopt_memory(&self, id: &str) {
        *self.memory_id.lock() = id.into();
    }

    /// Serves by `snapshot` from now on, which the watch has told.
    pub(crate) fn apply(&self, snapshot: PolicySnapshot) {
        let revision = snapshot.revision();
        self.restore(snapshot);
        self.applied.send_replace(revision);
    }

    /// Serves by the snapshot of an earlier process until the watch tells another.
    pub(crate) fn restore(&self, snapshot: PolicySnapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.has_snapshot.send_replace(true);
    }
}

fn new_memory_id() -> Arc<str> {
    Uuid::now_v7().to_string().into()
}
