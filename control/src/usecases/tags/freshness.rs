//! Pulls by tag: what is known goes into the rule of [`freshness`], what comes out is recorded and answered.

use roadstead_proto::{ContentKind, Digest, ImageRefused, Link, RepositoryRef, StaleReason, Tag, may_pull_image};

use super::checks::TagChecks;
use crate::{
    clock::Clock,
    rules::{
        groups::group::Group,
        tags::freshness::{
            self, Decision, GoodFor, Observation, Outcome, RecordChange, Refusal, TagFacts, TagPolicy, UpstreamSaid,
            UpstreamState,
        },
    },
    store::{
        Connection, Store, StoreError, WriteTx,
        cache::link,
        groups::group,
        tags::{history, tag},
    },
    usecases::{UseCaseResult, tags::upstream_state},
};

/// The decision about a pull by tag, with its data.
#[derive(Debug)]
pub enum TagAnswer {
    /// Serve this.
    Serve(Served),
    /// Ask upstream.
    Revalidate {
        /// The cached manifest.
        cached: Option<Digest>,
    },
    /// Fetch.
    Fetch {
        /// Only this; `None` means what the tag means upstream.
        digest: Option<Digest>,
    },
    /// Refuse.
    Refuse {
        /// The cause.
        reason: TagRefusal,
        /// Seconds to wait; 0 if not known.
        retry_after_seconds: i64,
    },
}

/// The reason for refusing a pull by tag.
#[derive(Debug)]
pub enum TagRefusal {
    /// The group is not there, or may not use the upstream.
    NoGroup,
    /// The group's rules do not let the image be pulled.
    Denied(ImageRefused),
    /// Anything else.
    Rule(Refusal),
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
    /// The reason why it could not be checked.
    pub stale: Option<StaleReason>,
    /// Longest time that a node may go by this.
    pub good_for: GoodFor,
}

/// A pull by tag, before upstream is asked. If another node than `node_id` is just asking, this waits for what it is
/// told, and answers by that: a check that was running when the pull came in is as good as one of its own. An empty
/// `node_id` waits for nobody.
pub async fn resolve(
    store: &Store,
    clock: &Clock,
    checks: &TagChecks,
    repository: &RepositoryRef,
    tag: &Tag,
    node_id: &str,
) -> UseCaseResult<TagAnswer> {
    let answer = resolve_alone(store, clock, repository, tag).await?;
    if node_id.is_empty() || !matches!(answer, TagAnswer::Revalidate { .. }) {
        return Ok(answer);
    }
    let Some(said) = checks.said_by_another(repository, tag, node_id).await else { return Ok(answer) };
    let mut tx = store.read().await?;
    let (decided, _) = decide(&mut tx, clock, repository, tag, said).await?;
    Ok(match (decided, said) {
        // The tag is the other node's to record; this one needs what it means now.
        (TagAnswer::Fetch { digest: None }, UpstreamSaid::Found(digest)) => TagAnswer::Fetch { digest: Some(digest) },
        (TagAnswer::Fetch { digest: None }, UpstreamSaid::Other(_)) => answer,
        (decided, _) => decided,
    })
}

async fn resolve_alone(
    store: &Store,
    clock: &Clock,
    repository: &RepositoryRef,
    tag: &Tag,
) -> UseCaseResult<TagAnswer> {
    let now_ms = clock.now_ms();
    let mut tx = store.read().await?;
    let Some(known) = known(&mut tx, repository, tag, now_ms).await? else { return Ok(no_group()) };
    let decision = freshness::resolve(known.policy, &known.facts, known.upstream, now_ms);
    let good_for = freshness::good_for(known.policy, &known.facts, now_ms);
    answer(&mut tx, repository, &known.group, decision, good_for).await
}

/// A pull by tag, after upstream was asked.
pub async fn report(
    store: &Store,
    clock: &Clock,
    checks: &TagChecks,
    repository: &RepositoryRef,
    tag: &Tag,
    said: UpstreamSaid,
) -> UseCaseResult<TagAnswer> {
    let decided = take_report(store, clock, repository, tag, said).await;
    // Whatever came of it, nobody waits for this check any more.
    checks.ended(repository, tag, said).await;
    decided
}

