//! Converts the reports of nodes about themselves.

use roadstead_proto::{
    node::v1::{ReportNodeRequest, WatchRequest},
    time::{duration_ms, timestamp_ms},
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    api::errors::invalid_field,
    rules::cluster::node::{FORGOTTEN_AFTER_MS, Figures, Node},
    usecases::cluster::node::Report,
};

/// Most characters of a node's name, version, URL or store that are kept.
const MAX_CHARS: usize = 255;

/// A node's report.
pub fn report_in(request: ReportNodeRequest, now_ms: i64) -> Result<Report, Status> {
    let id = id_in(&request.node_id)?;
    if request.stopping {
        return Ok(Report::Stops(id));
    }
    let count = |value: i64| value.max(0);
    Ok(Report::Is(Node {
        id,
        name: cut(&request.node_name),
        version: cut(&request.version),
        started_at_ms: timestamp_ms(request.started_at),
        heard_at_ms: now_ms,
        has_stopped: false,
        applied_revision: request.applied_revision,
        max_outage_ms: duration_ms(request.max_control_outage),
        figures: Figures {
            fills: count(request.fills),
            served_bytes: count(request.served_bytes),
            fetched_bytes: count(request.fetched_bytes),
            peer_bytes: count(request.peer_bytes),
            store_total_bytes: count(request.store_total_bytes),
            store_available_bytes: count(request.store_available_bytes),
        },
        peer_url: cut(&request.peer_url),
        store_id: cut(&request.store_id),
    }))
}

/// That a node begins to watch; `None` for one of version 0.1, which has no id.
pub fn watching_in(request: &WatchRequest, now_ms: i64) -> Result<Option<Report>, Status> {
    if request.node_id.is_empty() {
        return Ok(None);
    }
    Ok(Some(Report::Watches(Node {
        id: id_in(&request.node_id)?,
        name: cut(&request.node_name),
        version: cut(&request.version),
        started_at_ms: 0,
        heard_at_ms: now_ms,
        has_stopped: false,
        applied_revision: request.resume_revision,
        // Not said yet: for as long as it is remembered.
        max_outage_ms: FORGOTTEN_AFTER_MS,
        figures: Figures::default(),
        peer_url: String::new(),
        store_id: String::new(),
    })))
}

/// A node's id.
pub fn id_in(text: &str) -> Result<String, Status> {
    let id: Uuid = text.parse().map_err(|_| invalid_field("node_id", "must be a UUID"))?;
    Ok(id.to_string())
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}
