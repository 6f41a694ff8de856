//! The control plane within the same process: a gRPC channel over in-memory pipes, so that the embedded mode speaks the
//! same contract as a node on another machine. Every (re)connect makes a new pipe with its own served end.

use std::io;

use axum::Router;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::listener;

/// What a pipe holds in each direction, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// A channel to `router`. After `stop` calls under way finish and new ones fail.
pub fn channel(router: Router, stop: CancellationToken) -> Channel {
    // The name is only for logs: nothing is resolved or dialled.
    Endpoint::from_static("http://control.embedded").connect_with_connector_lazy(service_fn(move |_: Uri| {
        let (router, stop) = (router.clone(), stop.clone());
        async move {
            if stop.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the control plane has stopped"));
            }
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(listener::serve_one(theirs, router, stop));
            Ok(TokioIo::new(ours))
        }
    }))
}

#[cfg(test)]
mod tests;
