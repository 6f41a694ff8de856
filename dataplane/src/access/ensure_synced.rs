//! Before anything is judged by what this node remembers: whether it may have missed something.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tower::{Layer, Service, ServiceExt as _};

use super::Routed;
use crate::{
    control::ControlClient,
    respond::{Answer, OciError},
};

/// Has a node that was out of touch catch up before it answers: who is asking, what they may and what is there may all have
/// changed. Costs nothing otherwise.
#[derive(Clone)]
pub struct SettleLayer(Arc<ControlClient>);

impl SettleLayer {
    /// For a node that hears of changes by `control`.
    pub const fn new(control: Arc<ControlClient>) -> Self {
        Self(control)
    }
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;

    fn layer(&self, inner: S) -> Settle<S> {
        Settle { inner, control: Arc::clone(&self.0) }
    }
}

/// See [`SettleLayer`].
#[derive(Clone)]
pub struct Settle<S> {
    inner: S,
    control: Arc<ControlClient>,
}

impl<S> Service<Routed> for Settle<S>
where
    S: Service<Routed, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        if !self.control.is_in_doubt() {
            return Either::Left(self.inner.call(routed));
        }
        let (inner, control) = (self.inner.clone(), Arc::clone(&self.control));
        Either::Right(Box::pin(async move {
            match control.settle().await {
                Ok(()) => inner.oneshot(routed).await,
                Err(behind) => Ok(OciError::from(behind).into_answer()),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, StatusCode};
    use roadstead_proto::node::v1::policy_change::Change;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use tower::service_fn;

    use super::*;
    use crate::{
        access::Read,
        control::fake::{Fake, FakeWatch, changes, group, snapshot},
        route::Route,
    };

    #[tokio::test(start_paused = true)]
    async fn a_request_is_judged_by_what_holds_now_or_put_off() {
        let fake = Fake::default();
        let (events, told) = mpsc::unbounded_channel();
        fake.script(|script| {
            script.watches.push_back(FakeWatch::Live(told));
            script.revision = Some(9);
        });
        let client = fake.client();
        tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.run("", CancellationToken::new()).await }
        });
        events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
        client.wait_for_snapshot().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (revision_of, judged_by) = (Arc::clone(&client), mpsc::unbounded_channel());
        let (say, mut said) = judged_by;
        let judge = service_fn(move |_: Routed| {
            say.send(revision_of.policy().revision()).unwrap();
            std::future::ready(Ok::<_, Infallible>(OciError::from(crate::control::OutOfSync::Behind).into_answer()))
        });
        let service = SettleLayer::new(Arc::clone(&client)).layer(judge);
        let ask = || {
            let (head, ()) = Request::new(()).into_parts();
            service.clone().oneshot(Routed { route: Route::Ping, read: Read::Get, head })
        };
        let first = tokio::spawn(ask());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(said.try_recv().is_err(), "there is something that this node has not heard");
        events.send(changes(9, vec![Change::Group(group("g1", "acme", 9, 1))])).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(said.try_recv(), Ok(9));
        // What there is does not come.
        fake.script(|script| script.revision = Some(10));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.try_recv().is_err(), "nobody judged it");
    }
}
