//! The whole order of layers that a request passes, on one page.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Request;
use hyper::body::Incoming;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tracing::Instrument;

use crate::{
    access::{
        Read, Routed,
        authenticate::AuthenticateLayer,
        authorize::{AuthorizeLayer, Granted},
        ensure_synced::SettleLayer,
    },
    http::{limit::LimitLayer, trace::TraceLayer},
    pull::Puller,
    respond::{Answer, OciError},
    route::{Route, RouteError},
    sign_in::TokenService,
};

/// The registry port as a service.
pub type Stack = BoxCloneSyncService<Request<Incoming>, Answer, Infallible>;

/// What the stack is made of.
pub struct Parts {
    /// See [`TraceLayer`].
    pub trace: TraceLayer,
    /// See [`LimitLayer`].
    pub limit: LimitLayer,
    /// See [`SettleLayer`].
    pub settle: SettleLayer,
    /// See [`AuthenticateLayer`].
    pub authenticate: AuthenticateLayer,
    /// See [`AuthorizeLayer`].
    pub authorize: AuthorizeLayer,
    /// The token service.
    pub sign_in: Arc<TokenService>,
    /// The flows.
    pub puller: Arc<Puller>,
}

/// Builds the stack.
pub fn build(parts: Parts) -> Stack {
    let pulls = ServiceBuilder::new()
        // What this node goes by may be old news after it was out of touch.
        .layer(parts.settle)
        // Whose token is it? Everything behind this is for signed-in callers, or those allowed to be anonymous.
        .layer(parts.authenticate)
        // May they? Yields `Permitted`, without which no flow can be called.
        .layer(parts.authorize)
        .service(Flows(parts.puller));
    let service = ServiceBuilder::new()
        // First, so that every answer is counted and logged, whoever gave it.
        .layer(parts.trace)
        // Before any work: a node over its bound answers at once.
        .layer(parts.limit)
        // The token service is for those who are not signed in yet.
        .layer(SplitLayer(parts.sign_in))
        .service(pulls);
    // Boxed once, here, so that type names stay short.
    BoxCloneSyncService::new(service)
}

type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// Sends sign-ins to the token service, malformed requests back, and everything else on.
#[derive(Clone)]
struct SplitLayer(Arc<TokenService>);

impl<S> Layer<S> for SplitLayer {
    type Service = Split<S>;

    fn layer(&self, inner: S) -> Split<S> {
        Split { inner, sign_in: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
struct Split<S> {
    inner: S,
    sign_in: Arc<TokenService>,
}

impl<S> Service<(Request<Incoming>, Result<Route, RouteError>)> for Split<S>
where
    S: Service<Routed, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<S::Future, AnswerFuture>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, (request, route): (Request<Incoming>, Result<Route, RouteError>)) -> Self::Future {
        match route {
            Err(error) => Either::Right(Box::pin(async move { Ok(OciError::from(error).into_answer()) })),
            Ok(Route::SignIn) => {
                let sign_in = Arc::clone(&self.sign_in);
                Either::Right(Box::pin(async move {
                    Ok(sign_in.answer(request).await.unwrap_or_else(OciError::into_answer))
                }))
            }
            Ok(route) => {
                let read = if *request.method() == http::Method::HEAD { Read::Head } else { Read::Get };
                // A pull has no body; what is not read is bounded by the connection.
                let (head, _body) = request.into_parts();
                Either::Left(self.inner.call(Routed { route, read, head }))
            }
        }
    }
}

/// The flows as a service.
#[derive(Clone)]
struct Flows(Arc<Puller>);

impl Service<Granted> for Flows {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Ready<Result<Answer, Infallible>>, AnswerFuture>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, granted: Granted) -> Self::Future {
        let granted = match self.0.answer_at_once(granted) {
            Ok(answer) => return Either::Left(ready(Ok(answer))),
            Err(granted) => granted,
        };
        let (puller, span) = (Arc::clone(&self.0), granted.span());
        let answer = async move { Ok(puller.answer(granted).await.unwrap_or_else(OciError::into_answer)) };
        Either::Right(Box::pin(answer.instrument(span)))
    }
}

/// Calls the stack once; for connections, which hold a clone each.
pub async fn call(stack: Stack, request: Request<Incoming>) -> Result<Answer, Infallible> {
    stack.oneshot(request).await
}
