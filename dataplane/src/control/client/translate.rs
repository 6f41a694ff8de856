//! Between protobuf and the node's own types.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::DecodingKey;
use roadstead_proto::{Digest, ImagePattern, UpstreamHost, node::v1 as pb, time as wire};
use secrecy::ExposeSecret;
use url::Url;

use crate::control::{
    ContentKind, GroupPolicy, Link, PolicyChange, ProofKind, Reference, RefusalReason, Refused, RegistryToken,
    RepositoryRef, Revocation, ServeManifest, SignIn, SignInRefusal, SignInRefused, SignInResult, StaleReason,
    TagOutcome, Unlinked, UpstreamPolicy, VerifyingKey, tag::Brought,
};

/// A message that makes no sense, and why.
pub(crate) type Problem = String;

pub(crate) fn unsigned(name: &str, value: i64) -> Result<u64, Problem> {
    u64::try_from(value).map_err(|_| format!("{name} is {value}"))
}

/// Reads a duration; an absent or negative one is zero.
pub(crate) fn span(duration: Option<wire::Duration>) -> Duration {
    Duration::from_millis(u64::try_from(wire::duration_ms(duration)).unwrap_or_default())
}

/// Reads a duration that may be absent; zero is absent too.
pub(crate) fn wait(duration: Option<wire::Duration>) -> Option<Duration> {
    Some(span(duration)).filter(|wait| !wait.is_zero())
}

/// Writes a wait in whole seconds, rounded up: a part of a second is still a wait.
pub(crate) fn whole_seconds(wait: Option<Duration>) -> Option<wire::Duration> {
    wait.and_then(|wait| wire::seconds(i64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)))
}

/// Writes a time.
pub(crate) fn timestamp(time: SystemTime) -> Option<wire::Timestamp> {
    wire::timestamp(milliseconds(time))
}

/// Reads a time; an absent one is 1970.
pub(crate) fn time_of(timestamp: Option<wire::Timestamp>) -> SystemTime {
    time(wire::timestamp_ms(timestamp))
}

