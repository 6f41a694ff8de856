//! Offers of jobs: what the control plane wants some node to do. Whoever claims one first has it.

use tokio::sync::{Mutex, mpsc};
use tracing::warn;

/// Offers kept until they are looked at. More at a time are left to other nodes, or to a later offer.
const MAX_OFFERS: usize = 256;

/// Offers that came with the watch.
pub struct Offers {
    sender: mpsc::Sender<String>,
    receiver: Mutex<mpsc::Receiver<String>>,
}

impl Default for Offers {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_OFFERS);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Offers {
    /// The next job that is offered to all nodes; to be claimed.
    pub async fn next(&self) -> String {
        match self.receiver.lock().await.recv().await {
            Some(id) => id,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn put(&self, id: String) {
        if self.sender.try_send(id).is_err() {
            warn!("more jobs are offered than this node looks at");
        }
    }
}
