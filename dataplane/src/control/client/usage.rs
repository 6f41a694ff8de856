//! Counts of pulls, as they are reported.

use std::time::SystemTime;

use roadstead_proto::node::v1 as pb;
use uuid::Uuid;

use super::translate::{repository_to_pb, timestamp};
use crate::control::lookup::ContentKey;

/// Pulls of one content.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) key: ContentKey,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) last_pulled_at: SystemTime,
}

/// Counts under one id, which stays the same however often they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: Uuid,
    pub(crate) usage: Vec<Usage>,
}

pub(super) fn batch_to_pb(batch: &Batch) -> pb::RecordUsageRequest {
    let usage = batch.usage.iter().map(|usage| pb::Usage {
        repository: Some(repository_to_pb(&usage.key.repository)),
        digest: usage.key.digest.to_string(),
        hits: i64::try_from(usage.hits).unwrap_or(i64::MAX),
        misses: i64::try_from(usage.misses).unwrap_or(i64::MAX),
        last_pulled_at: timestamp(usage.last_pulled_at),
    });
    pb::RecordUsageRequest { batch_id: batch.id.to_string(), usage: usage.collect() }
}