async fn take_report(
    store: &Store,
    clock: &Clock,
    repository: &RepositoryRef,
    tag: &Tag,
    said: UpstreamSaid,
) -> UseCaseResult<TagAnswer> {
    // Most checks find nothing new, and those need not wait for a turn to write.
    let mut tx = store.read().await?;
    let (decided, change) = decide(&mut tx, clock, repository, tag, said).await?;
    if change == RecordChange::Keep {
        return Ok(decided);
    }
    drop(tx);
    let mut tx = store.write_soon().await?;
    let (decided, change) = decide(&mut tx, clock, repository, tag, said).await?;
    // The answer is right whether or not it can be noted: a full disk must not stop pulls of what is cached.
    if let Err(error) = note(tx, repository, tag, change, clock.now_ms()).await {
        tracing::error!(%tag, repository.name = %repository.repository, %error, "cannot record upstream's answer about a tag");
    }
    Ok(decided)
}

async fn decide(
    db: &mut Connection,
    clock: &Clock,
    repository: &RepositoryRef,
    tag: &Tag,
    said: UpstreamSaid,
) -> UseCaseResult<(TagAnswer, RecordChange)> {
    let now_ms = clock.now_ms();
    let Some(known) = known(db, repository, tag, now_ms).await? else { return Ok((no_group(), RecordChange::Keep)) };
    let outcome = match said {
        UpstreamSaid::Other(outcome) => outcome,
        UpstreamSaid::Found(digest) => {
            let link = link::find(db, repository, &digest).await?;
            Outcome::Found {
                digest,
                linked: link.is_some_and(|link| link.kind == ContentKind::Manifest),
                first_seen_ms: history::first_seen(db, repository, tag, &digest).await?,
            }
        }
    };
    let (decision, change) = freshness::report(known.policy, &known.facts, known.upstream, outcome, now_ms);
    let record = match change {
        RecordChange::Keep | RecordChange::Drop => known.facts.record,
        RecordChange::Put(record) => record,
    };
    let facts = TagFacts { record, ..known.facts };
    let good_for = freshness::good_for(known.policy, &facts, now_ms);
    Ok((answer(db, repository, &known.group, decision, good_for).await?, change))
}

/// Resolves tags to a manifest that can be served now: `tag`, which upstream means it by right now, and those for which
/// that was seen before. Answers for how long nodes may serve it by `tag` without asking anybody; 0 if that means
/// something else.
pub(crate) async fn manifest_linked(
    tx: &mut WriteTx,
    repository: &RepositoryRef,
    digest: Digest,
    tag: Option<&Tag>,
    now_ms: i64,
) -> UseCaseResult<i64> {
    let mut unconfirmed_seconds = 0;
    if let Some(tag) = tag
        && let Some(known) = known(tx, repository, tag, now_ms).await?
    {
        let first_seen_ms = history::first_seen(tx, repository, tag, &digest).await?;
        let outcome = Outcome::Found { digest, linked: true, first_seen_ms };
        let (decided, change) =
            freshness::report(known.policy, &known.facts, UpstreamState::default(), outcome, now_ms);
        put(tx, repository, tag, change, now_ms).await?;
        if matches!(decided, Decision::Serve { digest: served, .. } if served == digest) {
            let facts = match change {
                RecordChange::Put(record) => TagFacts { record, ..known.facts },
                RecordChange::Keep | RecordChange::Drop => known.facts,
            };
            unconfirmed_seconds = freshness::good_for(known.policy, &facts, now_ms).unconfirmed_seconds;
        }
    }
    for tag in tag::awaiting(tx, repository, &digest).await? {
        let Some(known) = known(tx, repository, &tag, now_ms).await? else { break };
        let first_seen_ms = history::first_seen(tx, repository, &tag, &digest).await?;
        let change = freshness::promote(known.policy, &known.facts, first_seen_ms, now_ms);
        put(tx, repository, &tag, change, now_ms).await?;
    }
    Ok(unconfirmed_seconds)
}

async fn note(
    mut tx: WriteTx,
    repository: &RepositoryRef,
    tag: &Tag,
    change: RecordChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    put(&mut tx, repository, tag, change, now_ms).await?;
    tx.commit().await
}

