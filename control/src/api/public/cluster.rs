//! `roadstead.v1.ClusterService`.

use std::sync::Arc;

use roadstead_proto::v1::{
    GetNodeRequest, GetNodeResponse, ListNodesRequest, ListNodesResponse, Node, NodeState, RotateKeysRequest,
    RotateKeysResponse, cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status};

use super::{convert, page, time};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, from_use_case, invalid_field},
    },
    rules::{access::Action, cluster::node},
    usecases::{
        cluster::node::{ListedNode, NodeRegistry},
        key_rotation::{KeyRotation, Wanted},
    },
};

/// The service.
#[derive(Clone)]
pub struct Cluster {
    nodes: Arc<NodeRegistry>,
    keys: Arc<KeyRotation>,
}

impl Cluster {
    pub fn new(nodes: Arc<NodeRegistry>, keys: Arc<KeyRotation>) -> Self {
        Self { nodes, keys }
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        allow(&caller(&request)?, Action::ReadEverything)?;
        let id = request.into_inner().id;
        if id.is_empty() {
            return Err(invalid_field("id", "required: the id of a node, as `node list` shows it"));
        }
        let found = self.nodes.get(&id).await.map_err(from_use_case)?;
        Ok(Response::new(GetNodeResponse { node: Some(shown(found)) }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        allow(&caller(&request)?, Action::ReadEverything)?;
        let request = request.into_inner();
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = self.nodes.list(&after, size).await.map_err(from_use_case)?;
        let (nodes, next_page_token) = page::answer(found, |listed| listed.node.id.to_string(), shown);
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn rotate_keys(&self, request: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let RotateKeysRequest { signing, sealing } = request.into_inner();
        if !signing && !sealing {
            return Err(invalid_field("signing", "say which keys to replace: signing, sealing, or both"));
        }
        let done = self.keys.rotate(&caller, Wanted { signing, sealing }).await.map_err(from_use_case)?;
        Ok(Response::new(RotateKeysResponse {
            signing_key_id: done.signing_key_id.unwrap_or_default(),
            voided_signing_keys: done.voided,
            resealed_secrets: done.resealed,
            unreached_nodes: done.unreached.into_iter().map(convert::unreached_node).collect(),
        }))
    }
}

fn shown(listed: ListedNode) -> Node {
    let ListedNode { node, state, revisions_behind } = listed;
    let state = match state {
        node::NodeState::Up => NodeState::Up,
        node::NodeState::Lagging => NodeState::Lagging,
        node::NodeState::Unreachable => NodeState::Unreachable,
    };
    let figures = node.figures;
    Node {
        id: node.id,
        name: node.name,
        version: node.version,
        state: state.into(),
        // A node that has begun to watch and has not reported yet has not said when it started.
        started_at: (node.started_at_ms > 0).then(|| time::timestamp(node.started_at_ms)),
        last_heard_at: Some(time::timestamp(node.heard_at_ms)),
        applied_revision: node.applied_revision,
        revisions_behind,
        fills: figures.fills,
        served_bytes: figures.served_bytes,
        fetched_bytes: figures.fetched_bytes,
        peer_bytes: figures.peer_bytes,
        peer_url: node.peer_url,
        store_total_bytes: figures.store_total_bytes,
        store_available_bytes: figures.store_available_bytes,
    }
}
