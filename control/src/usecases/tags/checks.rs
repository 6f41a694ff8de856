//! Checks of tags that are shared: while one node asks upstream what a tag means, the others wait for what it is told.
//!
//! Nodes meet by a lease in the database, and sooner in the memory of a replica that both have called. A node's calls go
//! to any replica, so a check that began at one may end at another: who waits in memory looks at the lease, too. A node
//! that is the only one has nobody to share with, and needs no lease. Sharing saves requests and nothing depends on it:
//! who has waited in vain asks upstream itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use roadstead_proto::{RepositoryRef, Tag};
use tokio::{
    sync::{Mutex as Turns, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    clock::{Clock, millis},
    rules::tags::freshness::UpstreamSaid,
    store::{
        Store,
        cluster::{
            lease::{self, Lease, Wanted},
            node,
        },
    },
    usecases::UseCaseResult,
};

/// Longest time that a node may take to ask: longer than upstreams take.
const CHECK_LEASE: Duration = Duration::from_secs(3);
/// Longest time that others wait: nodes that hear nothing for 1.2 s ask another replica.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Time for which it is known whether there is just one node.
const NODES_KNOWN_FOR: Duration = Duration::from_secs(1);
/// Time without a report after which a node counts as gone here, in milliseconds.
const NODE_GONE_MS: i64 = 60 * 1000;
/// Pause between two looks for the reports of nodes to other replicas.
const POLL: Duration = Duration::from_millis(50);
/// Checks that nobody has ended are swept out when there are this many.
const SWEEP_AT: usize = 1024;

/// The checks that are known to run, by the names of their leases.
#[derive(Default)]
struct Running(Mutex<HashMap<String, Check>>);

/// Checks of tags that nodes share.
pub struct TagChecks {
    store: Store,
    clock: Clock,
    running: Running,
    /// The id of the only node, if there is just one, and when that was read.
    sole_node: Mutex<Option<(Instant, Option<String>)>>,
}

struct Check {
    node_id: String,
    until: Instant,
    /// Of the lease in the database, once that is known.
    epoch: watch::Sender<Option<i64>>,
    said: watch::Sender<Option<UpstreamSaid>>,
    /// One of those who wait looks at the database for all.
    looking: Arc<Turns<()>>,
}

/// The turn of a node that wants a tag checked.
enum Turn {
    /// Ask upstream: it does so already, if the lease of this epoch turns out to be its own.
    Ask(watch::Receiver<Option<i64>>),
    /// Ask upstream, as far as is known here: nobody does.
    First,
    /// Wait for another node.
    Wait(Waiting),
}

/// A wait for another node's check.
struct Waiting {
    said: watch::Receiver<Option<UpstreamSaid>>,
    until: Instant,
    epoch: Option<i64>,
    looking: Arc<Turns<()>>,
}

/// The state of a check in the database.
enum Found {
    /// It has ended; what upstream has, if that is known.
    Ended(Option<UpstreamSaid>),
    /// It runs, as far as can be told.
    Running,
}

impl Running {
    /// The node that asks is sent on, also if it asks again: its own requests share what it is told without this.
    fn begin(&self, name: &str, node_id: &str) -> Turn {
        let now = Instant::now();
        let mut checks = self.checks();
        if let Some(running) = checks.get(name).filter(|check| check.until > now) {
            if running.node_id == node_id {
                return Turn::Ask(running.epoch.subscribe());
            }
            let (until, epoch) = (running.until, *running.epoch.borrow());
            let (said, looking) = (running.said.subscribe(), Arc::clone(&running.looking));
            return Turn::Wait(Waiting { said, until, epoch, looking });
        }
        if checks.len() >= SWEEP_AT {
            checks.retain(|_, check| check.until > now);
        }
        let (epoch, said) = (watch::Sender::new(None), watch::Sender::new(None));
        let (node_id, until, looking) = (node_id.to_owned(), now + CHECK_LEASE, Arc::default());
        let check = Check { node_id, until, epoch, said, looking };
        checks.insert(name.to_owned(), check);
        Turn::First
    }

    /// Notes the owner and remaining time of a check, as the database has it.
    fn is_of(&self, name: &str, node_id: &str, epoch: i64, left: Duration) {
        if let Some(check) = self.checks().get_mut(name) {
            node_id.clone_into(&mut check.node_id);
            check.until = Instant::now() + left.min(CHECK_LEASE);
            check.epoch.send_replace(Some(epoch));
        }
    }

    fn epoch(&self, name: &str) -> Option<i64> {
        *self.checks().get(name)?.epoch.borrow()
    }

    fn end(&self, name: &str, said: UpstreamSaid) {
        if let Some(check) = self.checks().remove(name) {
            check.said.send_replace(Some(said));
        }
    }

    /// A check that ended without anything to tell others; not one that has begun since.
    fn forget(&self, name: &str, epoch: Option<i64>) {
        let mut checks = self.checks();
        if checks.get(name).is_some_and(|check| *check.epoch.borrow() == epoch) {
            checks.remove(name);
        }
    }

    fn checks(&self) -> MutexGuard<'_, HashMap<String, Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TagChecks {
    /// No check runs yet.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, running: Running::default(), sole_node: Mutex::default() }
    }

    /// Returns the answer that upstream gave another node which was asking already; `None` if `node_id` is to ask
    /// itself.
    pub(crate) async fn said_by_another(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        node_id: &str,
    ) -> Option<UpstreamSaid> {
        if self.sole_node().await.as_deref() == Some(node_id) {
            return None;
        }
        let name = lease_name(repository, tag);
        let deadline = Instant::now() + LONGEST_WAIT;
        while Instant::now() < deadline {
            let waited = match self.running.begin(&name, node_id) {
                Turn::Ask(mut epoch) => {
                    let before = *epoch.borrow();
                    match self.has_ended(&name, before).await {
                        Ok(false) if before.is_some() => return None,
                        // Another of the node's calls is asking for the lease: another node may have that.
                        Ok(false) => {
                            let _ = timeout_at(deadline, epoch.wait_for(Option::is_some)).await;
                            Ok(None)
                        }
                        Ok(true) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
                Turn::First => match self.take_check(&name, node_id).await {
                    Ok(true) => return None,
                    Ok(false) => continue,
                    Err(error) => {
                        self.running.forget(&name, None);
                        Err(error)
                    }
                },
                Turn::Wait(waiting) => self.wait_for_check(&name, waiting, deadline).await,
            };
            match waited {
                Ok(Some(said)) => return Some(said),
                // It has run out, or has ended already: whoever comes first is the next to ask.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%tag, %error, "cannot tell whether another node checks a tag");
                    return None;
                }
            }
        }
        None
    }

    /// The id of the only node that runs, if there is just one.
    async fn sole_node(&self) -> Option<String> {
        let known = self.sole_node.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read_at, sole)) = known
            && read_at.elapsed() < NODES_KNOWN_FOR
        {
            return sole;
        }
        let read = async {
            let heard_after_ms = self.clock.now_ms() - NODE_GONE_MS;
            node::sole(&mut *self.store.read().await?, heard_after_ms).await
        };
        // In doubt there are others.
        let sole = read.await.unwrap_or(None);
        *self.sole_node.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), sole.clone()));
        sole
    }

    /// Takes the lease; false if a node has it that asked another replica.
    async fn take_check(&self, name: &str, node_id: &str) -> UseCaseResult<bool> {
        let wanted = Wanted { name, holder: node_id, lifetime_ms: millis(CHECK_LEASE), detail: "" };
        let mut tx = self.store.write_soon().await?;
        let now_ms = self.clock.now_ms();
        match lease::acquire(&mut tx, &wanted, now_ms).await? {
            Lease::Granted { epoch } => {
                tx.commit().await?;
                self.running.is_of(name, node_id, epoch, CHECK_LEASE);
                Ok(true)
            }
            Lease::HeldBy { holder, epoch, expires_at_ms, .. } => {
                let left_ms = u64::try_from(expires_at_ms.saturating_sub(now_ms)).unwrap_or_default();
                self.running.is_of(name, &holder, epoch, Duration::from_millis(left_ms));
                Ok(false)
            }
        }
    }

    async fn wait_for_check(
        &self,
        name: &str,
        mut waiting: Waiting,
        deadline: Instant,
    ) -> UseCaseResult<Option<UpstreamSaid>> {
        if self.has_ended(name, waiting.epoch).await? {
            return Ok(None);
        }
        let looked = async {
            let _turn = waiting.looking.lock().await;
            self.until_ended(name).await
        };
        let waited = async {
            tokio::select! {
                said = waiting.said.wait_for(Option::is_some) => Ok(said.ok().and_then(|said| *said)),
                said = looked => said,
            }
        };
        timeout_at(waiting.until.min(deadline), waited).await.unwrap_or(Ok(None))
    }

    /// Returns whether a check that is remembered here has ended at another replica, before this pull came in: its
    /// word is an old one.
    async fn has_ended(&self, name: &str, epoch: Option<i64>) -> UseCaseResult<bool> {
        let Some(epoch) = epoch else { return Ok(false) };
        let has_ended = matches!(self.look(name, epoch).await?, Found::Ended(_));
        if has_ended {
            self.running.forget(name, Some(epoch));
        }
        Ok(has_ended)
    }

    /// Looks until the check has ended, and tells those who wait here.
    async fn until_ended(&self, name: &str) -> UseCaseResult<Option<UpstreamSaid>> {
        loop {
            if let Some(epoch) = self.running.epoch(name)
                && let Found::Ended(said) = self.look(name, epoch).await?
            {
                match said {
                    Some(said) => self.running.end(name, said),
                    None => self.running.forget(name, Some(epoch)),
                }
                return Ok(said);
            }
            sleep(POLL).await;
        }
    }

    async fn look(&self, name: &str, epoch: i64) -> UseCaseResult<Found> {
        let mut tx = self.store.read().await?;
        let word = lease::finished(&mut tx, name, epoch).await?;
        // Only what upstream has is shared so; failures each node sees for itself.
        Ok(word.map_or(Found::Running, |word| Found::Ended(word.parse().ok().map(UpstreamSaid::Found))))
    }

    /// A node was told what it asked for.
    pub(crate) async fn ended(&self, repository: &RepositoryRef, tag: &Tag, said: UpstreamSaid) {
        let name = lease_name(repository, tag);
        self.running.end(&name, said);
        if self.sole_node().await.is_some() {
            return;
        }
        let word = match said {
            UpstreamSaid::Found(digest) => digest.to_string(),
            UpstreamSaid::Other(_) => String::new(),
        };
        let ended = async {
            let mut tx = self.store.write_soon().await?;
            lease::finish(&mut tx, &name, &word).await?;
            tx.commit().await
        };
        if let Err(error) = ended.await {
            tracing::warn!(%tag, %error, "cannot record that a tag was checked; other nodes wait longer");
        }
    }
}

