//! Manifests in a cluster: pull limits count them, so one node fetches each and the others take it from there.
//!
//! A manifest is leased like a blob ([`crate::fill::source`]), but it is small: who follows waits until the owner has all of
//! it. [`crate::pull`] decides whether the follower's group may have it. Nobody waits longer than clients do: after that a
//! node asks upstream itself, and that is counted.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use roadstead_proto::{Digest, UpstreamHost};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    Fills,
    peer_client::{OpenedManifest, PeerManifest},
    source::{Source, Sources},
};
use crate::upstream::Target;

/// One fetch of a manifest. While it lives, other nodes that ask here are told to wait.
pub struct ManifestFill {
    sources: Sources,
    began: Instant,
    fills: Arc<Fills>,
    digest: Digest,
    upstream: UpstreamHost,
}

impl Fills {
    /// Begins to fetch a manifest from an upstream.
    pub fn manifest(self: &Arc<Self>, digest: Digest, upstream: UpstreamHost) -> ManifestFill {
        // Before the lease is asked for: who is sent here at once finds it.
        self.manifests()
            .entry((digest, upstream.clone()))
            .or_insert_with(|| watch::Sender::new(0))
            .send_modify(|fetches| *fetches += 1);
        let sources = Sources::new(self.cluster.clone(), Arc::clone(&self.metrics), digest);
        ManifestFill { sources, began: Instant::now(), fills: Arc::clone(self), digest, upstream }
    }

    /// Waits until that manifest is not being fetched here from that upstream any more.
    pub async fn wait_for_manifest(&self, digest: &Digest, upstream: &UpstreamHost) {
        let fetches = self.manifests().get(&(*digest, upstream.clone())).map(watch::Sender::subscribe);
        if let Some(mut fetches) = fetches {
            // The sender is gone when the last fetch has ended.
            let _ = fetches.wait_for(|fetches| *fetches == 0).await;
        }
    }
}

impl ManifestFill {
    /// The manifest as another node has it, with the right digest; `None` if upstream is to be asked.
    pub async fn offered(&mut self, target: &Target) -> Option<PeerManifest> {
        if let Ok(found) = timeout(self.fills.upstream.timeouts().manifest_from_peer(), self.follow(target)).await {
            return found;
        }
        info!(manifest.digest = %self.digest, "another node takes too long with this manifest; fetching it here, too");
        self.sources.by_itself();
        None
    }

    async fn follow(&mut self, target: &Target) -> Option<PeerManifest> {
        loop {
            let Source::Peer(follow) = self.sources.next(target).await else { return None };
            let cluster = self.fills.cluster.as_ref()?;
            match cluster.peers.manifest(&follow, &self.digest).await {
                Ok(OpenedManifest::Here(found)) => {
                    if Digest::of(self.digest.algorithm(), &found.body) == self.digest {
                        return Some(found);
                    }
                    warn!(manifest.digest = %self.digest, node.id = follow.node_id, "another node gave something else; asking upstream");
                    self.sources.by_itself();
                }
                Ok(OpenedManifest::NotYet) => self.sources.broke_off(false),
                Err(error) => {
                    info!(manifest.digest = %self.digest, node.id = follow.node_id, %error, "the node that fetches this manifest was lost");
                    self.sources.lose(error.is_out_of_reach());
                }
            }
        }
    }

    /// Upstream is asked from here on, whoever else does.
    pub fn by_itself(&mut self) {
        self.sources.by_itself();
    }

    /// Returns the time left for asking upstream.
    pub fn time_left(&self) -> Duration {
        self.fills.upstream.timeouts().manifest_in_all().saturating_sub(self.began.elapsed())
    }

    /// The manifest is kept: who asks a moment later is still sent here.
    pub fn done(&mut self) {
        self.fills.note_fetched(self.digest, self.upstream.clone());
        self.sources.done();
    }
}

impl Drop for ManifestFill {
    fn drop(&mut self) {
        if let Entry::Occupied(mut there) = self.fills.manifests().entry((self.digest, self.upstream.clone())) {
            there.get_mut().send_modify(|fetches| *fetches -= 1);
            if *there.get().borrow() == 0 {
                there.remove();
            }
        }
    }
}
