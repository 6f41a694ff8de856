//! Purges: links go by the rule of [`purge`], group by group and repository by repository; then the answer waits until
//! no node serves by what was before.
//!
//! It guarantees that
//! - no transaction takes more than [`ROWS_AT_ONCE`] links or much longer than [`TIME_AT_ONCE`], so that others write in
//!   between; each is recorded, with a word if more is to follow;
//! - once it is answered, no node serves what went but those that the answer names, and those that were silent for so
//!   long that they serve nothing any more;
//! - that holds for what was purged by somebody else a moment before, too: purging twice, or two at once, is safe;
//! - a dry run holds nobody up: it only reads.

mod batch;

use std::{fmt, time::Duration};

use roadstead_proto::{ContentKind, Digest, GroupPath, ImageName, RepositoryRef, UpstreamHost};

use crate::{
    clock::{Clock, millis},
    failpoint,
    rules::{
        access::Actor,
        cache::purge::{self, Filter, Selection},
        cluster::node::Node,
    },
    store::{
        Store, WriteTx, audit,
        cache::{inventory, link},
        changes::Subject,
        groups::group,
        tags::tag,
    },
    usecases::{UseCaseResult, cluster::applied::unreached, group_at, groups::image::repository_of},
};

/// Links and tags that one transaction takes at most.
const ROWS_AT_ONCE: usize = 500;
/// Time after which a transaction takes no more.
const TIME_AT_ONCE: Duration = Duration::from_millis(200);

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

/// Removes links as the rule of [`purge`] says. A dry run counts them. The history of tags goes with
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
/// group does not exist. Much of it takes several transactions, so that others get their turns.
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
        // Those with tags only, too: they go with the whole cache.
        None => inventory::repositories_with_tags(&mut *store.read().await?, id).await?,
        Some(image) => vec![repository_of(&group, image)?],
    };
    repositories.retain(|repository| request.upstream.as_ref().is_none_or(|upstream| repository.upstream == *upstream));
    if request.dry_run {
        let purged = batch::count(store, id, repositories, &filter).await?;
        return Ok(Some((purged, group.link_epoch)));
    }
    let subject = request.image.as_ref().map_or_else(|| group.path.to_string(), ToString::to_string);
    let mut work = batch::Work::new(repositories, filter);
    let (mut all, mut revision) = (Purged::default(), 0);
    loop {
        // Read before it is this purge's turn to write.
        work.read(store).await?;
        let now_ms = clock.now_ms();
        let mut tx = store.write().await?;
        let Some(group) = group::by_id(&mut tx, id).await? else { break };
        let purged = work.take(&mut tx, now_ms).await?;
        all += purged;
        // Nodes may still serve content that another purge has just removed: this one waits for that, too.
        revision = revision.max(group.link_epoch);
        if purged != Purged::default() {
            revision = revision.max(void_links(&mut tx, id, now_ms).await?);
            let more = if work.is_done() { "" } else { "; more follows" };
            let done = actor.did("cache.purge", subject.as_str()).of_group(&group.path);
            audit::record(&mut tx, &done.detail(format!("{purged}{more}")), now_ms).await?;
            failpoint::reached("purge_uncommitted");
            tx.commit().await?;
            failpoint::reached("purge_committed");
        } else {
            tx.commit().await?;
        }
        if work.is_done() {
            break;
        }
    }
    Ok(Some((all, revision)))
}

/// Makes what nodes remember of the group's links void, and answers the revision from which on it is.
pub(crate) async fn void_links(tx: &mut WriteTx, group_id: &str, now_ms: i64) -> UseCaseResult<i64> {
    let epoch = tx.changed(&Subject::Group(group_id.to_owned()), now_ms).await?;
    group::set_link_epoch(tx, group_id, epoch).await?;
    Ok(epoch)
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
