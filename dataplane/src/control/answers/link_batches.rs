//! Links to blobs on their way to the control plane, many in one call.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    select,
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::control::{BlobRecorded, ControlError, ProvenLink, client::NodeClient};

/// Pause after the last link that a batch waits for the next: longer than passes between two small layers of an image.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait of a link in a batch. Other nodes are told to follow this one for some seconds after it, and content without a
/// link is garbage only after minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Most links of a call; the contract's bound.
const MAX_LINKS: usize = 100;

/// The urgency of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A client waits for the answer: it goes with the next call, which is sent as soon as the one before is answered.
    Now,
    /// Nobody waits but later pulls: it waits a moment for others.
    Soon,
}

/// Links that wait. One call is under way at a time; it runs in a task of its own.
pub(crate) struct LinkBatches {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<NodeClient>,
    waiting: Mutex<Waiting>,
    /// Wakes the task when there is nothing more to wait for.
    due: Notify,
    /// The node stops: nothing waits for others any more.
    hurried: AtomicBool,
}

/// The links of the next call.
#[derive(Default)]
struct Waiting {
    links: Vec<(ProvenLink, oneshot::Sender<BlobRecorded>)>,
    since: Option<Instant>,
    last: Option<Instant>,
    is_due: bool,
    /// A task works on it.
    has_task: bool,
}

impl LinkBatches {
    pub(crate) fn new(client: Arc<NodeClient>) -> Self {
        let (waiting, due, hurried) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { client, waiting, due, hurried }) }
    }

    /// Sends what waits now, and everything from here on at once.
    pub(crate) fn hurry(&self) {
        self.shared.hurried.store(true, Ordering::Relaxed);
        self.shared.waiting.lock().is_due = true;
        self.shared.due.notify_one();
    }

    /// Records a link; returns when the control plane has answered. Giving up the wait does not take the link back.
    pub(crate) async fn record(&self, link: ProvenLink, urgency: Urgency) -> BlobRecorded {
        let (sender, answer) = oneshot::channel();
        {
            let (now, mut waiting) = (Instant::now(), self.shared.waiting.lock());
            waiting.links.push((link, sender));
            waiting.since.get_or_insert(now);
            waiting.last = Some(now);
            let is_hurried = self.shared.hurried.load(Ordering::Relaxed);
            waiting.is_due |= urgency == Urgency::Now || is_hurried || waiting.links.len() >= MAX_LINKS;
            if waiting.is_due {
                self.shared.due.notify_one();
            }
            if !mem::replace(&mut waiting.has_task, true) {
                tokio::spawn(Arc::clone(&self.shared).send());
            }
        }
        let lost = || ControlError::Unavailable { call: "RecordLinks", message: "the call was lost".to_owned() };
        answer.await.map_err(|_| lost())?
    }
}

impl Shared {
    /// Sends batches until no link waits.
    async fn send(self: Arc<Self>) {
        while let Some(until) = self.next_look() {
            select! {
                () = sleep_until(until) => {}
                () = self.due.notified() => {}
            }
            let Some(batch) = self.take() else { continue };
            let (links, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            match self.client.record_links(&links).await {
                Ok(results) => {
                    for (answer, result) in answers.into_iter().zip(results) {
                        // Whoever has gone does not need it.
                        let _ = answer.send(result);
                    }
                }
                Err(error) => {
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// When to look whether the batch is to be sent; `None` ends the task, because no link waits.
    fn next_look(&self) -> Option<Instant> {
        let mut waiting = self.waiting.lock();
        let until = waiting.until();
        waiting.has_task = until.is_some();
        until
    }

    /// The links of a call, if it is time for it.
    fn take(&self) -> Option<Vec<(ProvenLink, oneshot::Sender<BlobRecorded>)>> {
        let mut waiting = self.waiting.lock();
        if waiting.until()? > Instant::now() {
            return None;
        }
        let sent = waiting.links.len().min(MAX_LINKS);
        let rest = waiting.links.split_off(sent);
        let batch = mem::replace(&mut waiting.links, rest);
        if waiting.links.is_empty() {
            (waiting.since, waiting.last, waiting.is_due) = (None, None, false);
        }
        Some(batch)
    }
}

impl Waiting {
    /// Until when the batch waits for more; `None` if it is empty.
    fn until(&self) -> Option<Instant> {
        let (since, last) = (self.since?, self.last?);
        Some(if self.is_due { since } else { (last + QUIET).min(since + LONGEST_WAIT) })
    }
}

#[cfg(test)]
mod tests;
