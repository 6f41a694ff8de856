//! The events of the watch, one after the other.

use std::{sync::Arc, time::Duration};

use roadstead_proto::node::v1::{self as pb, policy_change::Change, watch_response::Event};
use tokio::time::timeout;
use tonic::Streaming;

use super::{
    status,
    translate::{self, Problem},
};
use crate::control::{
    ControlError,
    client::condition::{self, UpstreamCondition},
    policy::PolicyChange,
};

pub(super) const CALL: &str = "Watch";

/// The changes that lead from nothing to all that a node must know. Parts that make no sense are problems of their own.
pub(crate) struct Snapshot {
    pub(crate) policy: Vec<Result<PolicyChange, Problem>>,
    pub(crate) conditions: Vec<Result<UpstreamCondition, Problem>>,
}

/// One change.
pub(crate) enum WatchChange {
    /// Of the policy.
    Policy(PolicyChange),
    /// Of what is known of an upstream.
    Condition(UpstreamCondition),
    /// A job is offered to all nodes.
    JobOffer(String),
}

/// The content of an event.
pub(crate) enum EventKind {
    /// Everything.
    Snapshot(Snapshot),
    /// The change since the revision before.
    Changes(Vec<WatchChange>),
    /// Nothing that nodes must know changed.
    Heartbeat,
}

/// An event of the watch, and the revision that holds after it.
pub(crate) struct WatchEvent {
    pub(crate) revision: i64,
    pub(crate) mark: Arc<str>,
    /// Of a snapshot: what this node remembers holds.
    pub(crate) memory_holds: bool,
    pub(crate) kind: EventKind,
}

/// An open watch; closed when dropped.
pub(crate) struct WatchStream(pub(super) Streaming<pb::WatchResponse>);

impl WatchStream {
    /// Returns the next event. Fails when the stream ends, breaks off, is silent for `max_silence`, or makes no sense.
    pub(crate) async fn next(&mut self, max_silence: Duration) -> Result<WatchEvent, ControlError> {
        match timeout(max_silence, self.0.message()).await {
            Ok(Ok(Some(event))) => read_event(event).map_err(|problem| ControlError::BadAnswer { call: CALL, problem }),
            Ok(Ok(None)) => Err(ControlError::Unavailable { call: CALL, message: "the stream ended".to_owned() }),
            Ok(Err(status)) => Err(status::error_of(CALL, &status)),
            Err(_) => Err(ControlError::Timeout { call: CALL }),
        }
    }
}

fn read_event(response: pb::WatchResponse) -> Result<WatchEvent, Problem> {
    let kind = match response.event.ok_or("an event says nothing")? {
        Event::Snapshot(mut snapshot) => {
            let conditions = std::mem::take(&mut snapshot.conditions).into_iter().map(condition::read).collect();
            EventKind::Snapshot(Snapshot { policy: translate::snapshot(snapshot), conditions })
        }
        Event::Changes(changes) => {
            EventKind::Changes(changes.changes.into_iter().map(read_change).collect::<Result<_, _>>()?)
        }
        Event::Heartbeat(pb::Heartbeat {}) => EventKind::Heartbeat,
    };
    Ok(WatchEvent {
        revision: response.revision,
        mark: response.mark.into(),
        memory_holds: response.memory_holds,
        kind,
    })
}

fn read_change(change: pb::PolicyChange) -> Result<WatchChange, Problem> {
    Ok(match change.change {
        Some(Change::Job(pb::JobOffer { id })) => WatchChange::JobOffer(id),
        Some(Change::Condition(told)) => WatchChange::Condition(condition::read(told)?),
        _ => WatchChange::Policy(translate::change(change)?),
    })
}
