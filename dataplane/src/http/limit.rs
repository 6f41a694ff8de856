//! A bound on the requests that are being answered at once.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use crate::respond::{Answer, Code, OciError};

/// Refuses requests over the bound at once: waiting would only hide the load from whoever balances it.
#[derive(Clone)]
pub struct LimitLayer(Arc<Semaphore>);

impl LimitLayer {
    /// At most `most` requests waiting for their answer's headers.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, places: Arc::clone(&self.0) }
    }
}

/// See [`LimitLayer`].
#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S, R> Service<R> for Limit<S>
where
    S: Service<R, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Placed<S::Future>, Ready<Result<Answer, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Either::Left(Placed { inner: self.inner.call(request), place }),
            Err(_) => {
                let error = OciError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Code::TooManyRequests,
                    "this node answers as many requests as it can; try again",
                );
                Either::Right(ready(Ok(error.with_retry_after(Some(1)).into_answer())))
            }
        }
    }
}

pin_project! {
    /// An answer on its way, with its place.
    pub struct Placed<F> {
        #[pin]
        inner: F,
        place: OwnedSemaphorePermit,
    }
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().inner.poll(context)
    }
}
