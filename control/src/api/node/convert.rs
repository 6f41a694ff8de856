//! Messages of `roadstead.node.v1` to and from the control plane's own words.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use roadstead_proto::{
    ContentKind, Descriptor, Digest, Link, RepositoryRef, Tag,
    node::v1,
    time::{duration, duration_seconds, seconds, timestamp, timestamp_ms},
};
use tonic::Status;

use crate::{
    api::{
        errors::{internal, invalid_field, invalid_within, parse},
        node::job,
    },
    auth::key_ring::StoredKey,
    rules::{
        groups::group::Group,
        identity::token::Revocation,
        tags::freshness::{Outcome, Refusal, UpstreamSaid},
        upstreams::upstream::Upstream,
    },
    usecases::{
        cache::{
            link::{BlobRecorded, LinkProof, MAX_LINKS, Proof, ProvenLink, Unlinked},
            usage::Usage,
        },
        tags::freshness::{Served, TagAnswer, TagRefusal},
    },
    watch::Change,
};

/// Longest media type of a link, in bytes.
const MAX_MEDIA_TYPE_BYTES: usize = 255;

pub fn repository(field: &str, repository: Option<v1::RepositoryRef>) -> Result<RepositoryRef, Status> {
    let repository = repository.ok_or_else(|| invalid_field(field, "required"))?;
    repository.try_into().map_err(|error| invalid_within(field, error))
}

pub fn link_in(link: Option<v1::Link>) -> Result<Link, Status> {
    let link = link.ok_or_else(|| invalid_field("link", "required"))?;
    if link.media_type.len() > MAX_MEDIA_TYPE_BYTES {
        return Err(invalid_field("link.media_type", format!("at most {MAX_MEDIA_TYPE_BYTES} bytes")));
    }
    link.try_into().map_err(|error| invalid_within("link", error))
}

pub fn proof_in(proof: i32) -> Result<LinkProof, Status> {
    match v1::LinkProof::try_from(proof) {
        Ok(v1::LinkProof::Fetched) => Ok(LinkProof::Fetched),
        Ok(v1::LinkProof::Head) => Ok(LinkProof::Head),
        _ => Err(invalid_field("proof", "how the right was proven: fetched or head")),
    }
}

pub fn descriptor_in(reference: v1::Reference) -> Result<Descriptor, Status> {
    reference.try_into().map_err(|error| invalid_within("references", error))
}

pub fn links(links: &[Link]) -> Vec<v1::Link> {
    links.iter().map(Into::into).collect()
}

pub fn unlinked(unlinked: &[Unlinked]) -> Vec<v1::Unlinked> {
    let wire = |it: &Unlinked| v1::Unlinked { digest: it.digest.to_string(), from_upstream: it.from_upstream };
    unlinked.iter().map(wire).collect()
}

/// Reads the blobs of a `RecordLinks` call.
pub fn proven_links_in(wire: Vec<v1::ProvenLink>) -> Result<Vec<ProvenLink>, Status> {
    if wire.is_empty() || wire.len() > MAX_LINKS {
        return Err(invalid_field("links", format!("between 1 and {MAX_LINKS}")));
    }
    wire.into_iter().map(proven_in).collect()
}

/// Reads one. A manifest comes with more.
fn proven_in(wire: v1::ProvenLink) -> Result<ProvenLink, Status> {
    let proof = Proof { kind: proof_in(wire.proof)?, link_epoch: wire.link_epoch };
    let (repository, link) = (repository("repository", wire.repository)?, link_in(wire.link)?);
    if link.kind != ContentKind::Blob {
        return Err(invalid_field("link.kind", "a manifest is recorded by RecordLink"));
    }
    Ok(ProvenLink { repository, link, proof })
}

pub fn recorded_link(recorded: BlobRecorded) -> v1::RecordedLink {
    let (outcome, link_epoch) = match recorded {
        BlobRecorded::Linked(link_epoch) => (v1::LinkOutcome::Recorded, link_epoch),
        BlobRecorded::Outdated => (v1::LinkOutcome::Outdated, 0),
        BlobRecorded::BeingDeleted => (v1::LinkOutcome::BeingDeleted, 0),
        BlobRecorded::Unproven => (v1::LinkOutcome::Unproven, 0),
        BlobRecorded::NoGroup => (v1::LinkOutcome::NoGroup, 0),
    };
    v1::RecordedLink { outcome: outcome.into(), link_epoch }
}

