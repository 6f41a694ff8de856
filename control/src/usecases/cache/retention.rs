//! Retention: by the rule of [`retention`](crate::rules::cache::retention), what nobody has pulled for long goes, and
//! the least recently pulled where a group is beyond its quota or the store beyond its high watermark.
//!
//! One replica at a time does it. Evictions are planned here in a reading transaction; [`evict`](super::evict) takes
//! it. Looking is cheap while there is room: by figures that are kept, without adding anything up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead_proto::{GroupPath, RepositoryRef};
use tokio::time::sleep;

use crate::{
    clock::Clock,
    rules::{
        access::Actor,
        cache::{
            purge::Inventory,
            retention::{Bounds, Eviction, Image, Planner, images},
            watermark::Watermarks,
        },
        cluster::node::FORGOTTEN_AFTER_MS,
        groups::group::Group,
    },
    store::{
        Connection, Store, audit,
        cache::{inventory, retention as stored},
        groups::group,
    },
    usecases::{
        UseCaseError, UseCaseResult,
        cache::retention_backoff::{ROOM_EVERY_MS, RetentionBackoff},
        cluster::leader::{Leader, RETENTION},
        group_at,
    },
};

/// Interval at which ages are looked at, in milliseconds: an hour, which is little against the shortest retention, a
/// day.
const AGES_EVERY_MS: i64 = 3600 * 1000;
/// The key of the whole store in the backoff.
const STORE: &str = "";
/// Time for which a call waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// The result of retention, or of its dry run.
#[derive(Debug, Default)]
pub struct Retained {
    /// By image, the least recently pulled first.
    pub evictions: Vec<Eviction<RepositoryRef>>,
    /// Manifests.
    pub manifests: i64,
    /// Bytes that the group no longer holds.
    pub bytes: i64,
    /// Bytes that it holds then.
    pub bytes_left: i64,
}

/// Retention, as this replica does it.
pub struct Retention {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) leader: Arc<Leader>,
    /// The bounds of the store; `None` sets none.
    watermarks: Option<Watermarks>,
    /// When links were last removed for their age.
    ages_seen_at_ms: AtomicI64,
    /// When quotas and the store are looked at again.
    room_due_ms: AtomicI64,
    /// The groups that are not looked at for now.
    backoff: RetentionBackoff,
}

impl Retention {
    /// Keeps the store between the watermarks, where there are some.
    pub fn new(store: Store, clock: Clock, leader: Arc<Leader>, watermarks: Option<Watermarks>) -> Self {
        let (ages_seen_at_ms, room_due_ms, backoff) = Default::default();
        Self { store, clock, leader, watermarks, ages_seen_at_ms, room_due_ms, backoff }
    }

    /// Looks at the ages of all groups' images, if it is time.
    pub(crate) async fn apply_if_due(&self) -> UseCaseResult<()> {
        let now_ms = self.clock.now_ms();
        if now_ms - self.ages_seen_at_ms.load(Ordering::Relaxed) >= AGES_EVERY_MS {
            let mut all_done = true;
            for group in group::with_retention(&mut *self.store.read().await?).await? {
                // One group's trouble is not the others'.
                all_done &= self.retain_group(&group.id).await.unwrap_or_else(|error| {
                    tracing::warn!(group.path = %group.path, %error, "retention could not be applied; trying again soon");
                    false
                });
            }
            if all_done {
                self.ages_seen_at_ms.store(now_ms, Ordering::Relaxed);
            }
        }
        self.make_room().await
    }

    /// Looks at quotas and at the store, if it is time.
    pub(crate) async fn make_room(&self) -> UseCaseResult<()> {
        let now_ms = self.clock.now_ms();
        if now_ms < self.room_due_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.room_due_ms.store(now_ms.saturating_add(ROOM_EVERY_MS), Ordering::Relaxed);
        let mut tx = self.store.read().await?;
        let mut beyond = Vec::new();
        for group in group::with_quota(&mut tx).await? {
            if stored::bytes_of_group(&mut tx, &group.id).await? > group.settings.quota_bytes {
                beyond.push(group);
            }
        }
        drop(tx);
        let ids: Vec<_> = beyond.iter().map(|group| group.id.as_str()).collect();
        self.backoff.keep(&ids);
        for group in beyond {
            if self.backoff.is_due(&group.id, Some(&group.settings), now_ms) {
                self.retain_group(&group.id).await?;
            }
        }
        self.relieve_store().await
    }

    /// Applies a group's retention, or tells what it would take.
    pub async fn apply(&self, actor: &Actor, path: &GroupPath, dry_run: bool) -> UseCaseResult<Retained> {
        let group = group_at(&mut *self.store.read().await?, path).await?;
        if dry_run {
            return Ok(self.plan_group(&group).await?.0);
        }
        let deadline = Instant::now() + TURN_WAIT;
        let epoch = loop {
            match self.leader.begin_term(RETENTION).await? {
                Some(epoch) => break epoch,
                None if Instant::now() < deadline => sleep(TURN_WAIT / 50).await,
                None => {
                    let message = "retention is being applied just now; try again in a minute";
                    return Err(UseCaseError::Precondition(message.to_owned()));
                }
            }
        };
        let done = self.evict_from_group(&group, epoch, Some(actor)).await;
        self.leader.end_term(RETENTION, epoch).await?;
        let retained = done?;
        let mut tx = self.store.write().await?;
        let detail = format!("{} manifests, {} bytes", retained.manifests, retained.bytes);
        let did = actor.did("cache.retain", path.as_str()).of_group(path).detail(detail);
        audit::record(&mut tx, &did, self.clock.now_ms()).await?;
        tx.commit().await?;
        Ok(retained)
    }

