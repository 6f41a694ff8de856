//! The right to fetch a blob for the whole cluster.

use std::time::Duration;

use roadstead_proto::{Digest, node::v1 as pb};
use secrecy::SecretString;
use url::Url;

use super::translate::Problem;
use crate::control::RepositoryRef;

/// What a node is to do about a blob that it does not have.
#[derive(Debug)]
pub enum FillTurn {
    /// Fetch it: the lease is this node's.
    Granted {
        /// Of the lease.
        epoch: i64,
    },
    /// Follow another node.
    Follow(FollowFill),
}

/// Where a blob arrives.
#[derive(Clone, Debug)]
pub struct FollowFill {
    /// The owner's id.
    pub node_id: String,
    /// Where it is reached.
    pub peer_url: Url,
    /// Opens the blob there.
    pub ticket: SecretString,
    /// Since the owner renewed its lease.
    pub heard: Duration,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct FillQuestion<'a> {
    /// For which blob.
    pub digest: &'a Digest,
    /// With whose right.
    pub repository: &'a RepositoryRef,
    /// That group's link epoch.
    pub link_epoch: i64,
    /// Where this node is reached.
    pub peer_url: &'a str,
    /// The owner that was lost, if one was.
    pub lost_node_id: &'a str,
}

pub(super) fn read_turn(answer: pb::AcquireFillResponse) -> Result<FillTurn, Problem> {
    use pb::acquire_fill_response::Result as Turn;
    Ok(match answer.result.ok_or("there is no result")? {
        Turn::Granted(lease) => FillTurn::Granted { epoch: lease.epoch },
        Turn::Follow(follow) => FillTurn::Follow(FollowFill {
            node_id: follow.node_id,
            peer_url: follow.peer_url.parse().map_err(|_| "an unreadable URL")?,
            ticket: follow.ticket.into(),
            heard: Duration::from_millis(u64::try_from(follow.heard_ms).unwrap_or_default()),
        }),
    })
}

pub(super) fn held_to_pb(digest: &Digest, epoch: i64) -> pb::HeldFill {
    pb::HeldFill { digest: digest.to_string(), epoch }
}
