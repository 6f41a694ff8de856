//! Decides what a caller may do. A [`Grant`] yields [`Permitted`], the only thing that a flow accepts.

use std::{sync::Arc, time::Duration};

use http::{Request, request::Parts};
use roadstead_proto::{GroupPath, Reference, RepositoryName, UpstreamHost, may_pull_image};
use tracing::{Span, info_span};

use super::{AccessError, Read, Routed, authenticate::Caller};
use crate::{
    control::{ControlLiveness, GroupPolicy, Policy, PolicySnapshot, RepositoryRef, UpstreamPolicy},
    route::{ImageRoute, Resource, Route, named_image},
};

/// A request for something of an image that its caller may pull. Made here only.
#[derive(Debug)]
pub struct Permitted {
    /// The group it is made in.
    pub group: Arc<GroupPolicy>,
    /// The upstream that the image is of.
    pub upstream: Arc<UpstreamPolicy>,
    /// The repository there.
    pub repository: RepositoryName,
    /// `GROUP/dependency_proxy/containers/IMAGE`, or as the client names it on a mirror.
    pub name: Arc<str>,
    /// The manifest, blob or list that is asked for.
    pub resource: Resource,
    /// GET or HEAD.
    pub read: Read,
    /// The request's headers.
    pub head: Parts,
    _made_here: (),
}

/// A request that may be answered.
#[derive(Debug)]
pub enum Granted {
    /// `GET /v2/`.
    Ping,
    /// A pull.
    Pull(Box<Permitted>),
}

impl Permitted {
    /// Returns the key of the image's links, tags and counts.
    pub fn repository_ref(&self) -> RepositoryRef {
        RepositoryRef {
            group: self.group.id.clone(),
            upstream: self.upstream.host.clone(),
            repository: self.repository.clone(),
        }
    }

    /// Permits what a job of the control plane fetches: it has checked who may ask for that. The group's rules count as
    /// for every pull.
    pub fn for_job(policy: &PolicySnapshot, at: &RepositoryRef, reference: Reference) -> Result<Self, AccessError> {
        let group = Arc::clone(policy.group_by_id(&at.group).ok_or(AccessError::GroupGone)?);
        let upstream = admit(&group, &at.upstream, &at.repository, policy)?;
        Ok(Self {
            upstream: Arc::clone(upstream),
            group,
            repository: at.repository.clone(),
            name: at.to_string().into(),
            resource: Resource::Manifest(reference),
            read: Read::Get,
            head: Request::new(()).into_parts().0,
            _made_here: (),
        })
    }
}

impl Granted {
    /// The span that its flow runs in: the request's, where that has one.
    pub fn span(&self) -> Span {
        let current = Span::current();
        match self {
            Self::Pull(permitted) if current.is_none() => {
                info_span!("request", group.path = permitted.group.path.as_str(), repository.name = &*permitted.name)
            }
            _ => current,
        }
    }
}

/// A right of a caller, by the snapshot alone.
#[derive(Debug)]
pub enum Grant {
    /// `GET /v2/`: any signed-in caller may.
    Ping,
    /// An image of this group, from this repository of this upstream.
    Image(Arc<GroupPolicy>, Arc<UpstreamPolicy>, RepositoryName),
}

impl Grant {
    /// The request that this was granted for, as a flow takes it.
    pub fn of(self, request: Routed) -> Granted {
        let Routed { route, read, head } = request;
        match (self, route) {
            (Self::Image(group, upstream, repository), Route::Image(image)) => {
                let ImageRoute { asked, resource, .. } = image;
                let name = asked;
                Granted::Pull(Box::new(Permitted {
                    group,
                    upstream,
                    repository,
                    name,
                    resource,
                    read,
                    head,
                    _made_here: (),
                }))
            }
            _ => Granted::Ping,
        }
    }
}

