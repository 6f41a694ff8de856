//! Asking for the right to fetch a blob for the whole cluster.

use std::time::Duration;

use roadstead_proto::{Digest, node::v1 as pb};
use secrecy::SecretString;
use url::Url;

use super::translate;
use crate::control::{ControlClient, ControlError, RepositoryRef, client::bad_answer};

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

impl ControlClient {
    /// Asks for a fill.
    pub async fn acquire_fill(&self, question: FillQuestion<'_>) -> Result<FillTurn, ControlError> {
        const CALL: &str = "AcquireFill";
        use pb::acquire_fill_response::Result as Turn;
        let request = self.request(pb::AcquireFillRequest {
            digest: question.digest.to_string(),
            node_id: self.node_id.to_string(),
            repository: Some(translate::repository_to_pb(question.repository)),
            lost_node_id: question.lost_node_id.to_owned(),
            peer_url: question.peer_url.to_owned(),
            link_epoch: question.link_epoch,
        });
        match self.call(CALL, self.service.clone().acquire_fill(request)).await?.result {
            Some(Turn::Granted(lease)) => Ok(FillTurn::Granted { epoch: lease.epoch }),
            Some(Turn::Follow(follow)) => Ok(FillTurn::Follow(FollowFill {
                node_id: follow.node_id,
                peer_url: follow.peer_url.parse().map_err(|_| bad_answer(CALL)("an unreadable URL".to_owned()))?,
                ticket: follow.ticket.into(),
                heard: Duration::from_millis(u64::try_from(follow.heard_ms).unwrap_or_default()),
            })),
            None => Err(bad_answer(CALL)("there is no result".to_owned())),
        }
    }

    /// Keeps leases; answers those that were lost.
    pub async fn renew_fills(&self, held: &[(Digest, i64)]) -> Result<Vec<Digest>, ControlError> {
        const CALL: &str = "RenewFills";
        let fills = held.iter().map(|(digest, epoch)| held_to_pb(digest, *epoch)).collect();
        let request = self.request(pb::RenewFillsRequest { node_id: self.node_id.to_string(), fills });
        let answer = self.call(CALL, self.service.clone().renew_fills(request)).await?;
        answer
            .lost_digests
            .iter()
            .map(|text| translate::digest(text))
            .collect::<Result<_, _>>()
            .map_err(bad_answer(CALL))
    }

    /// Gives a lease back.
    pub async fn release_fill(&self, digest: &Digest, epoch: i64) -> Result<(), ControlError> {
        let fill = Some(held_to_pb(digest, epoch));
        let request = self.request(pb::ReleaseFillRequest { node_id: self.node_id.to_string(), fill });
        self.call("ReleaseFill", self.service.clone().release_fill(request)).await.map(|_| ())
    }
}

fn held_to_pb(digest: &Digest, epoch: i64) -> pb::HeldFill {
    pb::HeldFill { digest: digest.to_string(), epoch }
}