    /// False if it is somebody else's turn.
    async fn retain_group(&self, id: &str) -> UseCaseResult<bool> {
        let Some(group) = group::by_id(&mut *self.store.read().await?, id).await? else { return Ok(true) };
        let Some(epoch) = self.leader.begin_term(RETENTION).await? else { return Ok(false) };
        let done = self.evict_from_group(&group, epoch, None).await;
        self.leader.end_term(RETENTION, epoch).await?;
        done.map(|_| true)
    }

    async fn evict_from_group(&self, group: &Group, epoch: i64, actor: Option<&Actor>) -> UseCaseResult<Retained> {
        let began = Instant::now();
        let (plan, held) = self.plan_group(group).await?;
        let looking = began.elapsed();
        let mut done = self.evict(plan.evictions, epoch, actor).await?;
        done.bytes_left = held - done.bytes;
        let quota = group.settings.quota_bytes;
        if quota > 0 && held > quota {
            let in_vain = done.evictions.is_empty();
            self.backoff.looked(&group.id, Some(&group.settings), self.clock.now_ms(), looking, in_vain);
        }
        Ok(done)
    }

    /// Returns what a group's bounds evict, and the bytes that it holds.
    async fn plan_group(&self, group: &Group) -> UseCaseResult<(Retained, i64)> {
        let settings = &group.settings;
        let now_ms = self.clock.now_ms();
        let used_before_ms = (settings.retention_ms > 0).then(|| now_ms.saturating_sub(settings.retention_ms));
        let most_bytes = (settings.quota_bytes > 0).then_some(settings.quota_bytes);
        let mut tx = self.store.read().await?;
        let bytes_left = stored::bytes_of_group(&mut tx, &group.id).await?;
        let is_old = match used_before_ms {
            Some(before) => stored::has_unused_since(&mut tx, &group.id, before).await?,
            None => false,
        };
        // Mostly there is nothing to do, and that is told without reading everything.
        if !is_old && most_bytes.is_none_or(|most| bytes_left <= most) {
            return Ok((Retained { bytes_left, ..Retained::default() }, bytes_left));
        }
        let mut planner = Planner::new();
        add_group(&mut tx, &mut planner, group).await?;
        drop(tx);
        let evictions = planner.evict(Bounds { used_before_ms, most_bytes });
        let bytes = evictions.iter().map(|gone| gone.bytes).sum();
        let manifests = evictions.iter().map(|gone| gone.manifests).sum();
        Ok((Retained { evictions, manifests, bytes, bytes_left: bytes_left - bytes }, bytes_left))
    }

    /// If the store is beyond its high watermark, evicts the least recently pulled images of all groups until it is
    /// down to the low one.
    async fn relieve_store(&self) -> UseCaseResult<()> {
        let Some(marks) = self.watermarks else { return Ok(()) };
        let now_ms = self.clock.now_ms();
        if !self.backoff.is_due(STORE, None, now_ms) {
            return Ok(());
        }
        let mut tx = self.store.read().await?;
        let reported = stored::smallest_store(&mut tx, now_ms - FORGOTTEN_AFTER_MS).await?;
        let Some((high, low)) = marks.bytes(reported) else { return Ok(()) };
        if stored::most_bytes_of_all(&mut tx).await? <= high {
            return Ok(());
        }
        let began = Instant::now();
        let held = stored::bytes_of_all(&mut tx).await?;
        drop(tx);
        if held <= high {
            self.backoff.looked(STORE, None, now_ms, began.elapsed(), false);
            return Ok(());
        }
        let Some(epoch) = self.leader.begin_term(RETENTION).await? else { return Ok(()) };
        tracing::info!(held_bytes = held, high_bytes = high, low_bytes = low, "the store is beyond its high watermark");
        let done = self.evict_from_all(low, epoch, began).await;
        self.leader.end_term(RETENTION, epoch).await?;
        done
    }

    async fn evict_from_all(&self, most_bytes: i64, epoch: i64, began: Instant) -> UseCaseResult<()> {
        let mut planner = Planner::new();
        let mut tx = self.store.read().await?;
        for id in group::ids(&mut tx).await? {
            if let Some(group) = group::by_id(&mut tx, &id).await? {
                add_group(&mut tx, &mut planner, &group).await?;
            }
        }
        drop(tx);
        let plan = planner.evict(Bounds { used_before_ms: None, most_bytes: Some(most_bytes) });
        let looking = began.elapsed();
        let in_vain = self.evict(plan, epoch, None).await?.evictions.is_empty();
        self.backoff.looked(STORE, None, self.clock.now_ms(), looking, in_vain);
        Ok(())
    }
}

/// All that a group holds, one repository after the other.
async fn add_group(db: &mut Connection, planner: &mut Planner<RepositoryRef>, group: &Group) -> UseCaseResult<()> {
    for repository in inventory::repositories(db, &group.id).await? {
        let (_, found) = look(db, group, &repository).await?;
        let contents = stored::contents(db, &repository).await?;
        planner.add(repository, found, &contents);
    }
    Ok(())
}

/// Loads the content that a group holds of a repository, and its images.
pub(crate) async fn look(
    db: &mut Connection,
    group: &Group,
    repository: &RepositoryRef,
) -> UseCaseResult<(Inventory, Vec<Image>)> {
    let held = inventory::load(db, repository).await?;
    let pinned = stored::pinned(db, repository).await?;
    let keeps = |tag: &str| {
        let tag = tag.parse();
        tag.is_ok_and(|tag| {
            group.settings.protected_tags.iter().any(|it| it.fits(&repository.upstream, &repository.repository, &tag))
        })
    };
    let found = images(&held, keeps, &pinned);
    Ok((held, found))
}
