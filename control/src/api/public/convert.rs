//! Messages of `roadstead.v1` to and from the control plane's own words.

use roadstead_proto::{CorruptionKind, GroupPath, Role, UpstreamHost, Visibility, v1};

use super::time::{duration, timestamp};
use crate::{
    api::{
        errors::{invalid_field, parse},
        public::tag_settings,
    },
    oidc::Trust,
    rules::{
        audit::Event,
        cache::corruption::Corruption,
        cluster::node::Node,
        groups::{group::Group, member::Member},
        identity::{token::Token, user::User},
        jobs::schedule::Schedule,
        upstreams::{
            pull_limit::Condition,
            status::{Health, Status},
            upstream::Upstream,
        },
    },
    store::identity::oidc::StoredIssuer,
    usecases::{tags::history::TagObservation, upstreams::credential::Credential},
};

/// A visibility of a request; `None` if nothing is said.
pub fn visibility(value: i32) -> Result<Option<Visibility>, tonic::Status> {
    Visibility::from_wire(value).map_err(|error| invalid_field("visibility", error.to_string()))
}

/// A list of upstreams of a request.
pub fn hosts(field: &str, hosts: &[String]) -> Result<Vec<UpstreamHost>, tonic::Status> {
    hosts.iter().map(|host| parse(field, host)).collect()
}

/// A node that may not have applied a change.
pub fn unreached_node(node: Node) -> v1::UnreachedNode {
    v1::UnreachedNode { name: node.name, last_heard_at: Some(timestamp(node.heard_at_ms)) }
}

pub fn group(group: Group) -> v1::Group {
    let settings = group.settings;
    v1::Group {
        id: group.id,
        path: group.path.to_string(),
        visibility: settings.visibility.into(),
        anonymous_pull: settings.anonymous_pull,
        enabled: settings.enabled,
        frozen: settings.frozen,
        upstreams: settings.upstreams.iter().map(ToString::to_string).collect(),
        max_age: Some(duration(settings.max_age_ms)),
        retention: Some(duration(settings.retention_ms)),
        max_stale: Some(duration(settings.tags.max_stale_ms)),
        cooldown: Some(duration(settings.tags.cooldown_ms)),
        missing_tag: settings.tags.missing_tag.into(),
        tag_rules: settings.tags.rules.iter().map(tag_settings::rule).collect(),
        allowed_images: settings.images.allowed.iter().map(ToString::to_string).collect(),
        denied_images: settings.images.denied.iter().map(ToString::to_string).collect(),
        etag: group.etag.to_string(),
        created_at: Some(timestamp(group.created_at_ms)),
        updated_at: Some(timestamp(group.updated_at_ms)),
        old_paths: group.old_paths.iter().map(ToString::to_string).collect(),
        quota_bytes: settings.quota_bytes,
        protected_tags: settings.protected_tags.iter().map(ToString::to_string).collect(),
    }
}

pub fn token(token: Token) -> v1::Token {
    v1::Token {
        id: token.id,
        kind: token.kind.into(),
        name: token.name,
        username: token.username,
        group_path: token.group.map(|group| group.to_string()).unwrap_or_default(),
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        created_at: Some(timestamp(token.created_at_ms)),
        expires_at: token.expires_at_ms.map(timestamp),
        last_used_at: token.last_used_at_ms.map(timestamp),
        user: token.user.map(|user| user.name).unwrap_or_default(),
        role: token.role.map_or(0, Into::into),
    }
}

/// A role of a request; `None` if nothing is said.
pub fn role_in(value: i32) -> Result<Option<Role>, tonic::Status> {
    Role::from_wire(value).map_err(|error| invalid_field("role", error.to_string()))
}

/// An etag of a request; `None` if it is empty.
pub fn etag(text: &str) -> Result<Option<i64>, tonic::Status> {
    match text {
        "" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| invalid_field("etag", "must be an etag that was answered, or empty"))
        }
    }
}

pub fn user(user: User) -> v1::User {
    v1::User {
        id: user.id,
        name: user.name.to_string(),
        admin: user.admin,
        disabled: user.disabled,
        etag: user.etag.to_string(),
        created_at: Some(timestamp(user.created_at_ms)),
        last_seen_at: user.last_seen_at_ms.map(timestamp),
    }
}

pub fn member(member: Member) -> v1::Member {
    v1::Member {
        user: member.user,
        role: member.role.into(),
        group_path: member.group.to_string(),
        added_at: Some(timestamp(member.added_at_ms)),
    }
}

