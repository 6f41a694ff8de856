//! A bound on the requests that are being answered at once.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::respond::{Code, OciError};

/// Places for requests that wait for something. A request over the bound is refused at once: waiting would only hide
/// the load from the balancer in front.
pub struct Places(Arc<Semaphore>);

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Places {
    /// At most `most` requests waiting for their answer's headers.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Takes a place, or fails with the answer to send instead.
    pub fn enter(&self) -> Result<Place, OciError> {
        Arc::clone(&self.0).try_acquire_owned().map(Place).map_err(|_| {
            let message = "this node is answering as many requests as it can; try again";
            OciError::new(StatusCode::SERVICE_UNAVAILABLE, Code::TooManyRequests, message).with_retry_after(Some(1))
        })
    }
}
