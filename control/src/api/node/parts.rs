//! The parts of a watch event: messages of bounded size, made one at a time as the node takes them.

use std::sync::Arc;

use prost::Message as _;
use roadstead_proto::node::v1::{
    Heartbeat, PolicyChanges, PolicySnapshot, WatchResponse, watch_response::Event as Wire,
};
use tonic::Status;

use crate::{
    api::node::{convert, job},
    watch::{EventKind, Snapshot, WatchEvent},
};

/// Largest part, in bytes, unless a single item is larger: a group's settings have at most `--max-group-settings`. Nodes
/// take messages of 64 MiB.
const MAX_PART_BYTES: usize = 1024 * 1024;

/// Bytes before each item of a list: its field number and its length.
const ITEM_HEAD_BYTES: usize = 8;

/// The parts of one event that are still to be sent.
pub struct Parts {
    event: Arc<WatchEvent>,
    memory_holds: bool,
    part: i32,
    /// Items that have been sent.
    sent: usize,
    is_done: bool,
}

impl Parts {
    /// Begins with the first part of `event`. `memory_holds`: whether what the node remembers holds after it.
    pub fn new(event: Arc<WatchEvent>, memory_holds: bool) -> Self {
        Self { event, memory_holds, part: 0, sent: 0, is_done: false }
    }

    /// Returns the next part; `None` after the last.
    pub fn next(&mut self) -> Result<Option<WatchResponse>, Status> {
        if self.is_done {
            return Ok(None);
        }
        let event = Arc::clone(&self.event);
        let (wire, count) = match &event.kind {
            EventKind::Heartbeat => (Wire::Heartbeat(Heartbeat {}), 0),
            EventKind::Changes(changes) => {
                let mut part = PolicyChanges::default();
                let mut room = Room::default();
                while let Some(change) = changes.get(self.sent) {
                    let change = convert::change(change)?;
                    if !room.takes(change.encoded_len()) {
                        break;
                    }
                    part.changes.push(change);
                    self.sent += 1;
                }
                (Wire::Changes(part), changes.len())
            }
            EventKind::Snapshot(snapshot) => {
                (Wire::Snapshot(self.snapshot_part(event.revision.number, snapshot)?), items(snapshot))
            }
        };
        self.is_done = self.sent >= count;
        let response = WatchResponse {
            revision: event.revision.number,
            mark: event.revision.mark.clone(),
            memory_holds: self.memory_holds,
            event: Some(wire),
            part: self.part,
            continues: !self.is_done,
        };
        self.part = self.part.saturating_add(1);
        Ok(Some(response))
    }

    /// The keys, which are few, are in the first part; the rest follows list by list.
    fn snapshot_part(&mut self, revision: i64, all: &Snapshot) -> Result<PolicySnapshot, Status> {
        let keys = if self.part == 0 { convert::keys(&all.keys)? } else { Vec::new() };
        let mut part = PolicySnapshot { revision, keys, ..PolicySnapshot::default() };
        let (mut room, mut before) = (Room::default(), 0);
        let sent = &mut self.sent;
        macro_rules! fill {
            ($from:expr, $to:expr, $convert:expr) => {
                for item in $from.iter().skip(*sent - before) {
                    let item = $convert(item);
                    if !room.takes(item.encoded_len()) {
                        return Ok(part);
                    }
                    $to.push(item);
                    *sent += 1;
                }
                before += $from.len();
            };
        }
        fill!(all.upstreams, part.upstreams, convert::upstream);
        fill!(all.groups, part.groups, convert::group);
        fill!(all.revocations, part.revocations, convert::revocation);
        fill!(all.conditions, part.conditions, job::condition);
        debug_assert_eq!(before, *sent, "every item is sent");
        Ok(part)
    }
}

fn items(snapshot: &Snapshot) -> usize {
    snapshot.upstreams.len() + snapshot.groups.len() + snapshot.revocations.len() + snapshot.conditions.len()
}

/// The bytes in a part so far.
#[derive(Default)]
struct Room(usize);

impl Room {
    /// Returns whether an item still fits; the first one always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let bytes = bytes + ITEM_HEAD_BYTES;
        let fits = self.0 == 0 || self.0 + bytes <= MAX_PART_BYTES;
        self.0 += bytes;
        fits
    }
}

#[cfg(test)]
mod tests;
