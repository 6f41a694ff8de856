//! A request's body with a time limit: all of it has to arrive within that.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// The reason that a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body took longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's body took too long to arrive")]
pub struct BodyTooSlow;

/// A body that fails with [`BodyTooSlow`] when its time is up. The clock starts when it is first waited for.
pub struct RequestBody<B = Incoming> {
    inner: B,
    allowed: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> RequestBody<B> {
    /// Gives `inner` this long to arrive.
    pub const fn new(inner: B, allowed: Duration) -> Self {
        Self { inner, allowed, deadline: None }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let allowed = self.allowed;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(allowed)));
        deadline.as_mut().poll(context).map(|()| Some(Err(BodyTooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