fn lease_name(repository: &RepositoryRef, tag: &Tag) -> String {
    format!("tag/{}/{}/{}:{tag}", repository.group, repository.upstream, repository.repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tags::freshness::Outcome;

    const SAID: UpstreamSaid = UpstreamSaid::Other(Outcome::NotFound);

    fn waits(turn: Turn) -> watch::Receiver<Option<UpstreamSaid>> {
        match turn {
            Turn::Wait(waiting) => waiting.said,
            Turn::Ask(_) | Turn::First => panic!("it is told to ask"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_the_node_that_asks_until_it_is_told_or_takes_too_long() {
        let checks = Running::default();
        assert!(matches!(checks.begin("t", "a"), Turn::First));
        assert!(matches!(checks.begin("t", "a"), Turn::Ask(_)), "its own requests share by themselves");
        assert!(matches!(checks.begin("u", "b"), Turn::First), "another tag is another check");
        let mut told = waits(checks.begin("t", "b"));
        checks.end("t", SAID);
        assert_eq!(*told.wait_for(Option::is_some).await.unwrap(), Some(SAID));
        assert!(matches!(checks.begin("t", "b"), Turn::First), "what came in later is checked anew");
        tokio::time::advance(CHECK_LEASE - Duration::from_millis(1)).await;
        let mut replaced = waits(checks.begin("t", "a"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(matches!(checks.begin("t", "a"), Turn::First), "it has run out");
        assert!(replaced.wait_for(Option::is_some).await.is_err());
    }
}