pub fn upstream(upstream: Upstream) -> v1::Upstream {
    v1::Upstream {
        etag: upstream.etag().to_string(),
        host: upstream.host.to_string(),
        url: upstream.url,
        token_hosts: upstream.token_hosts,
        updated_at: upstream.updated_at_ms.map(timestamp),
        ca_pem: upstream.ca_pem,
        redirect_hosts: upstream.redirect_hosts,
        reserve_percent: i32::try_from(upstream.reserve_percent).unwrap_or_default(),
    }
}

pub fn credential(group: &GroupPath, credential: Credential) -> v1::UpstreamCredential {
    v1::UpstreamCredential {
        group_path: group.to_string(),
        host: credential.host,
        username: credential.username,
        updated_at: Some(timestamp(credential.updated_at_ms)),
    }
}

pub fn issuer(issuer: StoredIssuer) -> v1::OidcIssuer {
    v1::OidcIssuer { url: issuer.url, created_at: Some(timestamp(issuer.created_at_ms)) }
}

pub fn trust(trust: Trust) -> v1::OidcTrust {
    let claims = trust.claims.into_iter().map(|rule| v1::ClaimRule { claim: rule.claim, pattern: rule.pattern });
    v1::OidcTrust {
        id: trust.id,
        group_path: trust.group.to_string(),
        issuer: trust.issuer,
        audience: trust.audience,
        claims: claims.collect(),
        created_at: Some(timestamp(trust.created_at_ms)),
    }
}

pub fn event(event: Event) -> v1::AuditEvent {
    v1::AuditEvent {
        id: event.id,
        at: Some(timestamp(event.at_ms)),
        actor: event.actor,
        client_address: event.client_address,
        action: event.action,
        subject: event.subject,
        group_path: event.group_path,
        outcome: event.outcome.into(),
        detail: event.detail,
        count: event.count,
    }
}

pub fn observation(observation: TagObservation) -> v1::TagObservation {
    v1::TagObservation {
        digest: observation.digest.to_string(),
        first_seen_at: observation.first_seen_ms.map(timestamp),
        last_seen_at: observation.last_seen_ms.map(timestamp),
        cached: observation.cached,
        served: observation.served,
        pinned: observation.pinned,
    }
}

pub fn schedule(schedule: Schedule) -> v1::PrefetchSchedule {
    v1::PrefetchSchedule {
        id: schedule.id,
        group_path: schedule.group.to_string(),
        image: format!("{}:{}", schedule.repository, schedule.tag),
        platforms: schedule.platforms,
        every: Some(duration(schedule.every_ms)),
        last_run_at: schedule.last_run_at_ms.map(timestamp),
        last_error: schedule.last_error,
    }
}

/// Translates the status of an upstream for one set of credentials.
pub fn status(host: String, username: String, status: Status) -> v1::UpstreamStatus {
    let known = |at_ms: i64| (at_ms > 0).then(|| timestamp(at_ms));
    let health = match status.health {
        Health::Unknown => v1::UpstreamHealth::Unspecified,
        Health::Good => v1::UpstreamHealth::Good,
        Health::Failing => v1::UpstreamHealth::Failing,
        Health::Open => v1::UpstreamHealth::Open,
    };
    let limit = |condition: Condition| {
        let window_ms = (condition.window_seconds > 0).then(|| condition.window_ms());
        v1::PullLimit {
            limit: condition.limit,
            remaining: condition.remaining,
            window: window_ms.map(duration),
            source: condition.source,
            seen_at: Some(timestamp(condition.seen_at_ms)),
            resets_at: window_ms.map(|ms| timestamp(condition.seen_at_ms.saturating_add(ms))),
        }
    };
    let spent = |(group, pulls): (GroupPath, i64)| v1::PullSpend { group_path: group.to_string(), pulls };
    v1::UpstreamStatus {
        host,
        username,
        health: health.into(),
        last_error: status.last_error,
        last_failed_at: known(status.last_failed_at_ms),
        last_answered_at: known(status.last_answered_at_ms),
        paused_until: known(status.paused_until_ms),
        limits: status.limits.into_iter().map(limit).collect(),
        spent: status.spent.into_iter().map(spent).collect(),
    }
}

pub fn corruption(corruption: Corruption) -> v1::Corruption {
    let kind = match corruption.noticed.kind {
        CorruptionKind::Missing => v1::CorruptionKind::Missing,
        CorruptionKind::Size => v1::CorruptionKind::Size,
        CorruptionKind::Digest => v1::CorruptionKind::Digest,
    };
    v1::Corruption {
        images: corruption.images,
        digest: corruption.noticed.digest.to_string(),
        kind: kind.into(),
        size_bytes: corruption.size_bytes,
        found_bytes: corruption.noticed.found_bytes,
        noticed_at: Some(timestamp(corruption.noticed_at_ms)),
        healed_at: corruption.healed_at_ms.map(timestamp),
    }
}
