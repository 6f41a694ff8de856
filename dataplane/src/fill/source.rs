//! The source of a download's next bytes: upstream, or another node that fetches the same blob.
//!
//! A node follows another as long as that brings bytes or shows that it lives. One that is lost is asked for again at the control
//! plane, which lets somebody take over once it misses its heartbeats. One that lives but is out of reach is not waited for: then
//! this node fetches by itself, and that is counted. An owner that was replaced (it was paused, say) follows its successor; one that
//! upstream fails gives the lease back, for a node that fares better.

use std::{sync::Arc, time::Duration};

use roadstead_proto::Digest;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::lease::{Cluster, Held};
use crate::{
    control::{FillTurn, FollowFill, HeldFill},
    metrics::{FillSource, Metrics},
    upstream::Target,
};

/// Interval of the calls for the successor of a lost node.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Longest wait for it: a lease's life, and a little.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest wait of a node that gave its lease back for another to take it: longer than followers bear silence.
const HAND_OVER: Duration = Duration::from_secs(4);
/// Maximum number of consecutive attempts at another node without a byte of it: a minute or two of an upstream that is slow
/// to it.
const MAX_FRUITLESS: u32 = 60;

/// The next source.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Upstream,
    Peer(FollowFill),
}

/// A node that was followed.
struct Lost {
    node_id: String,
    since: Instant,
    /// It did not answer at all, as opposed to having nothing.
    is_out_of_reach: bool,
}

/// The choice of sources for one download.
pub(super) struct Sources {
    cluster: Option<Arc<Cluster>>,
    metrics: Arc<Metrics>,
    digest: Digest,
    now: Option<Source>,
    lost: Option<Lost>,
    fruitless: u32,
    counted: Option<FillSource>,
    held: Option<Held>,
    was_handed_over: bool,
}

impl Sources {
    pub(super) fn new(cluster: Option<Arc<Cluster>>, metrics: Arc<Metrics>, digest: Digest) -> Self {
        Self {
            cluster,
            metrics,
            digest,
            now: None,
            lost: None,
            fruitless: 0,
            counted: None,
            held: None,
            was_handed_over: false,
        }
    }

    /// The source to open, for whoever has the right of `target`. Once it is upstream it stays that, unless another
    /// node takes over.
    pub(super) async fn next(&mut self, target: &Target) -> Source {
        if let Some(now) = &self.now {
            return now.clone();
        }
        let Some(cluster) = self.cluster.clone() else { return self.upstream(FillSource::Upstream) };
        loop {
            let lost_node_id = self.lost.as_ref().map_or("", |lost| &lost.node_id);
            let follow = match cluster.turn(&self.digest, target, lost_node_id).await {
                None => return self.upstream(FillSource::Uncoordinated),
                Some(FillTurn::Granted { epoch }) => {
                    // What a node has finished it does not renew: it may live and be cut off. It is not waited for again.
                    if let Some(lost) = self.lost.as_ref().filter(|lost| lost.is_out_of_reach) {
                        cluster.note_unreachable(&lost.node_id);
                    }
                    let (digest, upstream) = (self.digest, target.host().clone());
                    self.held = Some(cluster.hold(HeldFill { digest, upstream, epoch }));
                    return self.upstream(FillSource::Upstream);
                }
                Some(FillTurn::Follow(follow)) => follow,
            };
            match &self.lost {
                _ if cluster.is_unreachable(&follow.node_id) => return self.upstream(FillSource::Uncoordinated),
                Some(Lost { node_id, since, .. }) if *node_id == follow.node_id => {
                    let is_alive = follow.heard < since.elapsed();
                    if is_alive {
                        info!(blob.digest = %self.digest, node.id = node_id, "the node that fetches this blob is out of reach; fetching it here, too");
                        cluster.note_unreachable(node_id);
                    }
                    if is_alive || since.elapsed() > PATIENCE {
                        return self.upstream(FillSource::Uncoordinated);
                    }
                    sleep(ASK_AGAIN).await;
                }
                _ => {
                    self.count(FillSource::Peer);
                    self.now = Some(Source::Peer(follow.clone()));
                    return Source::Peer(follow);
                }
            }
        }
    }

    fn upstream(&mut self, source: FillSource) -> Source {
        self.count(source);
        self.now = Some(Source::Upstream);
        Source::Upstream
    }

    /// Counts a source once, however often it is taken up again.
    fn count(&mut self, source: FillSource) {
        if self.counted.replace(source) != Some(source) {
            self.metrics.fill_source(source);
        }
    }

    /// The node that is followed lives, but broke off, or has nothing yet: it is asked for again.
    pub(super) fn broke_off(&mut self, brought_bytes: bool) {
        self.fruitless = if brought_bytes { 0 } else { self.fruitless + 1 };
        (self.now, self.lost) = (None, None);
        if self.fruitless > MAX_FRUITLESS {
            self.by_itself();
        }
    }

    /// The node that is followed cannot be reached, or has nothing.
    pub(super) fn lose(&mut self, is_out_of_reach: bool) {
        if let Some(Source::Peer(follow)) = self.now.take() {
            self.lost = Some(Lost { node_id: follow.node_id, since: Instant::now(), is_out_of_reach });
        }
    }

    /// Waits until another node has taken the download over; for ever if this one has no lease.
    pub(super) async fn taken_over(&self) {
        match &self.held {
            Some(held) => held.taken().cancelled_owned().await,
            None => std::future::pending().await,
        }
    }

    /// Another node fetches: this one is to follow it.
    pub(super) fn follow_successor(&mut self) {
        (self.now, self.lost, self.held) = (None, None, None);
    }

    /// Upstream fails this node: gives the lease back and gives others time to take it. False if the owner has none, or it
    /// was tried before.
    pub(super) async fn hand_over(&mut self) -> bool {
        if self.was_handed_over || self.held.is_none() {
            return false;
        }
        self.was_handed_over = true;
        info!(blob.digest = %self.digest, "upstream fails this node; another may go on with the download");
        self.follow_successor();
        sleep(HAND_OVER).await;
        true
    }

    /// From here on without the others.
    pub(super) fn by_itself(&mut self) {
        self.upstream(FillSource::Uncoordinated);
    }

    /// The blob is here and kept.
    pub(super) fn done(&mut self) {
        if let Some(held) = &mut self.held {
            held.done();
        }
    }
}
