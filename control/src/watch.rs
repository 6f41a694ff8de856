//! The policy that nodes serve by, as a snapshot and ordered changes.
//!
//! A watcher learns of every change, in order, within moments of its commit; one that comes back is told what it
//! missed, or everything if that is not known any more. A change tells the subject's present state, so that a watcher
//! that lags is told the last state once instead of each in between. However many watch, the database is read once for
//! all that have the same revision ([`feed`]).

pub mod feed;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::feed::{Feed, WatchError, WatchResult};
use crate::{
    auth::key_ring::StoredKey,
    clock::Clock,
    rules::{
        groups::group::Group,
        identity::token::Revocation,
        upstreams::{pull_limit::Condition, upstream::Upstream},
    },
    store::{
        ReadTx, Store, StoreError, StoreResult,
        changes::{self, Revision, Standing, Subject},
        groups::group,
        identity::{key, token},
        upstreams::{condition, upstream},
    },
    usecases::{cluster::timeline, jobs::exchange::JobExchange},
};

/// Longest silence: five seconds are promised, half of that leaves room for a slow line.
pub const HEARTBEAT: Duration = Duration::from_millis(2500);

/// Age of a look at the database by which a heartbeat may still be sent without another.
const LOOK_GOOD_FOR: Duration = Duration::from_secs(1);

/// One event of a watch.
#[derive(Debug)]
pub struct WatchEvent {
    /// The revision that the watcher has after it.
    pub revision: Revision,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kind of event.
#[derive(Debug)]
pub enum EventKind {
    /// Everything, from scratch.
    Snapshot(Box<Snapshot>),
    /// Changes to apply together.
    Changes(Vec<Change>),
    /// Nothing.
    Heartbeat,
}

/// Everything that nodes know.
#[derive(Debug)]
pub struct Snapshot {
    /// Every group.
    pub groups: Vec<Group>,
    /// Every upstream.
    pub upstreams: Vec<Upstream>,
    /// Every key that verifies.
    pub keys: Vec<StoredKey>,
    /// Registry tokens that are void.
    pub revocations: Vec<Revocation>,
    /// The conditions of upstreams.
    pub conditions: Vec<Condition>,
}

/// One change.
#[derive(Debug)]
pub enum Change {
    /// A group is new or has changed.
    Group(Box<Group>),
    /// The group with this id is gone.
    GroupGone(String),
    /// An upstream is new or has changed.
    Upstream(Upstream),
    /// The upstream with this host is gone.
    UpstreamGone(String),
    /// These are the keys now.
    Keys(Vec<StoredKey>),
    /// Registry tokens are void.
    Revocation(Revocation),
    /// The condition of an upstream has changed.
    Condition(Condition),
    /// There is a job with this id. Not part of what is stored.
    Job(String),
}

/// The source of watches: the database, read once for all watchers with the same revision, and jobs on offer.
pub struct Watches {
    store: Store,
    clock: Clock,
    feed: Feed<Revision, WatchEvent>,
    jobs: Arc<JobExchange>,
}

impl Watches {
    /// Tells of what is in `store`, and of the offers of `jobs`.
    pub fn new(store: Store, clock: Clock, jobs: Arc<JobExchange>) -> Self {
        Self { store, clock, feed: Feed::default(), jobs }
    }

