//! Purges: links go by the rule of [`purge`], group by group and repository by repository; then the answer waits until
//! no node serves by what was before.
//!
//! It guarantees that
//! - a repository's purge is seen whole or not at all, with the record of who did it; a large purge takes several
//!   transactions, so that others write in between;
//! - once it is answered, no node serves what went but those that the answer names, and those that were silent for so
//!   long
//!   that they serve nothing any more;
//! - that holds for what was purged by somebody else a moment before, too: purging twice, or two at once, is safe.

use std::{fmt, time::Duration};

use roadstead_proto::{ContentKind, Digest, GroupPath, ImageName, RepositoryRef, UpstreamHost};
use tokio::time::{Instant, sleep};

use crate::{
    clock::{Clock, millis},
    failpoint,
    rules::{
        access::Actor,
        cache::purge::{self, Filter, Selection},
        cluster::node::{Node, NodeState},
    },
    store::{
        Store, WriteTx, audit,
        cache::{inventory, link},
        changes::Subject,
        cluster::node,
        groups::group,
        tags::{history, tag},
    },
    usecases::{UseCaseResult, group_at, groups::image::repository_of},
};

/// Time for which a purge waits for nodes to apply it.
const NODES_TIME: Duration = Duration::from_secs(3);
/// Links after which a transaction ends with the repository that it is at.
const LINKS_AT_ONCE: i64 = 1000;
/// The same, by time.
const TIME_AT_ONCE: Duration = Duration::from_millis(500);
/// Pause between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The cache to purge.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One group's.
    Group(GroupPath),
    /// Everybody's.
    AllGroups,
}

/// The filters of a purge.
#[derive(Clone, Debug, Default)]
pub struct PurgeRequest {
    /// Only this image.
    pub image: Option<ImageName>,
    /// Only this upstream's.
    pub upstream: Option<UpstreamHost>,
    /// Only what this tag means.
    pub tag: Option<String>,
    /// Only this digest.
    pub digest: Option<Digest>,
    /// Only what was last used longer ago than this.
    pub older_than: Option<Duration>,
    /// Count, and undo.
    pub dry_run: bool,
}

/// The content that a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Tags.
    pub tags: i64,
    /// Links to manifests.
    pub manifests: i64,
    /// Links to blobs.
    pub blobs: i64,
    /// Bytes that the group no longer holds.
    pub bytes: i64,
}

impl Purged {
    const fn links(self) -> i64 {
        self.manifests + self.blobs
    }
}

impl fmt::Display for Purged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tags, manifests, blobs, bytes } = self;
        write!(f, "{tags} tags, {manifests} manifests, {blobs} blobs, {bytes} bytes")
    }
}