pub fn usage_in(usage: v1::Usage) -> Result<Usage, Status> {
    if usage.hits < 0 || usage.misses < 0 {
        return Err(invalid_field("usage", "counts must not be negative"));
    }
    Ok(Usage {
        repository: repository("usage.repository", usage.repository)?,
        digest: parse("usage.digest", &usage.digest)?,
        hits: usage.hits,
        misses: usage.misses,
        last_pulled_at_ms: timestamp_ms(usage.last_pulled_at),
    })
}

pub fn outcome_in(outcome: Option<v1::UpstreamOutcome>) -> Result<UpstreamSaid, Status> {
    use v1::upstream_outcome::Outcome as Said;
    let missing = || invalid_field("outcome", "required: what came of asking upstream");
    Ok(match outcome.and_then(|outcome| outcome.outcome).ok_or_else(missing)? {
        Said::Found(found) => UpstreamSaid::Found(parse::<Digest>("outcome.found.digest", &found.digest)?),
        Said::NotFound(_) => UpstreamSaid::Other(Outcome::NotFound),
        Said::Refused(refused) => UpstreamSaid::Other(match refused.status {
            401 => Outcome::Unauthorized,
            403 => Outcome::Forbidden,
            _ => return Err(invalid_field("outcome.refused.status", "must be 401 or 403")),
        }),
        Said::RateLimited(limited) => {
            UpstreamSaid::Other(Outcome::RateLimited { retry_after_seconds: duration_seconds(limited.retry_after) })
        }
        Said::Unavailable(trouble) => {
            UpstreamSaid::Other(Outcome::Unavailable { retry_after_seconds: duration_seconds(trouble.retry_after) })
        }
    })
}

pub fn serve(served: Served) -> v1::ServeManifest {
    v1::ServeManifest {
        manifest: Some((&served.manifest).into()),
        referenced: links(&served.referenced),
        link_epoch: served.link_epoch,
        age: seconds(served.age_seconds),
        stale: served.stale.map_or(0, Into::into),
        unconfirmed_for: seconds(served.good_for.unconfirmed_seconds),
        fresh_for: duration(served.good_for.fresh_ms),
    }
}

fn refuse(repository: &RepositoryRef, tag: &Tag, reason: TagRefusal, retry_after_seconds: i64) -> v1::Refuse {
    use v1::RefusalReason as Reason;
    let retry_after = seconds(retry_after_seconds);
    let image = format!("{repository}:{tag}");
    let host = &repository.upstream;
    let refusal = match reason {
        TagRefusal::NoGroup => {
            let message = format!("the group is gone, or may not use upstream {host}");
            return v1::Refuse { reason: Reason::GroupUnavailable.into(), message, retry_after };
        }
        TagRefusal::Denied(refused) => {
            return v1::Refuse { reason: Reason::Denied.into(), message: refused.to_string(), retry_after };
        }
        TagRefusal::Rule(refusal) => refusal,
    };
    let (reason, message) = match refusal {
        Refusal::GroupDisabled => (
            Reason::GroupUnavailable,
            "the dependency proxy of this group is switched off; a maintainer can switch it on".to_owned(),
        ),
        Refusal::Denied => (Reason::Denied, format!("image {repository} may not be pulled in this group")),
        Refusal::NotFound => (Reason::NotFound, format!("upstream has no {image}")),
        Refusal::UpstreamUnauthorized => (
            Reason::UpstreamUnauthorized,
            format!(
                "{host} wants credentials for {image}, or other ones; a maintainer can store some with `upstream login`"
            ),
        ),
        Refusal::UpstreamForbidden => {
            (Reason::UpstreamForbidden, format!("{host} forbids the group's credentials to pull {image}"))
        }
        Refusal::RateLimited => {
            (Reason::RateLimited, format!("the pull limit of {host} is reached and {image} is not cached"))
        }
        Refusal::UpstreamUnavailable => {
            (Reason::UpstreamUnavailable, format!("{host} cannot be asked right now and {image} is not cached"))
        }
        Refusal::TooStale { age_ms, max_stale_ms } => (
            Reason::TooStale,
            format!(
                "{host} cannot be asked right now, and it confirmed {image} last {} ago, which is longer than the {} that \
                 this group allows; a maintainer can allow more with `group update --max-stale`",
                roughly(age_ms),
                roughly(max_stale_ms)
            ),
        ),
        Refusal::Frozen => {
            (Reason::Frozen, format!("the group is frozen and {image} is not cached; a maintainer can unfreeze it"))
        }
    };
    v1::Refuse { reason: reason.into(), message, retry_after }
}

