//! The node's calls to the control plane. gRPC and protobuf stay in this folder.

mod calls;
pub mod condition;
pub mod job;
pub mod lease;
pub mod links;
pub mod node_report;
pub mod saved;
pub mod sign_in;
mod status;
pub mod stored;
mod tags;
pub mod translate;
pub mod usage;
pub mod watch;

use std::{sync::Arc, time::Duration};

use roadstead_proto::{client::ControlReplicas, node::v1::node_service_client::NodeServiceClient};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};
use tracing::{Instrument, info_span};

use self::translate::Problem;
use super::{ControlError, liveness::ControlLiveness, staleness::Staleness};
use crate::{node_id::NodeId, trace_context};

/// Longest time for a call. Uncached pulls are to fail within ten seconds, upstream's part included.
const CALL_TIME: Duration = Duration::from_secs(4);
/// The limit for calls that there is a way without, while calls fail.
const TROUBLED_CALL_TIME: Duration = Duration::from_millis(500);
/// Largest answer, in bytes: one about an index brings a link for each of its 10,000 references at most, some 200 bytes each.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The node token holds characters that no header can carry.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the node token may hold visible ASCII characters only")]
pub struct InvalidNodeToken;

/// The identity of a node at the control plane.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// The name for people.
    pub name: String,
    /// The unique id.
    pub id: NodeId,
}

/// One function a call; each fails with a [`ControlError`] without a usable answer in time.
pub struct NodeClient {
    service: NodeServiceClient<ControlReplicas>,
    authorization: MetadataValue<Ascii>,
    node: NodeIdentity,
    liveness: Arc<ControlLiveness>,
    staleness: Arc<Staleness>,
}

impl NodeClient {
    /// Makes a client that calls as the node which `token` belongs to. Each answer counts for `liveness` and `staleness`.
    pub(crate) fn new(
        control: ControlReplicas,
        token: &SecretString,
        node: NodeIdentity,
        liveness: Arc<ControlLiveness>,
        staleness: Arc<Staleness>,
    ) -> Result<Self, InvalidNodeToken> {
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {}", token.expose_secret()).parse().map_err(|_| InvalidNodeToken)?;
        authorization.set_sensitive(true);
        let service = NodeServiceClient::new(control).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { service, authorization, node, liveness, staleness })
    }

    /// The identity of this node.
    pub const fn node(&self) -> &NodeIdentity {
        &self.node
    }

    fn service(&self) -> NodeServiceClient<ControlReplicas> {
        self.service.clone()
    }

    /// Returns the message as a call of this node, within the current trace.
    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        trace_context::inject(metadata.as_mut());
        metadata.insert("authorization", self.authorization.clone());
        request
    }

    /// Waits for an answer and reads it.
    async fn call<T, U>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
        read: impl FnOnce(T) -> Result<U, Problem>,
    ) -> Result<U, ControlError> {
        self.call_within(CALL_TIME, name, answer, read).await
    }

    /// Does the same with another time limit.
    async fn call_within<T, U>(
        &self,
        time: Duration,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
        read: impl FnOnce(T) -> Result<U, Problem>,
    ) -> Result<U, ControlError> {
        let answer = answer.instrument(info_span!("control", rpc.method = name));
        let answer = match timeout(time, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(status::error_of(name, &status)),
            Err(_) => Err(ControlError::Timeout { call: name }),
        };
        match &answer {
            Err(error) if error.retryable() => self.liveness.unanswered(),
            _ => self.staleness.answered(),
        }
        answer.and_then(|answer| read(answer).map_err(|problem| ControlError::BadAnswer { call: name, problem }))
    }

    /// Returns how long to wait for an answer: not long where there is a way without one and calls have failed.
    fn call_time(&self, has_another_way: bool) -> Duration {
        if has_another_way && self.liveness.is_troubled() { TROUBLED_CALL_TIME } else { CALL_TIME }
    }
}