impl std::ops::AddAssign for Purged {
    fn add_assign(&mut self, other: Self) {
        self.tags += other.tags;
        self.manifests += other.manifests;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// The result of a purge.
#[derive(Debug, Default)]
pub struct PurgeOutcome {
    /// The removed content of all groups.
    pub purged: Purged,
    /// Groups that something was taken of.
    pub groups: i64,
    /// Nodes that may still serve it.
    pub unreached: Vec<Node>,
}

/// Removes links as the rule of [`purge`] says. A dry run does the same and undoes it. The history of tags goes with
/// whole images and with the whole cache, not with single tags and digests; pins are settings and stay.
pub async fn purge(
    store: &Store,
    clock: &Clock,
    actor: &Actor,
    scope: &Scope,
    request: &PurgeRequest,
) -> UseCaseResult<PurgeOutcome> {
    let ids = match scope {
        Scope::Group(path) => vec![group_at(&mut *store.read().await?, path).await?.id],
        Scope::AllGroups => group::ids(&mut *store.read().await?).await?,
    };
    let mut outcome = PurgeOutcome::default();
    let mut revision = 0;
    for id in ids {
        // One that was deleted meanwhile has nothing left.
        let Some((purged, epoch)) = purge_group(store, clock, actor, &id, request).await? else { continue };
        outcome.groups += i64::from(purged != Purged::default());
        outcome.purged += purged;
        revision = revision.max(epoch);
    }
    if !request.dry_run {
        outcome.unreached = unreached(store, clock, revision).await?;
    }
    Ok(outcome)
}

/// Purges one group. Returns the removed content and the revision from which on none of it is served; `None` if the
/// group does not exist. Much of it takes several transactions, so that others get their turns; each is whole.
async fn purge_group(
    store: &Store,
    clock: &Clock,
    actor: &Actor,
    id: &str,
    request: &PurgeRequest,
) -> UseCaseResult<Option<(Purged, i64)>> {
    let Some(group) = group::by_id(&mut *store.read().await?, id).await? else { return Ok(None) };
    let filter = Filter {
        tag: request.tag.clone(),
        digest: request.digest,
        used_before_ms: request.older_than.map(|age| clock.now_ms().saturating_sub(millis(age))),
    };
    let mut repositories = match &request.image {
        None if filter.takes_all() && request.upstream.is_none() => Repositories::All,
        None => Repositories::These(inventory::repositories(&mut *store.read().await?, id).await?),
        Some(image) => Repositories::These(vec![repository_of(&group, image)?]),
    };
    if let Repositories::These(repositories) = &mut repositories {
        repositories
            .retain(|repository| request.upstream.as_ref().is_none_or(|upstream| repository.upstream == *upstream));
    }
    let subject = request.image.as_ref().map_or_else(|| group.path.to_string(), ToString::to_string);
    let (mut all, mut revision) = (Purged::default(), 0);
    loop {
        let now_ms = clock.now_ms();
        let mut tx = store.write().await?;
        let Some(group) = group::by_id(&mut tx, id).await? else { break };
        // A dry run, which is rolled back, counts correctly in one transaction only.
        let most_links = if request.dry_run { i64::MAX } else { LINKS_AT_ONCE };
        let purged = repositories.take(&mut tx, id, &filter, most_links, now_ms).await?;
        all += purged;
        // Nodes may still serve content that another purge has just removed: this one waits for that, too.
        revision = revision.max(group.link_epoch);
        if !request.dry_run && purged != Purged::default() {
            revision = revision.max(void_links(&mut tx, id, now_ms).await?);
            let done = actor.did("cache.purge", subject.as_str()).of_group(&group.path).detail(purged.to_string());
            audit::record(&mut tx, &done, now_ms).await?;
            failpoint::reached("purge_uncommitted");
            tx.commit().await?;
            failpoint::reached("purge_committed");
        } else if !request.dry_run {
            tx.commit().await?;
        }
        if repositories.are_done() {
            break;
        }
    }
    Ok(Some((all, revision)))
}

/// Waits until all nodes that are there serve by this revision; answers those that may not.
async fn unreached(store: &Store, clock: &Clock, revision: i64) -> UseCaseResult<Vec<Node>> {
    let deadline = Instant::now() + NODES_TIME;
    loop {
        let now_ms = clock.now_ms();
        let mut behind = node::before_revision(&mut *store.read().await?, revision).await?;
        behind.retain(|node| node.may_serve_before(revision, now_ms));
        // One that has stopped may come back while nobody can tell it.
        let is_there = |node: &Node| !node.has_stopped && node.state(None, now_ms) != NodeState::Unreachable;
        if !behind.iter().any(is_there) || Instant::now() >= deadline {
            return Ok(behind);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Makes what nodes remember of the group's links void, and answers the revision from which on it is.
pub(crate) async fn void_links(tx: &mut WriteTx, group_id: &str, now_ms: i64) -> UseCaseResult<i64> {
    let epoch = tx.changed(&Subject::Group(group_id.to_owned()), now_ms).await?;
    group::set_link_epoch(tx, group_id, epoch).await?;
    Ok(epoch)
}

/// The repositories that are still to be purged.
enum Repositories {
    /// The whole group, at once: that takes a few statements, however much it is.
    All,
    /// These repositories, one after the other.
    These(Vec<RepositoryRef>),
}

impl Repositories {
    fn are_done(&self) -> bool {
        matches!(self, Self::These(repositories) if repositories.is_empty())
    }

    /// Takes what one transaction may.
    async fn take(
        &mut self,
        tx: &mut WriteTx,
        group_id: &str,
        filter: &Filter,
        most_links: i64,
        now_ms: i64,
    ) -> UseCaseResult<Purged> {
        let Self::These(repositories) = self else {
            *self = Self::These(Vec::new());
            return take_all(tx, group_id, now_ms).await;
        };
        let mut purged = Purged::default();
        let began = Instant::now();
        while let Some(repository) = repositories.pop() {
            purged += take_repository(tx, &repository, filter, now_ms).await?;
            if purged.links() >= most_links || (most_links < i64::MAX && began.elapsed() >= TIME_AT_ONCE) {
                break;
            }
        }
        Ok(purged)
    }
}

/// Everything of a group: counted and removed as a whole, however much it is.
async fn take_all(tx: &mut WriteTx, group_id: &str, now_ms: i64) -> UseCaseResult<Purged> {
    let bytes = inventory::figures(tx, group_id).await?.bytes;
    let (manifests, blobs) = inventory::count_links(tx, group_id).await?;
    let tags = tag::delete_of_group(tx, group_id).await?;
    history::forget_group(tx, group_id).await?;
    link::delete_of_group(tx, group_id, now_ms).await?;
    Ok(Purged { tags: i64::try_from(tags).unwrap_or(i64::MAX), manifests, blobs, bytes })
}

/// Purges one repository by the filter.
async fn take_repository(
    tx: &mut WriteTx,
    repository: &RepositoryRef,
    filter: &Filter,
    now_ms: i64,
) -> UseCaseResult<Purged> {
    let held = inventory::load(tx, repository).await?;
    let selection = purge::select(&held, filter);
    let purged = remove(tx, repository, &held, &selection, now_ms).await?;
    if filter.takes_all() {
        tag::delete_meaningless(tx, repository).await?;
        history::forget(tx, repository).await?;
    }
    Ok(purged)
}

/// Removes what was selected of one repository.
pub(crate) async fn remove(
    tx: &mut WriteTx,
    repository: &RepositoryRef,
    held: &purge::Inventory,
    selection: &Selection,
    now_ms: i64,
) -> UseCaseResult<Purged> {
    let mut purged = Purged::default();
    for tag in &selection.tags {
        tag::delete(tx, repository, tag).await?;
        purged.tags += 1;
    }
    for digest in &selection.digests {
        link::delete(tx, repository, digest, now_ms).await?;
        // Counted when the group's last link to it goes, so that each digest counts once.
        purged.bytes += link::size_if_unheld(tx, repository.group.as_str(), digest).await?;
        match held.links.get(digest).map(|held| held.kind) {
            Some(ContentKind::Manifest) => purged.manifests += 1,
            _ => purged.blobs += 1,
        }
    }
    Ok(purged)
}
