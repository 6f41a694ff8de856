//! What the caller may do: yields [`Permitted`], the only thing that a flow accepts.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, StatusCode, request::Parts};
use roadstead_proto::{GroupPath, ImageRefused, Reference, RepositoryName, UpstreamHost, may_pull_image};
use tower::{Layer, Service};
use tracing::{Span, info_span};

use super::{
    Read, Routed,
    authenticate::{Authenticated, Authenticator, Caller},
};
use crate::{
    control::{ControlClient, GroupPolicy, PolicySnapshot, RepositoryRef, UpstreamPolicy},
    respond::{Answer, Code, OciError},
    route::{ImageRoute, Resource, Route},
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
    /// What is wanted.
    pub resource: Resource,
    /// GET or HEAD.
    pub read: Read,
    /// The request's headers.
    pub head: Parts,
    _made_here: (),
}

/// What comes out of authorization.
#[derive(Debug)]
pub enum Granted {
    /// `GET /v2/` by somebody who is signed in.
    Ping,
    /// A pull.
    Pull(Box<Permitted>),
}

impl Permitted {
    /// What the control plane itself wants fetched: it has checked who may want that. What the group may have counts here
    /// as for every pull.
    pub fn for_job(policy: &PolicySnapshot, at: &RepositoryRef, reference: Reference) -> Result<Self, OciError> {
        let gone = || OciError::new(StatusCode::NOT_FOUND, Code::NameUnknown, "there is no such group any more");
        let group = Arc::clone(policy.group_by_id(&at.group).ok_or_else(gone)?);
        let upstream = admit(&group, &at.upstream, &at.repository, policy)
            .map_err(|refusal| refusal.denied(&group.path, Some(&at.upstream)))?;
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

/// Why a pull is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// The token is not for this image; another may be had.
    InsufficientScope,
    /// The group is switched off.
    Disabled,
    /// The group may not use the upstream, or there is none by that name.
    Upstream,
    /// The group's rules for images.
    Image(ImageRefused),
}

impl Refusal {
    /// The answer to somebody whose token is good.
    fn denied(self, group: &GroupPath, host: Option<&UpstreamHost>) -> OciError {
        let message = match (self, host) {
            (Self::InsufficientScope, _) => "this token is not good for this image".to_owned(),
            (Self::Disabled, _) => format!("pulls are switched off for group {group}"),
            (Self::Upstream, Some(host)) => format!("group {group} may not pull from {host}"),
            (Self::Upstream, None) => format!("the default upstream of group {group} is not there"),
            (Self::Image(refused), _) => refused.to_string(),
        };
        OciError::new(StatusCode::FORBIDDEN, Code::Denied, message)
    }
}

/// Decides by the snapshot alone.
fn grant(
    caller: &Caller,
    image: &ImageRoute,
    policy: &PolicySnapshot,
) -> Result<(Arc<GroupPolicy>, Arc<UpstreamPolicy>, RepositoryName), Refusal> {
    if caller.is_anybody {
        let group =
            policy.group(&image.group).filter(|group| group.anonymous_pull).ok_or(Refusal::InsufficientScope)?;
        return place(group, image, policy);
    }
    let granted = caller
        .access
        .iter()
        .find(|access| access.name == *image.name && access.actions.iter().any(|action| action == "pull"))
        .ok_or(Refusal::InsufficientScope)?;
    // A group that took over the path of another, or that admits fewer than when the token was issued, wants a new one.
    let group = policy
        .group(&image.group)
        .filter(|group| group.id == granted.group_id && granted.access_epoch >= group.access_epoch)
        .filter(|group| group.anonymous_pull || !caller.is_anonymous())
        .ok_or(Refusal::InsufficientScope)?;
    place(group, image, policy)
}

/// What an image is within a group that admits the caller.
fn place(
    group: &Arc<GroupPolicy>,
    image: &ImageRoute,
    policy: &PolicySnapshot,
) -> Result<(Arc<GroupPolicy>, Arc<UpstreamPolicy>, RepositoryName), Refusal> {
    let default = group.upstreams.first().ok_or(Refusal::Upstream)?;
    let (host, repository) = image.image.resolve(default);
    let upstream = admit(group, &host, &repository, policy)?;
    Ok((Arc::clone(group), Arc::clone(upstream), repository))
}

/// Whether a group, whoever asks, may have an image.
fn admit<'a>(
    group: &GroupPolicy,
    host: &UpstreamHost,
    repository: &RepositoryName,
    policy: &'a PolicySnapshot,
) -> Result<&'a Arc<UpstreamPolicy>, Refusal> {
    if !group.enabled {
        return Err(Refusal::Disabled);
    }
    let upstream = policy.upstream(host).filter(|_| group.upstreams.contains(host)).ok_or(Refusal::Upstream)?;
    may_pull_image(&group.allowed_images, &group.denied_images, host, repository).map_err(Refusal::Image)?;
    Ok(upstream)
}

/// Adds authorization to the stack.
#[derive(Clone)]
pub struct AuthorizeLayer(pub Arc<Authorizer>);

/// Decides who may do what.
pub struct Authorizer {
    /// Where the snapshot is.
    pub control: Arc<ControlClient>,
    /// For challenges.
    pub authenticator: Arc<Authenticator>,
    /// How long the last snapshot is good without word from the control plane.
    pub max_control_outage: Duration,
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, authorizer: Arc::clone(&self.0) }
    }
}

/// See [`AuthorizeLayer`].
#[derive(Clone)]
pub struct Authorize<S> {
    inner: S,
    authorizer: Arc<Authorizer>,
}

impl Authorizer {
    fn authorize(&self, caller: &Caller, request: Routed) -> Result<Granted, OciError> {
        if tracing::enabled!(tracing::Level::DEBUG) {
            Span::current().record("caller.name", caller.sub.as_str());
        }
        let Routed { route, read, head } = request;
        let outage = self.control.last_contact();
        if outage > self.max_control_outage {
            let message =
                format!("the control plane has not been heard of for {} s; pulls are refused", outage.as_secs());
            let refused = OciError::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message);
            return Err(refused.with_retry_after(Some(10)));
        }
        let image = match route {
            Route::Ping | Route::SignIn => return Ok(Granted::Ping),
            Route::Image(image) => image,
        };
        let refusal = match grant(caller, &image, &self.control.policy()) {
            Ok((group, upstream, repository)) => {
                let ImageRoute { asked, resource, .. } = image;
                let permitted =
                    Permitted { group, upstream, repository, name: asked, resource, read, head, _made_here: () };
                return Ok(Granted::Pull(Box::new(permitted)));
            }
            Err(refusal) => refusal,
        };
        if refusal != Refusal::InsufficientScope {
            return Err(refusal.denied(&image.group, image.image.host()));
        }
        let message = format!("this token is not good for {}", image.name);
        Err(self.authenticator.unauthorized(&head, &Route::Image(image), Some("insufficient_scope"), &message))
    }
}

impl<S> Service<Authenticated> for Authorize<S>
where
    S: Service<Granted, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Answer, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, authenticated: Authenticated) -> Self::Future {
        match self.authorizer.authorize(&authenticated.caller, authenticated.request) {
            Ok(granted) => Either::Left(self.inner.call(granted)),
            Err(refused) => Either::Right(ready(Ok(refused.into_answer()))),
        }
    }
}
