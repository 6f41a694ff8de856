//! The places for downloads on a node, and whose turn it is.
//!
//! No group and no upstream gets all of them, so that an upstream that drips, or a group that asks for a thousand blobs, leaves
//! places to everybody else. While somebody waits for a place, downloads that hold it and bring next to nothing, or that nobody
//! follows any more, are asked to end ([`Place::is_wanted`]).

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use roadstead_proto::UpstreamHost;
use tokio::{sync::Notify, time::timeout};

use crate::control::GroupId;

/// Bounds on the downloads that run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On the node.
    pub all: usize,
    /// From one upstream: enough to be fast, and some are left for the others.
    pub upstream: usize,
    /// For one group.
    pub group: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 256, upstream: 192, group: 96 }
    }
}

/// The downloads that run, and those that wait, under one bound.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    running: usize,
    waiting: usize,
}

#[derive(Default)]
struct Counts {
    all: Count,
    upstreams: HashMap<UpstreamHost, Count>,
    groups: HashMap<GroupId, Count>,
}

/// The places of a node.
pub struct Places {
    limits: Limits,
    counts: Mutex<Counts>,
    freed: Notify,
}

/// A place in use; dropping it frees it.
pub struct Place {
    places: Arc<Places>,
    group: GroupId,
    upstream: UpstreamHost,
}

/// Waits for a place; dropping it ends that.
struct Waiting<'a> {
    places: &'a Places,
    group: &'a GroupId,
    upstream: &'a UpstreamHost,
    /// Which bounds it waits at.
    at: Full,
}

/// Which bounds leave no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Full {
    all: bool,
    upstream: bool,
    group: bool,
}

impl Full {
    fn is_full(self) -> bool {
        self.all || self.upstream || self.group
    }
}

impl Places {
    /// All free.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default(), freed: Notify::new() })
    }

    /// Takes a place for a download; `None` if none was free for as long as `patience`.
    pub async fn take(self: &Arc<Self>, group: &GroupId, upstream: &UpstreamHost, patience: Duration) -> Option<Place> {
        let taken = async {
            loop {
                let freed = self.freed.notified();
                let mut freed = std::pin::pin!(freed);
                // Before the look, so that what is freed after it is noticed.
                freed.as_mut().enable();
                let full = self.try_take(group, upstream);
                if !full.is_full() {
                    return Place { places: Arc::clone(self), group: group.clone(), upstream: upstream.clone() };
                }
                let _waiting = Waiting::new(self, group, upstream, full);
                freed.await;
            }
        };
        timeout(patience, taken).await.ok()
    }

    /// Takes a place, unless some bound is reached: those are told.
    fn try_take(&self, group: &GroupId, upstream: &UpstreamHost) -> Full {
        let mut counts = self.counts();
        let running = |count: Option<&Count>| count.map_or(0, |count| count.running);
        let full = Full {
            all: counts.all.running >= self.limits.all,
            upstream: running(counts.upstreams.get(upstream)) >= self.limits.upstream,
            group: running(counts.groups.get(group)) >= self.limits.group,
        };
        if !full.is_full() {
            counts.all.running += 1;
            counts.upstreams.entry(upstream.clone()).or_default().running += 1;
            counts.groups.entry(group.clone()).or_default().running += 1;
        }
        full
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

impl Counts {
    /// Changes the counts of one group and upstream, and forgets those that are all zero.
    fn change(&mut self, group: &GroupId, upstream: &UpstreamHost, at: Full, change: impl Fn(&mut Count)) {
        if at.all {
            change(&mut self.all);
        }
        if at.upstream {
            change(self.upstreams.entry(upstream.clone()).or_default());
        }
        if at.group {
            change(self.groups.entry(group.clone()).or_default());
        }
        let is_used = |count: &Count| count.running + count.waiting > 0;
        if !self.upstreams.get(upstream).is_some_and(is_used) {
            self.upstreams.remove(upstream);
        }
        if !self.groups.get(group).is_some_and(is_used) {
            self.groups.remove(group);
        }
    }
}

impl Place {
    /// Returns whether somebody waits who would get this place, or one that it keeps from being free.
    pub fn is_wanted(&self) -> bool {
        let counts = self.places.counts();
        let waits = |count: Option<&Count>| count.is_some_and(|count| count.waiting > 0);
        counts.all.waiting > 0 || waits(counts.upstreams.get(&self.upstream)) || waits(counts.groups.get(&self.group))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let everywhere = Full { all: true, upstream: true, group: true };
        self.places.counts().change(&self.group, &self.upstream, everywhere, |count| count.running -= 1);
        // Whoever waits looks whether this place is for it.
        self.places.freed.notify_waiters();
    }
}

impl<'a> Waiting<'a> {
    fn new(places: &'a Places, group: &'a GroupId, upstream: &'a UpstreamHost, at: Full) -> Self {
        places.counts().change(group, upstream, at, |count| count.waiting += 1);
        Self { places, group, upstream, at }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.counts().change(self.group, self.upstream, self.at, |count| count.waiting -= 1);
    }
}

#[cfg(test)]
mod tests;
