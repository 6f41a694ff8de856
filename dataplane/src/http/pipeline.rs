//! The way of a request on the registry port, from its head to its answer, on one page.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, request::Parts};
use ipnet::IpNet;
use roadstead_proto::{GroupPath, REGISTRY_SERVICE};
use tracing::Instrument;
use url::Url;

use super::{
    limit::{Origin, Places, Work},
    registry_url,
    trace::Observed,
};
use crate::{
    access::{
        AccessError, Read, Routed,
        authenticate::Authenticator,
        authorize::{Authorizer, Grant, Granted},
    },
    control::SyncGuard,
    listener::{BodyError, Connection, Handler, forwarded, source_address},
    metrics::Metrics,
    mirror::Mirrors,
    pull::Puller,
    respond::{Answer, OciError},
    route::{Route, RouteError},
    sign_in::{Form, TokenService},
    trail::{AccessLog, Who},
};

/// Answers requests.
pub struct Pipeline {
    /// Counts answers.
    pub metrics: Arc<Metrics>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// The groups that bare image names mean.
    pub mirrors: Arc<Mirrors>,
    /// The port's address, and the proxies in front of it.
    pub front: Front,
    /// Bounds the requests under way.
    pub places: Places,
    /// Catches up where this node may have missed a change.
    pub sync: Arc<SyncGuard>,
    /// Issues registry tokens, and verifies them.
    pub sign_in: TokenService,
    /// Decides what a caller may have.
    pub authorizer: Authorizer,
    /// The flows.
    pub puller: Arc<Puller>,
}

/// The way by which clients reach the registry port.
pub struct Front {
    /// The address that challenges name; the request's own if not set.
    pub external_url: Option<Url>,
    /// The proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
}

impl<B> Handler<B> for Pipeline
where
    B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    type Body = crate::respond::Body;

    async fn answer(self: Arc<Self>, request: Request<B>) -> Answer {
        let route = Route::parse(request.method(), request.uri(), self.mirror(&request));
        // Every answer is counted and traced, whichever step gives it.
        let mut observed = Observed::begin(&self.metrics, self.access_log, &request, &route);
        let span = observed.span();
        let answered = self.steps(request, route, &mut observed).instrument(span).await;
        observed.end(answered)
    }
}

impl Pipeline {
    /// The steps in their order. The first that refuses decides the answer.
    async fn steps<B>(
        &self,
        request: Request<B>,
        route: Result<Route, RouteError>,
        observed: &mut Observed,
    ) -> Result<Answer, OciError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin,
    {
        // A malformed request is refused before anything else happens; one that pushes is asked to sign in first.
        let client = self.client(&request);
        observed.note(|trail| trail.came_from(client));
        let route = route.map_err(|error| self.malformed(error, &request))?;
        // The token service is for callers who are not signed in yet. A form takes a place only once all of it is here.
        if route == Route::SignIn {
            let mirror = self.mirror(&request).cloned();
            let arriving = self.places.receive_form(client)?;
            let form = Form::receive(request).await?;
            drop(arriving);
            let name = form.name();
            observed.note(|trail| trail.subject = form.subject(mirror.as_ref()));
            let _place = self.places.enter(Origin::Anybody(client), Work::Cold)?;
            let answered = Box::pin(self.sign_in.answer(form, client, mirror.as_ref())).await;
            if answered.is_ok() {
                // A name that did not sign in is not known to be one: people type passwords there, too.
                observed.note(|trail| trail.who = Who::SignedIn(name));
            }
            return answered;
        }
        let read = if *request.method() == Method::HEAD { Read::Head } else { Read::Get };
        // A pull has no body; the connection bounds what is sent all the same.
        let (head, _body) = request.into_parts();
        let (granted, from) = self.grant(Routed { route, read, head }, client, observed).await?;
        // Most of what a node is asked for is stored and open: that needs no place, for it waits for nothing.
        let granted = match self.puller.answer_at_once(granted) {
            Ok(answer) => return Ok(answer),
            Err(granted) => granted,
        };
        // The flow behind it waits for the disk, the control plane or an upstream.
        let work = if self.puller.is_warm(&granted) { Work::Warm } else { Work::Cold };
        let _place = self.places.enter(from, work)?;
        let span = granted.span();
        Box::pin(Arc::clone(&self.puller).answer(granted)).instrument(span).await
    }

