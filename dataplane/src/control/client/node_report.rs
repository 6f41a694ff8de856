//! The state of this node, and the revision of the settings that it serves by.

use std::time::SystemTime;

use roadstead_proto::{node::v1 as pb, time};

use super::{NodeIdentity, translate::timestamp};

/// The state of a node.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// The revision that it serves by.
    pub applied_revision: i64,
    /// The mark of that revision.
    pub applied_mark: String,
    /// When it started.
    pub started_at: SystemTime,
    /// For how long it serves without word from the control plane, in seconds.
    pub max_control_outage_seconds: u64,
    /// Downloads from upstream under way.
    pub fills: u64,
    /// Bytes sent to clients.
    pub served_bytes: u64,
    /// Bytes fetched from upstreams.
    pub fetched_bytes: u64,
    /// Bytes fetched from other nodes.
    pub peer_bytes: u64,
    /// The URL by which other nodes reach it; empty if they do not.
    pub peer_url: String,
    /// Bytes of the store's file system; 0 for a store without a size.
    pub store_total_bytes: u64,
    /// Of those, free.
    pub store_available_bytes: u64,
    /// Names the store.
    pub store_id: String,
    /// It serves no more.
    pub stopping: bool,
}

pub(super) fn report_to_pb(report: NodeReport, node: &NodeIdentity) -> pb::ReportNodeRequest {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    pb::ReportNodeRequest {
        node_id: node.id.to_string(),
        node_name: node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: timestamp(report.started_at),
        applied_revision: report.applied_revision,
        max_control_outage: time::seconds(number(report.max_control_outage_seconds)),
        fills: number(report.fills),
        served_bytes: number(report.served_bytes),
        fetched_bytes: number(report.fetched_bytes),
        peer_bytes: number(report.peer_bytes),
        peer_url: report.peer_url,
        store_total_bytes: number(report.store_total_bytes),
        store_available_bytes: number(report.store_available_bytes),
        stopping: report.stopping,
        store_id: report.store_id,
        applied_mark: report.applied_mark,
    }
}
