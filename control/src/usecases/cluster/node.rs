//! The registry of data-plane nodes: what they report, written for many at a time.
//!
//! A report that says something new (a revision applied, a node that comes or goes) is recorded before it is answered;
//! those that come meanwhile share the next transaction. Others wait in memory for that, a second or so. A crash loses
//! those, and the next reports tell the same.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    clock::Clock,
    rules::cluster::node::{FORGOTTEN_AFTER_MS, Node, NodeState},
    store::{
        Store,
        changes::{self, Revision, Standing},
        cluster::node,
    },
    usecases::{Page, UseCaseError, UseCaseResult, cluster::timeline::Timeline},
};

/// The least time between two transactions, so that a change that all nodes apply at once costs a few, not one a node.
const BETWEEN_WRITES: Duration = Duration::from_millis(100);
/// Longest wait of a report without news for a transaction.
const WRITE_HEARTBEATS_AFTER: Duration = Duration::from_secs(1);

/// The report of a node.
#[derive(Clone, Debug)]
pub enum Report {
    /// Its state.
    Is(Node),
    /// That it begins to watch, and by which revision it serves until it hears of another.
    Watches(Node),
    /// That it serves no more.
    Stops(String),
}

impl Report {
    fn id(&self) -> &str {
        match self {
            Self::Is(node) | Self::Watches(node) => &node.id,
            Self::Stops(id) => id,
        }
    }
}

/// The registry of nodes: the database, and reports that are not written yet.
pub struct NodeRegistry {
    store: Store,
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// Judges the revisions that nodes have.
    timeline: Timeline,
    /// The turn to write, and the time of the last write.
    turn: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Waiting {
    reports: HashMap<String, Report>,
    /// The revision that was written last, by node.
    written: HashMap<String, i64>,
    written_at: Option<Instant>,
}

/// A node with what its state follows from.
#[derive(Debug)]
pub struct ListedNode {
    /// The node.
    pub node: Node,
    /// Its presence.
    pub state: NodeState,
    /// Changes that it has not applied.
    pub revisions_behind: i64,
}

impl NodeRegistry {
    /// A registry with nothing waiting.
    pub fn new(store: Store, clock: Clock) -> Self {
        let timeline = Timeline::new(store.clone(), clock.clone());
        Self { store, clock, waiting: Mutex::default(), timeline, turn: tokio::sync::Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report in; true if it is to be written now.
    fn put(&self, report: Report) -> bool {
        let mut waiting = self.waiting();
        let is_new = match &report {
            Report::Is(node) => waiting.written.get(&node.id).is_none_or(|known| *known != node.applied_revision),
            Report::Watches(_) | Report::Stops(_) => true,
        };
        let is_time = waiting.written_at.is_none_or(|at| at.elapsed() >= WRITE_HEARTBEATS_AFTER);
        waiting.reports.insert(report.id().to_owned(), report);
        is_new || is_time
    }
}

/// Reports on their way to the database; whatever is not written when this is dropped waits on.
struct Taken<'a> {
    all: &'a NodeRegistry,
    reports: HashMap<String, Report>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut waiting = self.all.waiting();
        for (id, report) in self.reports.drain() {
            waiting.reports.entry(id).or_insert(report);
        }
    }
}

impl NodeRegistry {
    /// Returns true if the change log continues from a revision that a node has. If the database was put back to an earlier
    /// state since the node heard that revision, a new timeline has begun.
    pub async fn continues_from(&self, seen: &Revision) -> UseCaseResult<bool> {
        Ok(self.timeline.judge(seen).await? == Standing::Continues)
    }

    /// Takes a node's report; `mark` is the one of the revision in it.
    pub async fn report(&self, mut report: Report, mark: String) -> UseCaseResult<()> {
        if let Report::Is(node) | Report::Watches(node) = &mut report {
            let seen = Revision { number: node.applied_revision, mark };
            if self.timeline.judge(&seen).await? == Standing::Foreign {
                // The number says nothing here.
                node.applied_revision = 0;
            }
        }
        if self.put(report) { self.write_reports().await } else { Ok(()) }
    }

    /// Writes what is waiting, in one transaction.
    pub(crate) async fn write_reports(&self) -> UseCaseResult<()> {
        if self.waiting().reports.is_empty() {
            return Ok(());
        }
        let mut turn = self.turn.lock().await;
        if self.waiting().reports.is_empty() {
            // Somebody else's transaction took it along.
            return Ok(());
        }
        if let Some(last) = *turn {
            sleep_until(last + BETWEEN_WRITES).await;
        }
        let mut taken = Taken { all: self, reports: std::mem::take(&mut self.waiting().reports) };
        let mut tx = self.store.write_soon().await?;
        for report in taken.reports.values() {
            match report {
                Report::Is(node) => node::put(&mut tx, node).await?,
                Report::Watches(node) => node::put_watching(&mut tx, node).await?,
                Report::Stops(id) => node::stop(&mut tx, id, self.clock.now_ms()).await?,
            }
        }
        tx.commit().await?;
        let now = Instant::now();
        *turn = Some(now);
        let mut waiting = self.waiting();
        waiting.written_at = Some(now);
        for (id, report) in taken.reports.drain() {
            match report {
                Report::Is(node) | Report::Watches(node) => waiting.written.insert(id, node.applied_revision),
                Report::Stops(_) => waiting.written.remove(&id),
            };
        }
        Ok(())
    }

    /// Reads the node with this id, if [`NodeRegistry::list`] would show it.
    pub async fn get(&self, id: &str) -> UseCaseResult<ListedNode> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.read().await?;
        let found = node::by_id(&mut tx, id, now_ms - FORGOTTEN_AFTER_MS).await?;
        let node = found.ok_or_else(|| UseCaseError::NotFound {
            what: "node",
            name: id.to_owned(),
            hint: "`node list` shows those there are",
        })?;
        let (revisions_behind, since_ms) = changes::behind(&mut tx, node.applied_revision).await?;
        Ok(ListedNode { state: node.state(since_ms, now_ms), node, revisions_behind })
    }

    /// Reads nodes that follow an id.
    pub async fn list(&self, after: &str, limit: i64) -> UseCaseResult<Page<ListedNode>> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.read().await?;
        let page = Page::cut(node::page(&mut tx, after, now_ms - FORGOTTEN_AFTER_MS, limit + 1).await?, limit);
        // Mostly they all have the same.
        let mut behind: HashMap<i64, (i64, Option<i64>)> = HashMap::new();
        let mut items = Vec::with_capacity(page.items.len());
        for node in page.items {
            let (revisions_behind, since_ms) = match behind.get(&node.applied_revision) {
                Some(known) => *known,
                None => {
                    let counted = changes::behind(&mut tx, node.applied_revision).await?;
                    *behind.entry(node.applied_revision).or_insert(counted)
                }
            };
            items.push(ListedNode { state: node.state(since_ms, now_ms), node, revisions_behind });
        }
        Ok(Page { items, more: page.more })
    }

    /// Forgets nodes that have been silent for a day.
    pub(crate) async fn forget_silent(&self) -> UseCaseResult<()> {
        let before_ms = self.clock.now_ms() - FORGOTTEN_AFTER_MS;
        let mut tx = self.store.write().await?;
        let forgotten = node::prune(&mut tx, before_ms).await?;
        tx.commit().await?;
        let mut waiting = self.waiting();
        for id in forgotten {
            waiting.written.remove(&id);
        }
        Ok(())
    }
}