    /// Decides whether a caller may have what it asks for. Only this yields what a flow accepts.
    async fn grant(
        &self,
        request: Routed,
        client: Option<IpAddr>,
        observed: &mut Observed,
    ) -> Result<(Granted, Origin), OciError> {
        // A node that has just started, or lost its connection to the control plane, catches up before it judges anybody.
        if self.sync.may_be_stale() {
            let _place = self.places.enter(Origin::Anybody(client), Work::Cold)?;
            self.sync.ensure_synced().await?;
        }
        let refused = |error| self.refused(error, &request.head, &request.route);
        // Verifies the token. Callers without one sign in first, even those who may be anonymous.
        let caller = self.authenticator().authenticate(&request.head.headers).map_err(refused)?;
        let from = if caller.is_anonymous() { Origin::Anybody(client) } else { Origin::SignedIn };
        observed.note(|trail| trail.who = Who::Bearer(Arc::clone(&caller)));
        // Checks the group's rules.
        let grant = self.authorizer.authorize(&caller, &request.route).map_err(refused)?;
        if let Grant::Image(_, upstream, _) = &grant {
            observed.note(|trail| trail.upstream = Some(upstream.host.clone()));
        }
        Ok((grant.of(request), from))
    }

    fn authenticator(&self) -> &Authenticator {
        &self.sign_in.authenticator
    }

    /// Turns a refusal into an answer, with a challenge where another token would help.
    fn refused(&self, error: AccessError, head: &Parts, route: &Route) -> OciError {
        let scope = match route {
            Route::Image(image) => Some(format!("{}:pull", image.asked)),
            _ => None,
        };
        let challenge = error.challenge_error().and_then(|reason| self.challenge(head, scope, reason));
        OciError { challenge, ..error.into() }
    }

    /// Turns a request for nothing that we have into an answer. A push is unsupported for whoever may know the image; others
    /// are told where to sign in, for that is what some clients push for.
    fn malformed<B>(&self, error: RouteError, request: &Request<B>) -> OciError {
        if let RouteError::Push(push) = &error
            && let Err(refusal) = self.authenticator().authenticate(request.headers())
            && !self.authorizer.admits_anybody(&push.group)
        {
            let (head, ()) = without_body(request).into_parts();
            let scope = Some(format!("{}:pull,push", push.asked));
            let challenge = refusal.challenge_error().and_then(|reason| self.challenge(&head, scope, reason));
            return OciError { challenge, ..refusal.into() };
        }
        error.into()
    }

    /// The challenge that tells a client where to sign in, and what for.
    fn challenge(&self, head: &Parts, scope: Option<String>, error: Option<&str>) -> Option<HeaderValue> {
        let Front { external_url, trusted_proxies } = &self.front;
        let base = registry_url::of_request(external_url.as_ref(), trusted_proxies, head)?;
        let mut text = format!("Bearer realm=\"{base}/jwt/auth\",service=\"{REGISTRY_SERVICE}\"");
        if let Some(scope) = scope {
            text.push_str(&format!(",scope=\"repository:{scope}\""));
        }
        if let Some(error) = error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        HeaderValue::try_from(text).ok()
    }

    /// The group that bare names mean, by the host name that the client asked.
    fn mirror<B>(&self, request: &Request<B>) -> Option<&GroupPath> {
        let connection = request.extensions().get::<Connection>();
        let told = connection
            .and_then(|connection| forwarded(connection.peer.ip(), request.headers(), &self.front.trusted_proxies));
        match told.and_then(|told| told.host) {
            Some(host) => self.mirrors.group_of_host(host.as_str()),
            None => self.mirrors.group_of(request.uri(), request.headers()),
        }
    }

    fn client<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer = request.extensions().get::<Connection>()?.peer.ip();
        Some(source_address(peer, request.headers(), &self.front.trusted_proxies))
    }
}

/// Copies a request without its body.
fn without_body<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    if let Some(connection) = request.extensions().get::<Connection>() {
        head.extensions_mut().insert(*connection);
    }
    head
}
