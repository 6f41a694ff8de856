//! Following the control plane: takes what the watch tells, and opens it again whenever it ends.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::{
    backoff::Backoff,
    control::{
        ControlError,
        client::{
            NodeClient,
            watch::{EventKind, Snapshot, WatchChange, WatchEvent},
        },
        jobs::Offers,
        memory::{Memory, conditions::Conditions},
        policy::{Policy, PolicySnapshot},
        staleness::{QUIET, Staleness},
    },
};

/// Longest silence on the watch before it is opened anew. The control plane says something every 2.5 seconds.
const MAX_SILENCE: Duration = Duration::from_secs(12);
/// The first pause before the watch is opened again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Keeps what a node must know up to date.
pub(crate) struct Watcher {
    pub(crate) client: Arc<NodeClient>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) staleness: Arc<Staleness>,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) offers: Arc<Offers>,
    pub(crate) memory: Memory,
}

impl Watcher {
    /// Follows the control plane until dropped; what is known then stays. `registry_url` is where clients reach this node;
    /// empty if that is not known.
    pub(crate) async fn run(&self, registry_url: &str) {
        let mut pauses = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        // What comes from the disk is only good until there is better: everything is asked for.
        let (mut wants_snapshot, mut was_told) = (true, false);
        loop {
            let mut heard = false;
            let error = self.follow(registry_url, wants_snapshot, &mut heard).await;
            if heard {
                pauses.reset();
                was_told = true;
            }
            // After an event that makes no sense only a snapshot is sure to be right.
            wants_snapshot = !was_told || matches!(error, ControlError::BadAnswer { .. });
            warn!(%error, error.kind = error.kind(), "the control plane's watch ended; connecting again");
            tokio::select! {
                () = sleep(pauses.pause()) => {}
                // It answers calls: there is no need to spare it.
                () = self.staleness.reopened() => pauses.reset(),
            }
        }
    }

    /// Opens the watch and takes what it tells until it ends, which is always an error.
    async fn follow(&self, registry_url: &str, wants_snapshot: bool, heard: &mut bool) -> ControlError {
        let mut events = match self.client.watch(registry_url, &self.policy.current(), wants_snapshot).await {
            Ok(events) => events,
            Err(error) => return error,
        };
        let mut busy_at = Instant::now();
        let mut unfinished = None;
        loop {
            // One that is new, or in the middle of an event, gets the time to tell something.
            let is_dead = async {
                sleep_until(busy_at + QUIET).await;
                self.staleness.reopened().await;
            };
            let event = tokio::select! {
                event = events.next(MAX_SILENCE) => event,
                () = is_dead => return ControlError::Timeout { call: "Watch" },
            };
            match event {
                Ok(event) => match self.take(event, unfinished) {
                    Ok(rest) => unfinished = rest,
                    Err(error) => return error,
                },
                Err(error) => return error,
            }
            if unfinished.is_some() {
                // A sign of life, but no word on what there is now: that comes with the last part.
                busy_at = Instant::now();
                continue;
            }
            *heard = true;
            self.staleness.heard();
        }
    }

    /// Takes an event, or a part of one that follows the parts in `unfinished`. Applies whole events only; returns the policy
    /// to go on from where parts are missing.
    fn take(
        &self,
        event: WatchEvent,
        unfinished: Option<PolicySnapshot>,
    ) -> Result<Option<PolicySnapshot>, ControlError> {
        let WatchEvent { revision, mark, kind, memory_holds, continues } = event;
        match kind {
            EventKind::Snapshot(snapshot) => {
                let policy = self.take_snapshot(snapshot, unfinished.unwrap_or_default());
                if continues {
                    return Ok(Some(policy));
                }
                if !memory_holds && self.policy.has_snapshot() {
                    warn!(revision, "the control plane cannot tell what changed; nothing that is remembered is used");
                    self.memory.forget();
                }
                self.policy.apply(policy.at(revision).marked(mark));
                info!(revision, "snapshot received from the control plane");
            }
            EventKind::Changes(changes) => {
                let mut policy = unfinished.unwrap_or_else(|| PolicySnapshot::clone(&self.policy.load()));
                for change in changes {
                    match change {
                        WatchChange::Policy(change) => policy = policy.with(change),
                        WatchChange::Condition(told) => self.conditions.learn(told),
                        WatchChange::JobOffer(id) => self.offers.put(id),
                    }
                }
                if continues {
                    return Ok(Some(policy));
                }
                self.policy.apply(policy.at(revision).marked(mark));
                debug!(revision, "changes received from the control plane");
            }
            EventKind::Heartbeat => {
                let policy = self.policy.load();
                if revision > policy.revision() {
                    self.policy.apply(PolicySnapshot::clone(&policy).at(revision).marked(mark));
                } else if revision < policy.revision() || mark != *policy.mark() {
                    let problem = "the control plane's database is at another revision than it told".to_owned();
                    return Err(ControlError::BadAnswer { call: "Watch", problem });
                }
            }
        }
        Ok(None)
    }

    /// Adds a part of a snapshot to the parts before it. Leaves out what makes no sense: one group that this version does not
    /// understand costs that group and not the node.
    fn take_snapshot(&self, snapshot: Snapshot, before: PolicySnapshot) -> PolicySnapshot {
        for told in snapshot.conditions {
            match told {
                Ok(told) => self.conditions.learn(told),
                Err(problem) => error!(problem, "left out of the snapshot"),
            }
        }
        before.with_all(snapshot.policy, |problem| error!(problem, "left out of the snapshot"))
    }
}
