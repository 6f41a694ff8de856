//! Pulls by tag: what is known goes into the rule of [`freshness`], what comes out is recorded and answered.

use roadstead_proto::{Digest, Tag};

use super::{Plane, PlaneResult};
use crate::{
    content::{ContentKind, GroupRepository, Link},
    freshness::{self, Decision, Outcome, RecordChange, Refusal, Stale, TagPolicy},
    group::Group,
    store::{StoreError, WriteTx, groups, links, tags},
};

/// What to do about a pull by tag, with what that needs.
#[derive(Debug)]
pub enum TagAnswer {
    /// Serve this.
    Serve(Served),
    /// Ask upstream.
    Revalidate {
        /// What is cached.
        cached: Option<Digest>,
    },
    /// Fetch what upstream has.
    Fetch,
    /// Refuse.
    Refuse {
        /// Why; `None` if the group is not there.
        reason: Option<Refusal>,
        /// Seconds to wait; 0 if not known.
        retry_after_seconds: i64,
    },
}

/// A manifest to serve, and the links of the same moment.
#[derive(Debug)]
pub struct Served {
    /// The manifest.
    pub manifest: Link,
    /// The group's links to what it refers to.
    pub referenced: Vec<Link>,
    /// The group's link epoch.
    pub link_epoch: i64,
    /// Since upstream confirmed the tag.
    pub age_seconds: i64,
    /// Why it could not be checked.
    pub stale: Option<Stale>,
}

/// What upstream said, before it is known whether the group has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamSaid {
    /// It has the tag, with this digest.
    Found(Digest),
    /// Anything else.
    Other(Outcome),
}

impl Plane {
    /// A pull by tag, before upstream is asked.
    pub async fn resolve_tag(&self, place: &GroupRepository, tag: &Tag) -> PlaneResult<TagAnswer> {
        let mut tx = self.store.read().await?;
        let Some(group) = usable_group(&mut tx, place).await? else { return Ok(no_group()) };
        let record = tags::get(&mut tx, place, tag).await?;
        let decision = freshness::resolve(policy(&group), &record, self.clock.now_ms());
        answer(&mut tx, place, &group, decision).await
    }

    /// A pull by tag, after upstream was asked.
    pub async fn report_tag(&self, place: &GroupRepository, tag: &Tag, said: UpstreamSaid) -> PlaneResult<TagAnswer> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let Some(group) = usable_group(&mut tx, place).await? else { return Ok(no_group()) };
        let outcome = match said {
            UpstreamSaid::Other(outcome) => outcome,
            UpstreamSaid::Found(digest) => {
                let link = links::find(&mut tx, place, &digest).await?;
                Outcome::Found { digest, linked: link.is_some_and(|link| link.kind == ContentKind::Manifest) }
            }
        };
        let record = tags::get(&mut tx, place, tag).await?;
        let (decision, change) = freshness::report(policy(&group), &record, outcome, now_ms);
        let answer = answer(&mut tx, place, &group, decision).await?;
        // The answer is right whether or not it can be noted: a full disk must not stop pulls of what is cached.
        if let Err(error) = note(tx, place, tag, change, now_ms).await {
            tracing::error!(%tag, repository.name = %place.repository, %error, "what upstream said of a tag could not be recorded");
        }
        Ok(answer)
    }
}

async fn note(
    mut tx: WriteTx,
    place: &GroupRepository,
    tag: &Tag,
    change: RecordChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    match change {
        RecordChange::Keep => return Ok(()),
        RecordChange::Put(record) => tags::put(&mut tx, place, tag, &record, now_ms).await?,
        RecordChange::Drop => tags::delete(&mut tx, place, tag.as_str()).await?,
    }
    tx.commit().await
}

fn policy(group: &Group) -> TagPolicy {
    TagPolicy { enabled: group.settings.enabled, frozen: group.settings.frozen, max_age_ms: group.settings.max_age_ms }
}

/// The group, if it is there and may use that upstream: a node may not have heard of a change yet.
async fn usable_group(db: &mut sqlx::AnyConnection, place: &GroupRepository) -> PlaneResult<Option<Group>> {
    let group = groups::by_id(db, &place.group_id).await?;
    Ok(group.filter(|group| group.settings.upstreams.contains(&place.upstream)))
}

fn no_group() -> TagAnswer {
    TagAnswer::Refuse { reason: None, retry_after_seconds: 0 }
}

async fn answer(
    db: &mut sqlx::AnyConnection,
    place: &GroupRepository,
    group: &Group,
    decision: Decision,
) -> PlaneResult<TagAnswer> {
    Ok(match decision {
        Decision::Revalidate { cached } => TagAnswer::Revalidate { cached },
        Decision::Fetch => TagAnswer::Fetch,
        Decision::Refuse { reason, retry_after_seconds } => {
            TagAnswer::Refuse { reason: Some(reason), retry_after_seconds }
        }
        Decision::Serve { digest, age_ms, stale } => match links::find(db, place, &digest).await? {
            Some(manifest) => TagAnswer::Serve(Served {
                manifest,
                referenced: links::referenced(db, place, &digest).await?,
                link_epoch: group.link_epoch,
                age_seconds: age_ms / 1000,
                stale,
            }),
            // Read in the same transaction as the record, which counts as cached only with a link.
            None => TagAnswer::Fetch,
        },
    })
}