/// Decides who may do what.
pub struct Authorizer {
    /// The policy that decides on callers.
    pub policy: Arc<Policy>,
    /// Tells since when the control plane is silent.
    pub liveness: Arc<ControlLiveness>,
    /// The longest time that the last snapshot is good without contact to the control plane.
    pub max_control_outage: Duration,
    /// True if this node admits anonymous callers at all.
    pub allow_anonymous_pulls: bool,
}

impl Authorizer {
    /// Returns true if a group admits anonymous callers on this node.
    pub fn admits_anybody(&self, group: &GroupPath) -> bool {
        self.allow_anonymous_pulls && self.policy.current().group(group).is_some_and(|group| group.anonymous_pull)
    }

    /// Decides whether `caller` may have what `route` names.
    pub fn authorize(&self, caller: &Caller, route: &Route) -> Result<Grant, AccessError> {
        if tracing::enabled!(tracing::Level::DEBUG) {
            Span::current().record("caller.name", caller.sub.as_str());
        }
        let outage = self.liveness.silent_for();
        if outage > self.max_control_outage {
            return Err(AccessError::ControlOutage(outage));
        }
        match route {
            Route::Ping | Route::SignIn => Ok(Grant::Ping),
            Route::Image(image) => grant(caller, image, &self.policy.current()),
        }
    }
}

fn grant(caller: &Caller, image: &ImageRoute, policy: &PolicySnapshot) -> Result<Grant, AccessError> {
    let insufficient = || AccessError::InsufficientScope(Arc::clone(&image.name));
    if caller.is_anybody {
        let group = policy.group(&image.group).filter(|group| group.anonymous_pull).ok_or_else(insufficient)?;
        return within(group, image, policy);
    }
    let mut pulls = caller.access.iter().filter(|access| access.actions.iter().any(|action| action == "pull"));
    let granted = pulls
        .clone()
        .find(|access| access.name == *image.name)
        // Another name of the same image is as good: `alpine` is `library/alpine`.
        .or_else(|| pulls.find(|access| is_same_image(&access.name, image, policy)))
        .ok_or_else(insufficient)?;
    // A token does not follow a path that another group has taken over, nor outlive a change that admits fewer callers.
    let group = policy
        .group(&image.group)
        .filter(|group| group.id == granted.group_id && granted.access_epoch >= group.access_epoch)
        .filter(|group| group.anonymous_pull || !caller.is_anonymous())
        .ok_or_else(insufficient)?;
    within(group, image, policy)
}

/// Returns true if `name` is another name of `image`: the same group, upstream and repository.
fn is_same_image(name: &str, image: &ImageRoute, policy: &PolicySnapshot) -> bool {
    let default = policy.group(&image.group).and_then(|group| group.upstreams.first());
    match (named_image(name), default) {
        (Some((group, other)), Some(default)) => {
            group == image.group && other.resolve(default) == image.image.resolve(default)
        }
        _ => false,
    }
}

/// Grants an image within a group that admits the caller.
fn within(group: &Arc<GroupPolicy>, image: &ImageRoute, policy: &PolicySnapshot) -> Result<Grant, AccessError> {
    let default = group.upstreams.first().ok_or_else(|| AccessError::NoDefaultUpstream(group.path.clone()))?;
    let (host, repository) = image.image.resolve(default);
    let upstream = admit(group, &host, &repository, policy)?;
    Ok(Grant::Image(Arc::clone(group), Arc::clone(upstream), repository))
}

/// Decides whether a group may have an image, whoever asks.
fn admit<'a>(
    group: &GroupPolicy,
    host: &UpstreamHost,
    repository: &RepositoryName,
    policy: &'a PolicySnapshot,
) -> Result<&'a Arc<UpstreamPolicy>, AccessError> {
    if !group.enabled {
        return Err(AccessError::GroupDisabled(group.path.clone()));
    }
    let upstream = policy.upstream(host).filter(|_| group.upstreams.contains(host));
    let upstream = upstream.ok_or_else(|| AccessError::UpstreamDenied(group.path.clone(), host.clone()))?;
    may_pull_image(&group.allowed_images, &group.denied_images, host, repository)?;
    Ok(upstream)
}
