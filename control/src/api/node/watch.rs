//! The watch as a gRPC stream: what a node holds while it watches.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use prometheus_client::metrics::gauge::Gauge;
use roadstead_proto::{ErrorReason, node::v1::WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::{
    api::{
        errors::{internal, refusal},
        node::parts::Parts,
    },
    watch::{
        WatchEvent,
        feed::{WatchError, WatchResult},
    },
};

/// Events of one watcher. Dropping it (the node is gone) ends the watch.
pub struct WatchStream {
    events: mpsc::Receiver<WatchResult<WatchEvent>>,
    /// True if the memory of the node holds after the first event.
    memory_holds: bool,
    /// The event that is being sent, from its next part on.
    parts: Option<Parts>,
    watchers: Gauge,
}

impl WatchStream {
    pub fn new(events: mpsc::Receiver<WatchResult<WatchEvent>>, memory_holds: bool, watchers: Gauge) -> Self {
        watchers.inc();
        Self { events, memory_holds, parts: None, watchers }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.watchers.dec();
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(parts) = &mut self.parts {
                match parts.next().transpose() {
                    Some(part) => return Poll::Ready(Some(part)),
                    None => self.parts = None,
                }
            }
            match ready!(self.events.poll_recv(cx)) {
                Some(Ok(event)) => {
                    let memory_holds = std::mem::take(&mut self.memory_holds);
                    self.parts = Some(Parts::new(event, memory_holds));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(status(error)))),
                None => return Poll::Ready(None),
            }
        }
    }
}

fn status(error: WatchError) -> Status {
    match error {
        WatchError::Unavailable => refusal(Code::Unavailable, ErrorReason::Unavailable, error.to_string()),
        WatchError::Broken => internal(&error.to_string()),
    }
}
