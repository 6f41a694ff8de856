//! The right to fetch a blob for the whole cluster.

use std::time::Duration;

use roadstead_proto::{Digest, UpstreamHost, node::v1 as pb};
use secrecy::SecretString;
use url::Url;

use super::translate::{self, Problem};
use crate::control::RepositoryRef;

/// An answer to a node that needs a blob or manifest.
#[derive(Debug)]
pub enum FillTurn {
    /// This node has the lease and fetches it.
    Granted {
        /// The lease's epoch.
        epoch: i64,
    },
    /// Another node fetches it.
    Follow(FollowFill),
}

/// A download at another node.
#[derive(Clone, Debug)]
pub struct FollowFill {
    /// The owner's id.
    pub node_id: String,
    /// The owner's address for other nodes.
    pub peer_url: Url,
    /// Permits this node to read the blob there.
    pub ticket: SecretString,
    /// Time since the owner renewed its lease.
    pub heard: Duration,
}

/// A request for a lease.
#[derive(Clone, Debug)]
pub struct FillQuestion<'a> {
    /// The blob or manifest.
    pub digest: &'a Digest,
    /// The repository and group whose right to it is proven.
    pub repository: &'a RepositoryRef,
    /// That group's link epoch.
    pub link_epoch: i64,
    /// This node's address for other nodes.
    pub peer_url: &'a str,
    /// The owner that was lost, if one was.
    pub lost_node_id: &'a str,
}

/// A lease in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFill {
    /// The blob.
    pub digest: Digest,
    /// The upstream that it is fetched from.
    pub upstream: UpstreamHost,
    /// The lease's epoch.
    pub epoch: i64,
}

pub(super) fn read_turn(answer: pb::AcquireFillResponse) -> Result<FillTurn, Problem> {
    use pb::acquire_fill_response::Result as Turn;
    Ok(match answer.result.ok_or("there is no result")? {
        Turn::Granted(lease) => FillTurn::Granted { epoch: lease.epoch },
        Turn::Follow(follow) => FillTurn::Follow(FollowFill {
            node_id: follow.node_id,
            peer_url: follow.peer_url.parse().map_err(|_| "an unreadable URL")?,
            ticket: follow.ticket.into(),
            heard: translate::span(follow.since_renewal),
        }),
    })
}

pub(super) fn held_to_pb(fill: &HeldFill) -> pb::HeldFill {
    pb::HeldFill { digest: fill.digest.to_string(), epoch: fill.epoch, upstream: fill.upstream.to_string() }
}

pub(super) fn read_lost(answer: pb::RenewFillsResponse) -> Result<Vec<HeldFill>, Problem> {
    let lost = |fill: pb::HeldFill| {
        let (digest, upstream) = (translate::digest(&fill.digest)?, translate::host(&fill.upstream)?);
        Ok(HeldFill { digest, upstream, epoch: fill.epoch })
    };
    answer.lost_fills.into_iter().map(lost).collect()
}