/// A time as people say it: "8 days", "90 minutes".
fn roughly(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Translates the decision about a pull before upstream is asked.
pub fn resolve_answer(repository: &RepositoryRef, tag: &Tag, answer: TagAnswer) -> v1::ResolveTagResponse {
    use v1::resolve_tag_response::Decision;
    let cached = |cached: Option<Digest>| cached.map(|digest| digest.to_string()).unwrap_or_default();
    let decision = match answer {
        TagAnswer::Serve(served) => Decision::Serve(serve(served)),
        TagAnswer::Revalidate { cached: digest } => {
            Decision::Revalidate(v1::Revalidate { cached_digest: cached(digest) })
        }
        TagAnswer::Fetch { digest: None } => Decision::Revalidate(v1::Revalidate { cached_digest: String::new() }),
        TagAnswer::Fetch { digest } => Decision::Fetch(v1::FetchManifest { digest: cached(digest) }),
        TagAnswer::Refuse { reason, retry_after_seconds } => {
            Decision::Refuse(refuse(repository, tag, reason, retry_after_seconds))
        }
    };
    v1::ResolveTagResponse { decision: Some(decision) }
}

/// Translates the decision about a pull after upstream was asked.
pub fn report_answer(repository: &RepositoryRef, tag: &Tag, answer: TagAnswer) -> v1::ReportTagResponse {
    use v1::report_tag_response::Decision;
    let decision = match answer {
        TagAnswer::Serve(served) => Decision::Serve(serve(served)),
        TagAnswer::Revalidate { .. } => Decision::Fetch(v1::FetchManifest::default()),
        TagAnswer::Fetch { digest } => {
            let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
            Decision::Fetch(v1::FetchManifest { digest })
        }
        TagAnswer::Refuse { reason, retry_after_seconds } => {
            Decision::Refuse(refuse(repository, tag, reason, retry_after_seconds))
        }
    };
    v1::ReportTagResponse { decision: Some(decision) }
}

pub fn group(group: &Group) -> v1::GroupPolicy {
    v1::GroupPolicy {
        id: group.id.clone(),
        path: group.path.to_string(),
        enabled: group.settings.enabled,
        anonymous_pull: group.settings.anonymous_pull,
        upstreams: group.settings.upstreams.iter().map(ToString::to_string).collect(),
        link_epoch: group.link_epoch,
        credential_epoch: group.credential_epoch,
        access_epoch: group.access_epoch,
        frozen: group.settings.frozen,
        allowed_images: group.settings.images.allowed.iter().map(ToString::to_string).collect(),
        denied_images: group.settings.images.denied.iter().map(ToString::to_string).collect(),
        old_paths: group.old_paths.iter().map(ToString::to_string).collect(),
    }
}

pub fn upstream(upstream: &Upstream) -> v1::UpstreamPolicy {
    v1::UpstreamPolicy {
        host: upstream.host.to_string(),
        url: upstream.url.clone(),
        token_hosts: upstream.token_hosts.clone(),
        ca_pem: upstream.ca_pem.clone(),
        redirect_hosts: upstream.redirect_hosts.clone(),
        reserve_percent: i32::try_from(upstream.reserve_percent).unwrap_or_default(),
    }
}

pub fn keys(keys: &[StoredKey]) -> Result<Vec<v1::PublicKey>, Status> {
    keys.iter()
        .map(|key| {
            let ed25519 = BASE64.decode(&key.public_key).map_err(|_| internal("a signing key is corrupt"))?;
            Ok(v1::PublicKey { id: key.id.clone(), ed25519, not_after: key.times.not_after_ms.and_then(timestamp) })
        })
        .collect()
}

pub fn revocation(wire: &Revocation) -> v1::Revocation {
    v1::Revocation {
        token_id: wire.id.clone(),
        forget_after: timestamp(wire.forget_after_ms),
        user_epoch: wire.user_epoch,
    }
}

/// One change.
pub fn change(wire: &Change) -> Result<v1::PolicyChange, Status> {
    use v1::policy_change::Change as Wire;
    let change = match wire {
        Change::Group(changed) => Wire::Group(group(changed)),
        Change::GroupGone(id) => Wire::DeletedGroupId(id.clone()),
        Change::Upstream(changed) => Wire::Upstream(upstream(changed)),
        Change::UpstreamGone(host) => Wire::DeletedUpstreamHost(host.clone()),
        Change::Keys(all) => Wire::Keys(v1::PublicKeySet { keys: keys(all)? }),
        Change::Condition(changed) => Wire::Condition(job::condition(changed)),
        Change::Job(id) => Wire::Job(v1::JobOffer { id: id.clone() }),
        Change::Revocation(wire) => Wire::Revocation(revocation(wire)),
    };
    Ok(v1::PolicyChange { change: Some(change) })
}