    async fn next(&self, have: &Revision, announced: u64) -> WatchResult<WatchEvent> {
        self.feed.next(have, announced, || read_event(&self.store, &self.clock, have)).await
    }
}

/// Sends events after `have`, the default of which asks for a snapshot, until the watcher goes, `stop` is cancelled, or the
/// database fails (the last thing sent is the error).
pub async fn watch(
    watches: Arc<Watches>,
    mut have: Revision,
    events: mpsc::Sender<WatchResult<WatchEvent>>,
    stop: CancellationToken,
) {
    let mut revisions = watches.store.revisions();
    let mut offers = watches.jobs.offers();
    let mut is_first = true;
    loop {
        // Marked before reading: what is committed meanwhile is read now or wakes the next round.
        let (announced, is_known) = {
            let news = revisions.borrow_and_update();
            (news.count, news.revision == have && !std::mem::take(&mut is_first))
        };
        let next = if is_known && watches.store.has_looked_within(LOOK_GOOD_FOR) {
            // Nothing is read for nodes while nothing changes.
            Ok(Arc::new(WatchEvent { revision: have.clone(), kind: EventKind::Heartbeat }))
        } else {
            watches.next(&have, announced).await
        };
        let failed = next.is_err();
        if let Ok(event) = &next {
            have = event.revision.clone();
        }
        if events.send(next).await.is_err() || failed {
            return;
        }
        loop {
            let offered = tokio::select! {
                () = stop.cancelled() => return,
                () = events.closed() => return,
                // Jobs are beside the revisions: nothing else is new.
                offered = offers.next() => offered.into_iter().map(Change::Job).collect(),
                // Either a change, or time for a sign of life: both mean to look.
                _ = timeout(HEARTBEAT, revisions.changed()) => break,
            };
            let event = WatchEvent { revision: have.clone(), kind: EventKind::Changes(offered) };
            if events.send(Ok(Arc::new(event))).await.is_err() {
                return;
            }
        }
    }
}

async fn read_event(store: &Store, clock: &Clock, have: &Revision) -> Result<WatchEvent, WatchError> {
    let next = async {
        if let Some(event) = next_event(store, clock, have, false).await? {
            return Ok(event);
        }
        timeline::begin_if_foreign(store, clock, have).await?;
        let event = next_event(store, clock, have, true).await?;
        event.ok_or(StoreError::Corrupt { what: "change log", value: have.number.to_string() })
    };
    let event = store.unless_lost(next).await.and_then(|read| read);
    event.map_err(|problem| {
        error!(error = %problem, "the database failed a watch");
        if problem.retryable() { WatchError::Unavailable } else { WatchError::Broken }
    })
}

/// Reads what follows `have`. `None` if the change log has another change in its place, unless a snapshot will do.
async fn next_event(
    store: &Store,
    clock: &Clock,
    have: &Revision,
    take_snapshot: bool,
) -> StoreResult<Option<WatchEvent>> {
    let mut tx = store.read().await?;
    let revision = changes::current_revision(&mut tx).await?;
    let missed = match changes::standing(&mut tx, have).await? {
        Standing::Continues => changes::since(&mut tx, have.number).await?,
        Standing::Foreign if !take_snapshot => return Ok(None),
        Standing::Unknown | Standing::Foreign => None,
    };
    let kind = match missed {
        None => EventKind::Snapshot(Box::new(snapshot(&mut tx, clock.now_ms()).await?)),
        Some(subjects) if subjects.is_empty() => EventKind::Heartbeat,
        Some(subjects) => {
            let mut told = Vec::with_capacity(subjects.len());
            for subject in subjects {
                told.extend(change(&mut tx, subject).await?);
            }
            EventKind::Changes(told)
        }
    };
    Ok(Some(WatchEvent { revision, kind }))
}

async fn snapshot(tx: &mut ReadTx, now_ms: i64) -> StoreResult<Snapshot> {
    let conditions = condition::all(tx).await?.into_iter().filter(|condition| condition.matters(now_ms)).collect();
    Ok(Snapshot {
        conditions,
        groups: group::all(tx).await?,
        upstreams: upstream::all(tx).await?,
        keys: key::all(tx).await?,
        revocations: token::revocations(tx).await?,
    })
}

/// The subject's state now; `None` for a revocation that need not be remembered any more.
async fn change(tx: &mut ReadTx, subject: Subject) -> StoreResult<Option<Change>> {
    Ok(Some(match subject {
        Subject::Group(id) => match group::by_id(tx, &id).await? {
            Some(group) => Change::Group(Box::new(group)),
            None => Change::GroupGone(id),
        },
        Subject::Upstream(host) => match upstream::by_host(tx, &host).await? {
            Some(upstream) => Change::Upstream(upstream),
            None => Change::UpstreamGone(host),
        },
        Subject::Keys => Change::Keys(key::all(tx).await?),
        Subject::Revocation(id) => match token::revocation(tx, &id).await? {
            Some(revocation) => Change::Revocation(revocation),
            None => return Ok(None),
        },
        Subject::Condition(key) => {
            let (upstream, username, source) = Condition::parts(&key);
            match condition::get(tx, upstream, username, source).await? {
                Some(condition) => Change::Condition(condition),
                None => return Ok(None),
            }
        }
    }))
}
