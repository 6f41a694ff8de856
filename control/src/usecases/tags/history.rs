//! The history of tags, and pins, by which maintainers fix a tag to a digest.

use roadstead_proto::{Digest, GroupPath, ImageName, Tag};

use crate::{
    rules::{
        access::Actor,
        limits::{Limit, Limits},
    },
    store::{
        Store, audit,
        changes::Subject,
        tags::{history, tag},
    },
    usecases::{UseCaseError, UseCaseResult, group_at, groups::image::repository_of},
};

/// A digest that a tag has meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagObservation {
    /// The digest.
    pub digest: Digest,
    /// When it was first seen; `None` if the tag is only pinned to it.
    pub first_seen_ms: Option<i64>,
    /// When it was last seen.
    pub last_seen_ms: Option<i64>,
    /// True if the group has it.
    pub cached: bool,
    /// True if the tag is served as that now.
    pub served: bool,
    /// True if the tag is pinned to it.
    pub pinned: bool,
}

/// Returns the history of a tag, the latest digest first.
pub async fn list(store: &Store, path: &GroupPath, image: &ImageName, tag: &Tag) -> UseCaseResult<Vec<TagObservation>> {
    let mut tx = store.read().await?;
    let repository = repository_of(&group_at(&mut tx, path).await?, image)?;
    let record = tag::get(&mut tx, &repository, tag).await?;
    let pin = history::pinned(&mut tx, &repository, tag).await?;
    let served = pin.map_or(record.cached.map(|cached| cached.digest), |pin| Some(pin.digest));
    let mut observations: Vec<_> = history::all(&mut tx, &repository, tag)
        .await?
        .into_iter()
        .map(|meaning| TagObservation {
            digest: meaning.digest,
            first_seen_ms: Some(meaning.first_seen_ms),
            // The present meaning is noted when the tag moves on.
            last_seen_ms: record
                .seen
                .filter(|seen| seen.digest == meaning.digest)
                .map(|seen| seen.at_ms)
                .max(Some(meaning.last_seen_ms)),
            cached: meaning.cached,
            served: meaning.cached && served == Some(meaning.digest),
            pinned: pin.is_some_and(|pin| pin.digest == meaning.digest),
        })
        .collect();
    if let Some(pin) = pin.filter(|pin| observations.iter().all(|observation| observation.digest != pin.digest)) {
        observations.push(TagObservation {
            digest: pin.digest,
            first_seen_ms: None,
            last_seen_ms: None,
            cached: pin.linked,
            served: pin.linked,
            pinned: true,
        });
    }
    observations.sort_by_key(|observation| std::cmp::Reverse((observation.last_seen_ms, observation.first_seen_ms)));
    Ok(observations)
}

/// Fixes a tag to a digest, cached or not.
pub async fn pin(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    path: &GroupPath,
    (image, tag): (&ImageName, &Tag),
    digest: &Digest,
    now_ms: i64,
) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let repository = repository_of(&group, image)?;
    if !group.settings.upstreams.contains(&repository.upstream) {
        return Err(UseCaseError::Precondition(format!(
            "group {path} may not use upstream {}; add it to the group's list first, with `group update`",
            repository.upstream
        )));
    }
    let had = history::count(&mut tx, &group.id).await?;
    history::pin(&mut tx, &repository, tag, digest, now_ms).await?;
    let have = history::count(&mut tx, &group.id).await?;
    limits.check(Limit::Pins, format!("group {path}"), had, have)?;
    // Nodes may decide about the tag without asking until they hear of a change.
    tx.changed(&Subject::Group(group.id), now_ms).await?;
    let done = actor.did("cache.pin", format!("{repository}:{tag}")).of_group(path).detail(format!("to {digest}"));
    audit::record(&mut tx, &done, now_ms).await?;
    Ok(tx.commit().await?)
}

/// Unpins a tag, which follows upstream again.
pub async fn unpin(
    store: &Store,
    actor: &Actor,
    path: &GroupPath,
    image: &ImageName,
    tag: &Tag,
    now_ms: i64,
) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let repository = repository_of(&group, image)?;
    let subject = format!("{repository}:{tag}");
    if !history::unpin(&mut tx, &repository, tag).await? {
        return Err(UseCaseError::NotFound {
            what: "pin of",
            name: subject,
            hint: "`cache history` shows what a tag is pinned to",
        });
    }
    tx.changed(&Subject::Group(group.id), now_ms).await?;
    let done = actor.did("cache.unpin", subject).of_group(path);
    audit::record(&mut tx, &done, now_ms).await?;
    Ok(tx.commit().await?)
}