async fn put(
    tx: &mut WriteTx,
    repository: &RepositoryRef,
    tag: &Tag,
    change: RecordChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    let before = tag::get(tx, repository, tag).await?.seen;
    let after = match change {
        RecordChange::Keep => return Ok(()),
        RecordChange::Put(record) => {
            tag::put(tx, repository, tag, &record, now_ms).await?;
            record.seen
        }
        RecordChange::Drop => {
            tag::delete(tx, repository, tag.as_str()).await?;
            None
        }
    };
    let meant = |observation: Option<Observation>| observation.map(|observation| observation.digest);
    if meant(before) != meant(after) {
        for observation in before.into_iter().chain(after) {
            history::note(tx, repository, tag, observation).await?;
        }
    }
    Ok(())
}

/// The input of the rule, for one tag of a group.
pub(crate) struct Known {
    pub(crate) group: Group,
    pub(crate) policy: TagPolicy,
    pub(crate) facts: TagFacts,
    pub(crate) upstream: UpstreamState,
}

/// All of it; `None` if the group is not there or may not use that upstream: a node may not have heard of a change yet.
pub(crate) async fn known(
    db: &mut Connection,
    repository: &RepositoryRef,
    tag: &Tag,
    now_ms: i64,
) -> UseCaseResult<Option<Known>> {
    let group = group::by_id(db, repository.group.as_str()).await?;
    let Some(group) = group.filter(|group| group.settings.upstreams.contains(&repository.upstream)) else {
        return Ok(None);
    };
    let settings = &group.settings;
    let policy = TagPolicy {
        enabled: settings.enabled,
        allowed: refused(&group, repository).is_none(),
        frozen: settings.frozen,
        ..settings.tags.policy_for(settings.max_age_ms, &repository.upstream, &repository.repository, tag)
    };
    let record = tag::get(db, repository, tag).await?;
    let older = match record.cached {
        None if policy.cooldown_ms > 0 => {
            let meanings = history::all(db, repository, tag).await?.into_iter();
            meanings
                .filter(|meaning| meaning.cached && record.seen.is_none_or(|seen| seen.digest != meaning.digest))
                .map(|meaning| Observation { digest: meaning.digest, at_ms: meaning.last_seen_ms })
                .next()
        }
        _ => None,
    };
    let pin = history::pinned(db, repository, tag).await?;
    let upstream = upstream_state::state(db, repository.group.as_str(), &repository.upstream, now_ms).await?;
    Ok(Some(Known { group, policy, facts: TagFacts { record, pin, older }, upstream }))
}

/// Returns the reason why the group's rules refuse an image, if they do.
pub(crate) fn refused(group: &Group, repository: &RepositoryRef) -> Option<ImageRefused> {
    let rules = &group.settings.images;
    may_pull_image(&rules.allowed, &rules.denied, &repository.upstream, &repository.repository).err()
}

fn no_group() -> TagAnswer {
    TagAnswer::Refuse { reason: TagRefusal::NoGroup, retry_after_seconds: 0 }
}

async fn answer(
    db: &mut Connection,
    repository: &RepositoryRef,
    group: &Group,
    decision: Decision,
    good_for: GoodFor,
) -> UseCaseResult<TagAnswer> {
    Ok(match decision {
        Decision::Revalidate { cached } => TagAnswer::Revalidate { cached },
        Decision::Fetch { digest } => TagAnswer::Fetch { digest },
        Decision::Refuse { reason, retry_after_seconds } => {
            let reason = match (reason, refused(group, repository)) {
                (Refusal::Denied, Some(refused)) => TagRefusal::Denied(refused),
                (reason, _) => TagRefusal::Rule(reason),
            };
            TagAnswer::Refuse { reason, retry_after_seconds }
        }
        Decision::Serve { digest, age_ms, stale } => match link::find(db, repository, &digest).await? {
            Some(manifest) => TagAnswer::Serve(Served {
                manifest,
                referenced: link::referenced(db, repository, &digest).await?,
                link_epoch: group.link_epoch,
                age_seconds: age_ms / 1000,
                stale,
                // What is not confirmed is decided anew at each pull.
                good_for: if stale.is_none() { good_for } else { GoodFor { fresh_ms: 0, ..good_for } },
            }),
            // Read in the same transaction as the record, which counts as cached only with a link.
            None => TagAnswer::Fetch { digest: None },
        },
    })
}