pub(crate) fn time(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn kind(kind: i32) -> Result<ContentKind, Problem> {
    match pb::ContentKind::try_from(kind) {
        Ok(pb::ContentKind::Manifest) => Ok(ContentKind::Manifest),
        Ok(pb::ContentKind::Blob) => Ok(ContentKind::Blob),
        _ => Err(format!("there is no content kind {kind}")),
    }
}

const fn kind_to_pb(kind: ContentKind) -> pb::ContentKind {
    match kind {
        ContentKind::Manifest => pb::ContentKind::Manifest,
        ContentKind::Blob => pb::ContentKind::Blob,
    }
}

pub(crate) const fn proof_to_pb(proof: ProofKind) -> pb::LinkProof {
    match proof {
        ProofKind::Fetched => pb::LinkProof::Fetched,
        ProofKind::Head => pb::LinkProof::Head,
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

pub(crate) fn host(text: &str) -> Result<UpstreamHost, Problem> {
    text.parse().map_err(|error| format!("{error}"))
}

fn group(group: pb::GroupPolicy) -> Result<GroupPolicy, Problem> {
    let path = |text: &str| text.parse().map_err(|error| format!("group {}: {error}", group.id));
    Ok(GroupPolicy {
        path: path(&group.path)?,
        old_paths: group.old_paths.iter().map(|old| path(old)).collect::<Result<_, _>>()?,
        id: group.id.as_str().into(),
        enabled: group.enabled,
        anonymous_pull: group.anonymous_pull,
        upstreams: group.upstreams.iter().map(|upstream| host(upstream)).collect::<Result<_, _>>()?,
        link_epoch: group.link_epoch,
        credential_epoch: group.credential_epoch,
        access_epoch: group.access_epoch,
        frozen: group.frozen,
        allowed_images: patterns(&group.allowed_images)?,
        denied_images: patterns(&group.denied_images)?,
    })
}

/// A rule that is not understood must not let anything pass: it costs the group.
fn patterns(texts: &[String]) -> Result<Vec<ImagePattern>, Problem> {
    texts.iter().map(|text| text.parse().map_err(|error| format!("{text:?}: {error}"))).collect()
}

fn upstream(upstream: pb::UpstreamPolicy) -> Result<UpstreamPolicy, Problem> {
    let url: Url = upstream.url.parse().map_err(|error| format!("URL of {}: {error}", upstream.host))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("URL of {} is neither http nor https", upstream.host));
    }
    Ok(UpstreamPolicy {
        host: host(&upstream.host)?,
        url,
        token_hosts: upstream.token_hosts,
        ca_pem: upstream.ca_pem,
        redirect_hosts: upstream.redirect_hosts,
        reserve_percent: u8::try_from(upstream.reserve_percent.clamp(0, 100)).unwrap_or_default(),
    })
}

fn key(key: pb::PublicKey) -> Result<VerifyingKey, Problem> {
    let bytes: [u8; 32] = key.ed25519.try_into().map_err(|_| format!("key {} has not 32 bytes", key.id))?;
    let not_after = key.not_after.map(|at| time_of(Some(at)));
    Ok(VerifyingKey { id: key.id, key: DecodingKey::from_ed_der(&bytes), ed25519: bytes, not_after })
}

fn keys(all: Vec<pb::PublicKey>) -> Result<PolicyChange, Problem> {
    all.into_iter().map(key).collect::<Result<_, _>>().map(PolicyChange::Keys)
}

fn revocation(revocation: pb::Revocation) -> PolicyChange {
    let pb::Revocation { token_id: id, forget_after, user_epoch } = revocation;
    let before_epoch = (user_epoch != 0).then_some(user_epoch);
    PolicyChange::Revoked(Revocation { id, before_epoch, forget_after: time_of(forget_after) })
}

/// The changes that lead from nothing to a snapshot. Parts that make no sense are errors of their own, so that one
/// group that this version does not understand costs that group and not the node.
pub(crate) fn snapshot(snapshot: pb::PolicySnapshot) -> Vec<Result<PolicyChange, Problem>> {
    let groups = snapshot.groups.into_iter().map(|it| group(it).map(PolicyChange::Group));
    let upstreams = snapshot.upstreams.into_iter().map(|it| upstream(it).map(PolicyChange::Upstream));
    let revocations = snapshot.revocations.into_iter().map(|it| Ok(revocation(it)));
    // Of a snapshot in parts only one has the keys, all of them.
    let keys = (!snapshot.keys.is_empty()).then(|| keys(snapshot.keys));
    groups.chain(upstreams).chain(keys).chain(revocations).collect()
}

pub(crate) fn change(change: pb::PolicyChange) -> Result<PolicyChange, Problem> {
    use pb::policy_change::Change;
    match change.change.ok_or("a change says nothing")? {
        Change::Group(it) => group(it).map(PolicyChange::Group),
        Change::DeletedGroupId(id) => Ok(PolicyChange::GroupDeleted(id.as_str().into())),
        Change::Upstream(it) => upstream(it).map(PolicyChange::Upstream),
        Change::DeletedUpstreamHost(it) => host(&it).map(PolicyChange::UpstreamDeleted),
        Change::Keys(set) => keys(set.keys),
        Change::Revocation(it) => Ok(revocation(it)),
        Change::Condition(_) => Err("a condition is no policy".into()),
        Change::Job(_) => Err("a job is no policy".into()),
    }
}

pub(crate) fn link(link: pb::Link) -> Result<Arc<Link>, Problem> {
    Ok(Arc::new(Link {
        digest: digest(&link.digest)?,
        kind: kind(link.kind)?,
        size_bytes: unsigned("a link's size", link.size_bytes)?,
        media_type: link.media_type,
    }))
}

pub(crate) fn links(links: Vec<pb::Link>) -> Result<Vec<Arc<Link>>, Problem> {
    links.into_iter().map(link).collect()
}

pub(crate) fn unlinked(unlinked: Vec<pb::Unlinked>) -> Result<Vec<Unlinked>, Problem> {
    let read = |it: pb::Unlinked| Ok(Unlinked { digest: digest(&it.digest)?, is_from_upstream: it.from_upstream });
    unlinked.into_iter().map(read).collect()
}

pub(crate) fn link_to_pb(link: &Link) -> pb::Link {
    pb::Link {
        digest: link.digest.to_string(),
        kind: kind_to_pb(link.kind).into(),
        size_bytes: i64::try_from(link.size_bytes).unwrap_or(i64::MAX),
        media_type: link.media_type.clone(),
    }
}

pub(crate) fn reference_to_pb(reference: &Reference) -> pb::Reference {
    pb::Reference {
        digest: reference.digest.to_string(),
        kind: kind_to_pb(reference.kind).into(),
        size_bytes: i64::try_from(reference.size_bytes).unwrap_or(i64::MAX),
        platform: reference.platform.clone(),
    }
}

pub(crate) fn repository_to_pb(repository: &RepositoryRef) -> pb::RepositoryRef {
    pb::RepositoryRef {
        group_id: repository.group.to_string(),
        upstream: repository.upstream.to_string(),
        repository: repository.repository.to_string(),
    }
}

pub(crate) fn repository(repository: pb::RepositoryRef) -> Result<RepositoryRef, Problem> {
    Ok(RepositoryRef {
        group: repository.group_id.as_str().into(),
        upstream: host(&repository.upstream)?,
        repository: repository.repository.parse().map_err(|error| format!("{error}"))?,
    })
}

pub(crate) fn serve(serve: pb::ServeManifest) -> Result<(ServeManifest, Brought), Problem> {
    let stale = match serve.stale() {
        pb::StaleReason::Unspecified => None,
        pb::StaleReason::UpstreamUnavailable => Some(StaleReason::UpstreamUnavailable),
        pb::StaleReason::RateLimited => Some(StaleReason::RateLimited),
        pb::StaleReason::Frozen => Some(StaleReason::Frozen),
        pb::StaleReason::Reserve => Some(StaleReason::Reserve),
        pb::StaleReason::Missing => Some(StaleReason::Missing),
        pb::StaleReason::Cooldown => Some(StaleReason::Cooldown),
        pb::StaleReason::ControlUnavailable => Some(StaleReason::ControlUnavailable),
    };
    let age = span(serve.age);
    let manifest = link(serve.manifest.ok_or("there is no manifest to serve")?)?;
    let referenced = links(serve.referenced)?;
    let (good_for, fresh_for) = (span(serve.unconfirmed_for), span(serve.fresh_for));
    let (unlinked, link_epoch) = (Vec::new(), serve.link_epoch);
    let brought = Brought { referenced, unlinked, link_epoch, good_for, fresh_for };
    Ok((ServeManifest { manifest, age, stale }, brought))
}

pub(crate) fn refuse(refuse: pb::Refuse) -> Result<Refused, Problem> {
    let reason = match refuse.reason() {
        pb::RefusalReason::NotFound => RefusalReason::NotFound,
        pb::RefusalReason::UpstreamUnauthorized => RefusalReason::UpstreamUnauthorized,
        pb::RefusalReason::UpstreamForbidden => RefusalReason::UpstreamForbidden,
        pb::RefusalReason::RateLimited => RefusalReason::RateLimited,
        pb::RefusalReason::UpstreamUnavailable => RefusalReason::UpstreamUnavailable,
        pb::RefusalReason::TooStale => RefusalReason::TooStale,
        pb::RefusalReason::Denied => RefusalReason::Denied,
        pb::RefusalReason::Frozen => RefusalReason::Frozen,
        pb::RefusalReason::GroupUnavailable => RefusalReason::GroupUnavailable,
        pb::RefusalReason::Unspecified => return Err(format!("there is no refusal reason {}", refuse.reason)),
    };
    Ok(Refused { reason, retry_after: wait(refuse.retry_after), message: refuse.message })
}

pub(crate) fn outcome_to_pb(outcome: TagOutcome) -> pb::UpstreamOutcome {
    use pb::upstream_outcome::Outcome;
    let outcome = match outcome {
        TagOutcome::Found(digest) => Outcome::Found(pb::TagFound { digest: digest.to_string() }),
        TagOutcome::NotFound => Outcome::NotFound(pb::TagNotFound {}),
        TagOutcome::Refused { status } => Outcome::Refused(pb::TagRefused { status: status.into() }),
        TagOutcome::RateLimited { retry_after } => {
            Outcome::RateLimited(pb::TagRateLimited { retry_after: whole_seconds(retry_after) })
        }
        TagOutcome::Unavailable { kind, retry_after } => {
            Outcome::Unavailable(pb::TagUnavailable { kind: kind.to_owned(), retry_after: whole_seconds(retry_after) })
        }
    };
    pb::UpstreamOutcome { outcome: Some(outcome) }
}

pub(crate) fn sign_in_to_pb(sign_in: SignIn) -> pb::SignInRequest {
    let scope =
        |scope: crate::control::PullScope| pb::PullScope { name: scope.name, group_path: scope.group.to_string() };
    pb::SignInRequest {
        username: sign_in.username,
        password: sign_in.password.expose_secret().to_owned(),
        scopes: sign_in.scopes.into_iter().map(scope).collect(),
        anonymous_allowed: sign_in.anonymous_allowed,
        client_address: sign_in.client_address,
    }
}

pub(crate) fn signed_in(response: pb::SignInResponse) -> Result<SignInResult, Problem> {
    use pb::sign_in_response::Result as Answer;
    let refused = match response.result.ok_or("there is neither token nor refusal")? {
        Answer::Token(pb::RegistryToken { token, expires_in, issued_at, reusable_for, guessable }) => {
            let (expires_in_seconds, issued_at_ms) =
                (wire::duration_seconds(expires_in), wire::timestamp_ms(issued_at));
            let reusable_for = span(reusable_for);
            let token = RegistryToken { token, expires_in_seconds, issued_at_ms, reusable_for, guessable };
            return Ok(SignInResult::Token(token));
        }
        Answer::Refused(refused) => refused,
    };
    let reason = match refused.reason() {
        pb::SignInRefusal::Unauthenticated => SignInRefusal::Unauthenticated,
        pb::SignInRefusal::Denied => SignInRefusal::Denied,
        pb::SignInRefusal::NotFound => SignInRefusal::NotFound,
        pb::SignInRefusal::TooManyRequests => SignInRefusal::TooManyRequests,
        pb::SignInRefusal::Unavailable => SignInRefusal::Unavailable,
        pb::SignInRefusal::Unspecified => return Err(format!("there is no refusal {}", refused.reason)),
    };
    let retry_after = wait(refused.retry_after);
    Ok(SignInResult::Refused(SignInRefused { reason, message: refused.message, retry_after }))
}
