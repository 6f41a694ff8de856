//! Messages about fills to and from the control plane's own words.

use roadstead_proto::{Digest, node::v1, time::duration};
use tonic::Status;
use url::Url;

use crate::{
    api::{
        errors::{invalid_field, parse},
        node::{convert, report},
    },
    clock::millis,
    usecases::cluster::lease::{FILL_LEASE, FillAsker, FillTurn, HeldFill, MAX_RENEWED},
};

/// Longest URL of a node, in bytes.
const MAX_URL_BYTES: usize = 255;

/// Reads which node asks for which blob.
pub fn asker_in(request: v1::AcquireFillRequest) -> Result<(Digest, FillAsker), Status> {
    let asker = FillAsker {
        node_id: report::id_in(&request.node_id)?,
        peer_url: peer_url(&request.peer_url)?,
        repository: convert::repository("repository", request.repository)?,
        link_epoch: request.link_epoch,
        lost_node_id: request.lost_node_id,
    };
    Ok((parse("digest", &request.digest)?, asker))
}

fn peer_url(text: &str) -> Result<String, Status> {
    let is_good = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match text.parse::<Url>() {
        Ok(url) if text.len() <= MAX_URL_BYTES && is_good(&url) => Ok(text.to_owned()),
        _ => Err(invalid_field("peer_url", "must be an http or https URL of at most 255 bytes")),
    }
}

/// The answer to a node that is about to fetch.
pub fn turn(turn: FillTurn) -> v1::AcquireFillResponse {
    use v1::acquire_fill_response::Result;
    let result = match turn {
        FillTurn::Granted { epoch } => Result::Granted(v1::FillLease { epoch, lifetime: duration(millis(FILL_LEASE)) }),
        FillTurn::Follow(follow) => Result::Follow(v1::FollowFill {
            node_id: follow.node_id,
            peer_url: follow.peer_url,
            ticket: follow.ticket,
            repository: Some((&follow.repository).into()),
            since_renewal: duration(follow.heard_ms),
        }),
    };
    v1::AcquireFillResponse { result: Some(result) }
}

/// The leases to keep.
pub fn held_in(fills: Vec<v1::HeldFill>) -> Result<Vec<HeldFill>, Status> {
    if fills.len() > MAX_RENEWED {
        return Err(invalid_field("fills", format!("at most {MAX_RENEWED}")));
    }
    fills.into_iter().map(one_in).collect()
}

/// One lease.
pub fn one_in(fill: v1::HeldFill) -> Result<HeldFill, Status> {
    let digest = parse("fills.digest", &fill.digest)?;
    Ok(HeldFill { digest, upstream: parse("fills.upstream", &fill.upstream)?, epoch: fill.epoch })
}

/// The leases that were lost.
pub fn lost(fills: Vec<HeldFill>) -> v1::RenewFillsResponse {
    let lost_fills = fills.into_iter().map(|fill| v1::HeldFill {
        digest: fill.digest.to_string(),
        epoch: fill.epoch,
        upstream: fill.upstream.to_string(),
    });
    v1::RenewFillsResponse { lost_fills: lost_fills.collect() }
}
