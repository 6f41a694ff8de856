//! Checks of tags that are shared: while one node asks upstream what a tag means, the others wait for what it is told.
//!
//! Nodes of one replica meet in memory; those of several replicas, which share a database, by a lease in that. Sharing saves
//! requests and nothing depends on it: who has waited in vain asks upstream itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use roadstead_proto::Tag;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{Plane, PlaneResult, tags::UpstreamSaid};
use crate::{
    clock::millis,
    content::GroupRepository,
    store::leases::{self, Lease, Wanted},
};

/// How long others wait for a node that asks: longer than upstreams take, shorter than nodes wait for the control plane.
const CHECK_LEASE: Duration = Duration::from_secs(3);
/// How often it is looked whether a node of another replica has been told.
const POLL: Duration = Duration::from_millis(50);
/// Checks that nobody has ended are swept out when there are this many.
const SWEEP_AT: usize = 1024;

/// The checks that run, by the names of their leases.
#[derive(Default)]
pub struct TagChecks(Mutex<HashMap<String, Check>>);

struct Check {
    node_id: String,
    until: Instant,
    said: watch::Sender<Option<UpstreamSaid>>,
}

/// What a node is to do that wants a tag checked.
enum Turn {
    /// Ask upstream.
    Ask,
    /// Wait for another node, at most until then.
    Wait(watch::Receiver<Option<UpstreamSaid>>, Instant),
}

impl TagChecks {
    /// The node that asks is sent on, also if it asks again: its own requests share what it is told without this.
    fn begin(&self, name: &str, node_id: &str) -> Turn {
        let now = Instant::now();
        let mut checks = self.checks();
        if let Some(running) = checks.get_mut(name).filter(|check| check.until > now) {
            if running.node_id != node_id {
                return Turn::Wait(running.said.subscribe(), running.until);
            }
            return Turn::Ask;
        }
        if checks.len() >= SWEEP_AT {
            checks.retain(|_, check| check.until > now);
        }
        let check = Check { node_id: node_id.to_owned(), until: now + CHECK_LEASE, said: watch::Sender::new(None) };
        checks.insert(name.to_owned(), check);
        Turn::Ask
    }

    fn end(&self, name: &str, said: UpstreamSaid) {
        if let Some(check) = self.checks().remove(name) {
            check.said.send_replace(Some(said));
        }
    }

    fn checks(&self) -> MutexGuard<'_, HashMap<String, Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plane {
    /// What another node was told that was asking already; `None` if `node_id` is to ask upstream itself.
    pub(super) async fn checked_by_another(
        &self,
        place: &GroupRepository,
        tag: &Tag,
        node_id: &str,
    ) -> Option<UpstreamSaid> {
        let name = lease_name(place, tag);
        while let Turn::Wait(mut said, until) = self.tag_checks.begin(&name, node_id) {
            // It has run out, or was replaced by another that had run out: whoever comes first is the next to ask.
            if let Ok(Ok(said)) = timeout_at(until, said.wait_for(Option::is_some)).await {
                return *said;
            }
        }
        if !self.store.is_shared() {
            return None;
        }
        match self.checked_at_another_replica(&name, node_id).await {
            Ok(said) => {
                if let Some(said) = said {
                    self.tag_checks.end(&name, said);
                }
                said
            }
            Err(error) => {
                tracing::warn!(%tag, %error, "whether another node checks a tag could not be told");
                None
            }
        }
    }

    async fn checked_at_another_replica(&self, name: &str, node_id: &str) -> PlaneResult<Option<UpstreamSaid>> {
        let until = Instant::now() + CHECK_LEASE;
        let wanted = Wanted { name, holder: node_id, lifetime_ms: millis(CHECK_LEASE), detail: "" };
        while Instant::now() < until {
            let mut tx = self.store.write_soon().await?;
            let Lease::HeldBy { epoch, .. } = leases::acquire(&mut tx, &wanted, self.clock.now_ms()).await? else {
                tx.commit().await?;
                return Ok(None);
            };
            drop(tx);
            while Instant::now() < until {
                sleep(POLL).await;
                let mut tx = self.store.read().await?;
                if let Some(word) = leases::finished(&mut tx, name, epoch).await? {
                    // Only what upstream has is shared so; failures each node sees for itself.
                    return Ok(word.parse().ok().map(UpstreamSaid::Found));
                }
                if leases::holder(&mut tx, name, self.clock.now_ms()).await?.is_none_or(|(_, now)| now != epoch) {
                    break;
                }
            }
        }
        Ok(None)
    }

    /// A node was told what it asked for.
    pub(super) async fn check_ended(&self, place: &GroupRepository, tag: &Tag, said: UpstreamSaid) {
        let name = lease_name(place, tag);
        self.tag_checks.end(&name, said);
        if !self.store.is_shared() {
            return;
        }
        let word = match said {
            UpstreamSaid::Found(digest) => digest.to_string(),
            UpstreamSaid::Other(_) => String::new(),
        };
        let ended = async {
            let mut tx = self.store.write_soon().await?;
            leases::finish(&mut tx, &name, &word).await?;
            tx.commit().await
        };
        if let Err(error) = ended.await {
            tracing::warn!(%tag, %error, "that a tag was checked could not be noted; others wait a while longer");
        }
    }
}

fn lease_name(place: &GroupRepository, tag: &Tag) -> String {
    format!("tag/{}/{}/{}:{tag}", place.group_id, place.upstream, place.repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::Outcome;

    const SAID: UpstreamSaid = UpstreamSaid::Other(Outcome::NotFound);

    fn waits(turn: Turn) -> watch::Receiver<Option<UpstreamSaid>> {
        match turn {
            Turn::Wait(said, _) => said,
            Turn::Ask => panic!("it is told to ask"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_the_node_that_asks_until_it_is_told_or_takes_too_long() {
        let checks = TagChecks::default();
        assert!(matches!(checks.begin("t", "a"), Turn::Ask));
        assert!(matches!(checks.begin("t", "a"), Turn::Ask), "its own requests share by themselves");
        assert!(matches!(checks.begin("u", "b"), Turn::Ask), "another tag is another check");
        let mut told = waits(checks.begin("t", "b"));
        checks.end("t", SAID);
        assert_eq!(*told.wait_for(Option::is_some).await.unwrap(), Some(SAID));
        assert!(matches!(checks.begin("t", "b"), Turn::Ask), "what came in later is checked anew");
        tokio::time::advance(CHECK_LEASE - Duration::from_millis(1)).await;
        let mut replaced = waits(checks.begin("t", "a"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(matches!(checks.begin("t", "a"), Turn::Ask), "it has run out");
        assert!(replaced.wait_for(Option::is_some).await.is_err());
    }
}
