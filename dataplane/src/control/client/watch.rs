//! The events of the watch, one after the other.

use std::{
    mem::{Discriminant, discriminant},
    sync::Arc,
    time::Duration,
};

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

/// The changes that lead from nothing to all that a node must know, or some of them. Those that make no sense are problems of
/// their own.
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

/// An event of the watch or a part of one, and the revision that holds after the whole event.
pub(crate) struct WatchEvent {
    pub(crate) revision: i64,
    pub(crate) mark: Arc<str>,
    /// Of a snapshot: what this node remembers holds.
    pub(crate) memory_holds: bool,
    pub(crate) kind: EventKind,
    /// True if more parts of this event follow: it must not be applied before the last is here.
    pub(crate) continues: bool,
}

/// An open watch; closed when dropped.
pub(crate) struct WatchStream {
    stream: Streaming<pb::WatchResponse>,
    /// The event that is being received in parts.
    unfinished: Option<Unfinished>,
}

/// The position in an event of which parts have come.
#[derive(PartialEq)]
struct Unfinished {
    next_part: i32,
    revision: i64,
    kind: Discriminant<Event>,
}

impl WatchStream {
    pub(super) const fn new(stream: Streaming<pb::WatchResponse>) -> Self {
        Self { stream, unfinished: None }
    }

    /// Returns the next event, or the next part of one; parts come complete and in order. Fails when the stream ends, breaks
    /// off, is silent for `max_silence`, or makes no sense.
    pub(crate) async fn next(&mut self, max_silence: Duration) -> Result<WatchEvent, ControlError> {
        match timeout(max_silence, self.stream.message()).await {
            Ok(Ok(Some(event))) => self.read(event).map_err(|problem| ControlError::BadAnswer { call: CALL, problem }),
            Ok(Ok(None)) => Err(ControlError::Unavailable { call: CALL, message: "the stream ended".to_owned() }),
            Ok(Err(status)) => Err(status::error_of(CALL, &status)),
            Err(_) => Err(ControlError::Timeout { call: CALL }),
        }
    }

    fn read(&mut self, response: pb::WatchResponse) -> Result<WatchEvent, Problem> {
        let pb::WatchResponse { revision, event, part, continues, mark, memory_holds } = response;
        let event = event.ok_or("an event says nothing")?;
        let here = Unfinished { next_part: part, revision, kind: discriminant(&event) };
        match self.unfinished.take() {
            None if part != 0 => return Err(format!("part {part} of an event without the parts before it")),
            Some(expected) if expected != here => {
                return Err(format!("part {part} of revision {revision} in the middle of another event"));
            }
            _ => {}
        }
        self.unfinished = continues.then(|| Unfinished { next_part: part.saturating_add(1), ..here });
        Ok(WatchEvent { revision, mark: mark.into(), memory_holds, kind: read_kind(event)?, continues })
    }
}

fn read_kind(event: Event) -> Result<EventKind, Problem> {
    Ok(match event {
        Event::Snapshot(mut snapshot) => {
            let conditions = std::mem::take(&mut snapshot.conditions).into_iter().map(condition::read).collect();
            EventKind::Snapshot(Snapshot { policy: translate::snapshot(snapshot), conditions })
        }
        Event::Changes(changes) => {
            EventKind::Changes(changes.changes.into_iter().map(read_change).collect::<Result<_, _>>()?)
        }
        Event::Heartbeat(pb::Heartbeat {}) => EventKind::Heartbeat,
    })
}

fn read_change(change: pb::PolicyChange) -> Result<WatchChange, Problem> {
    Ok(match change.change {
        Some(Change::Job(pb::JobOffer { id })) => WatchChange::JobOffer(id),
        Some(Change::Condition(told)) => WatchChange::Condition(condition::read(told)?),
        _ => WatchChange::Policy(translate::change(change)?),
    })
}
