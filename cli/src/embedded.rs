//! The channel to a control plane in the same process: gRPC over in-memory pipes, so that the embedded mode uses the same
//! contract as a node on another machine. Every connection has a new pipe.

use std::io;

use axum::Router;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::listener;

/// Capacity of a pipe in each direction, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// Returns a channel to `router`. After `stop`, calls in progress finish and new ones fail.
pub fn channel(router: Router, stop: CancellationToken) -> Channel {
    // The name appears only in logs; nothing resolves it.
    Endpoint::from_static("http://control.embedded").connect_with_connector_lazy(service_fn(move |_: Uri| {
        let (router, stop) = (router.clone(), stop.clone());
        async move {
            if stop.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the control plane has stopped"));
            }
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(listener::serve_stream(theirs, router, stop));
            Ok(TokioIo::new(ours))
        }
    }))
}

#[cfg(test)]
mod tests;
