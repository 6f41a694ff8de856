//! `roadstead.v1.ClusterService`.

use std::sync::Arc;

use roadstead_proto::v1::{ListNodesRequest, ListNodesResponse, cluster_service_server::ClusterService};
use tonic::{Request, Response, Status};

use super::{authenticate::caller, status::allow};
use crate::{access::Action, plane::Plane};

/// The service.
pub struct Cluster(#[allow(dead_code)] Arc<Plane>);

impl Cluster {
    pub fn new(plane: Arc<Plane>) -> Self {
        Self(plane)
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        allow(&caller(&request)?, Action::ReadEverything)?;
        Err(Status::unimplemented("not built yet"))
    }
}
