//! A control plane for tests: tells and answers what the test says, over an in-memory connection.

use roadstead_proto::time::duration;
use std::{
    collections::{HashMap, VecDeque},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::{Stream, StreamExt, stream};
use hyper_util::rt::TokioIo;
use roadstead_proto::node::v1::{
    self as pb,
    node_service_server::{NodeService, NodeServiceServer},
    watch_response::Event,
};
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};
use tower::service_fn;

use crate::node_id::NodeId;

use super::{Control, NodeIdentity};

/// An event of a watch.
pub(crate) enum FakeWatch {
    /// Events, and then nothing more.
    Events(Vec<pb::WatchResponse>),
    /// Events, and then the end.
    Ends(Vec<pb::WatchResponse>),
    /// Events as they are sent, and the end when the sender is gone.
    Live(mpsc::UnboundedReceiver<pb::WatchResponse>),
    /// A refusal.
    Refusal(Status),
}

/// The requests to the fake, and its answers.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) watches: VecDeque<FakeWatch>,
    pub(crate) resumed_from: Vec<i64>,
    pub(crate) registry_urls: Vec<String>,
    pub(crate) authorizations: Vec<String>,
    pub(crate) links: pb::GetLinksResponse,
    pub(crate) links_asked: usize,
    pub(crate) serve: Option<pb::ServeManifest>,
    pub(crate) tags_asked: usize,
    pub(crate) recorded: pb::RecordLinkResponse,
    pub(crate) links_recorded: Vec<pb::RecordLinksRequest>,
    /// The outcomes of the next links; those after them are recorded.
    pub(crate) link_outcomes: Vec<i32>,
    pub(crate) credential: pb::GetCredentialResponse,
    pub(crate) credentials_asked: usize,
    pub(crate) sign_ins: Vec<pb::SignInRequest>,
    pub(crate) sign_in: pb::SignInResponse,
    pub(crate) usage: Vec<pb::RecordUsageRequest>,
    /// The number of usage reports that are stored but answered by an error.
    pub(crate) usage_answers_lost: usize,
    pub(super) upstreams: Vec<pb::ReportUpstreamsRequest>,
    /// Likewise for reports on upstreams.
    pub(super) upstream_answers_lost: usize,
    /// The content that can be claimed.
    pub(crate) jobs: HashMap<String, pb::claim_job_response::Job>,
    pub(crate) job_reports: Vec<pb::ReportJobRequest>,
    pub(crate) node_reports: Vec<pb::ReportNodeRequest>,
    pub(crate) adopted: Vec<pb::AdoptContentsRequest>,
    pub(crate) corruption_reports: Vec<pb::ReportCorruptionRequest>,
    /// The revision there is; `None` for a control plane that does not say.
    pub(crate) revision: Option<i64>,
    pub(crate) revisions_asked: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<Script>>);

impl Fake {
    /// A client of the fake.
    pub(crate) fn client(&self) -> Arc<Control> {
        let id = NodeId::open(tempfile::tempdir().unwrap().path()).unwrap();
        let node = NodeIdentity { name: "node-1".to_owned(), id };
        Control::connect(self.channel(), &"rs_node_x".into(), node, None).unwrap()
    }

    /// A connection to the fake.
    pub(crate) fn channel(&self) -> Channel {
        let (connections, incoming) = mpsc::unbounded_channel::<io::Result<DuplexStream>>();
        let server = Server::builder().add_service(NodeServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(UnboundedReceiverStream::new(incoming)));
        Endpoint::from_static("http://control").connect_with_connector_lazy(service_fn(move |_| {
            let connections = connections.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                connections.send(Ok(theirs)).map_err(|_| io::Error::other("the fake is gone"))?;
                Ok::<_, io::Error>(TokioIo::new(ours))
            }
        }))
    }

    /// Looks at the script, or changes it.
    pub(crate) fn script<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

pub(crate) fn group(id: &str, path: &str, link_epoch: i64, credential_epoch: i64) -> pb::GroupPolicy {
    pb::GroupPolicy {
        id: id.to_owned(),
        path: path.to_owned(),
        enabled: true,
        anonymous_pull: true,
        upstreams: vec!["docker.io".to_owned()],
        link_epoch,
        credential_epoch,
        access_epoch: 1,
        frozen: false,
        ..Default::default()
    }
}

pub(crate) fn snapshot(revision: i64, groups: Vec<pb::GroupPolicy>) -> pb::WatchResponse {
    let upstream = pb::UpstreamPolicy {
        host: "docker.io".to_owned(),
        url: "https://registry-1.docker.io".to_owned(),
        token_hosts: vec!["auth.docker.io".to_owned()],
        ..Default::default()
    };
    let snapshot = pb::PolicySnapshot {
        revision,
        groups,
        upstreams: vec![upstream],
        keys: vec![pb::PublicKey { id: "k1".to_owned(), ed25519: vec![0; 32], not_after: None }],
        revocations: vec![],
        conditions: vec![],
    };
    pb::WatchResponse { revision, event: Some(Event::Snapshot(snapshot)), memory_holds: true, ..Default::default() }
}

pub(crate) fn changes(revision: i64, changes: Vec<pb::policy_change::Change>) -> pb::WatchResponse {
    let changes = changes.into_iter().map(|change| pb::PolicyChange { change: Some(change) }).collect();
    pb::WatchResponse { revision, event: Some(Event::Changes(pb::PolicyChanges { changes })), ..Default::default() }
}

type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl NodeService for Fake {
    type WatchStream = Events;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Events>, Status> {
        let told = self.script(|script| {
            let asked = request.get_ref();
            script.resumed_from.push(if asked.wants_snapshot { 0 } else { asked.resume_revision });
            script.registry_urls.push(request.get_ref().registry_url.clone());
            let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap());
            script.authorizations.push(authorization.unwrap_or_default().to_owned());
            script.watches.pop_front()
        });
        let events: Events = match told.unwrap_or_else(|| FakeWatch::Refusal(Status::unavailable("nothing more"))) {
            FakeWatch::Events(events) => Box::pin(stream::iter(events).map(Ok).chain(stream::pending())),
            FakeWatch::Ends(events) => Box::pin(stream::iter(events).map(Ok)),
            FakeWatch::Live(events) => Box::pin(UnboundedReceiverStream::new(events).map(Ok)),
            FakeWatch::Refusal(status) => return Err(status),
        };
        Ok(Response::new(events))
    }

    async fn sign_in(&self, request: Request<pb::SignInRequest>) -> Result<Response<pb::SignInResponse>, Status> {
        Ok(Response::new(self.script(|script| {
            script.sign_ins.push(request.into_inner());
            script.sign_in.clone()
        })))
    }

    async fn resolve_tag(&self, _: Request<pb::ResolveTagRequest>) -> Result<Response<pb::ResolveTagResponse>, Status> {
        let serve = self.script(|script| {
            script.tags_asked += 1;
            script.serve.clone()
        });
        let decision = serve.map(pb::resolve_tag_response::Decision::Serve);
        Ok(Response::new(pb::ResolveTagResponse { decision }))
    }

    async fn report_tag(&self, _: Request<pb::ReportTagRequest>) -> Result<Response<pb::ReportTagResponse>, Status> {
        std::future::pending().await
    }

    async fn get_links(&self, _: Request<pb::GetLinksRequest>) -> Result<Response<pb::GetLinksResponse>, Status> {
        Ok(Response::new(self.script(|script| {
            script.links_asked += 1;
            script.links.clone()
        })))
    }

    async fn record_link(&self, _: Request<pb::RecordLinkRequest>) -> Result<Response<pb::RecordLinkResponse>, Status> {
        Ok(Response::new(self.script(|script| script.recorded.clone())))
    }

    async fn record_links(
        &self,
        request: Request<pb::RecordLinksRequest>,
    ) -> Result<Response<pb::RecordLinksResponse>, Status> {
        Ok(Response::new(self.script(|script| {
            let request = request.into_inner();
            let told = std::mem::take(&mut script.link_outcomes).into_iter();
            let outcomes = told.chain(std::iter::repeat(pb::LinkOutcome::Recorded.into()));
            let link_epoch = script.recorded.link_epoch;
            let results = outcomes.take(request.links.len()).map(|outcome| pb::RecordedLink { outcome, link_epoch });
            let answer = pb::RecordLinksResponse { results: results.collect() };
            script.links_recorded.push(request);
            answer
        })))
    }

    async fn get_credential(
        &self,
        _: Request<pb::GetCredentialRequest>,
    ) -> Result<Response<pb::GetCredentialResponse>, Status> {
        Ok(Response::new(self.script(|script| {
            script.credentials_asked += 1;
            script.credential.clone()
        })))
    }

    async fn record_usage(
        &self,
        request: Request<pb::RecordUsageRequest>,
    ) -> Result<Response<pb::RecordUsageResponse>, Status> {
        self.script(|script| {
            script.usage.push(request.into_inner());
            match script.usage_answers_lost.checked_sub(1) {
                Some(left) => {
                    script.usage_answers_lost = left;
                    Err(Status::unavailable("the answer was lost"))
                }
                None => Ok(Response::new(pb::RecordUsageResponse {})),
            }
        })
    }

    async fn claim_garbage(
        &self,
        _: Request<pb::ClaimGarbageRequest>,
    ) -> Result<Response<pb::ClaimGarbageResponse>, Status> {
        Ok(Response::new(pb::ClaimGarbageResponse { digests: vec!["nonsense".to_owned()], ..Default::default() }))
    }

    async fn confirm_garbage(
        &self,
        _: Request<pb::ConfirmGarbageRequest>,
    ) -> Result<Response<pb::ConfirmGarbageResponse>, Status> {
        Err(Status::permission_denied("no node"))
    }

    async fn report_upstreams(
        &self,
        request: Request<pb::ReportUpstreamsRequest>,
    ) -> Result<Response<pb::ReportUpstreamsResponse>, Status> {
        self.script(|script| {
            script.upstreams.push(request.into_inner());
            match script.upstream_answers_lost.checked_sub(1) {
                Some(left) => {
                    script.upstream_answers_lost = left;
                    Err(Status::unavailable("the answer was lost"))
                }
                None => Ok(Response::new(pb::ReportUpstreamsResponse {})),
            }
        })
    }

    async fn claim_job(&self, request: Request<pb::ClaimJobRequest>) -> Result<Response<pb::ClaimJobResponse>, Status> {
        let claimed = self.script(|script| script.jobs.remove(&request.get_ref().id));
        let job = Some(claimed.ok_or_else(|| Status::not_found("no such job"))?);
        Ok(Response::new(pb::ClaimJobResponse { job }))
    }

    async fn report_job(
        &self,
        request: Request<pb::ReportJobRequest>,
    ) -> Result<Response<pb::ReportJobResponse>, Status> {
        if request.get_ref().id == "given up" {
            return Err(Status::not_found("nobody waits"));
        }
        self.script(|script| script.job_reports.push(request.into_inner()));
        Ok(Response::new(pb::ReportJobResponse {}))
    }

    async fn get_revision(
        &self,
        _: Request<pb::GetRevisionRequest>,
    ) -> Result<Response<pb::GetRevisionResponse>, Status> {
        let revision = self.script(|script| {
            script.revisions_asked += 1;
            script.revision
        });
        let revision = revision.ok_or_else(|| Status::unavailable("out of reach"))?;
        Ok(Response::new(pb::GetRevisionResponse { revision }))
    }

    async fn report_node(
        &self,
        request: Request<pb::ReportNodeRequest>,
    ) -> Result<Response<pb::ReportNodeResponse>, Status> {
        self.script(|script| script.node_reports.push(request.into_inner()));
        Ok(Response::new(pb::ReportNodeResponse {}))
    }

    async fn acquire_fill(
        &self,
        _: Request<pb::AcquireFillRequest>,
    ) -> Result<Response<pb::AcquireFillResponse>, Status> {
        Ok(Response::new(pb::AcquireFillResponse {
            result: Some(pb::acquire_fill_response::Result::Granted(pb::FillLease {
                epoch: 1,
                lifetime: duration(6000),
            })),
        }))
    }

    async fn renew_fills(&self, _: Request<pb::RenewFillsRequest>) -> Result<Response<pb::RenewFillsResponse>, Status> {
        Ok(Response::new(pb::RenewFillsResponse::default()))
    }

    async fn release_fill(
        &self,
        _: Request<pb::ReleaseFillRequest>,
    ) -> Result<Response<pb::ReleaseFillResponse>, Status> {
        Ok(Response::new(pb::ReleaseFillResponse {}))
    }

    async fn adopt_contents(
        &self,
        request: Request<pb::AdoptContentsRequest>,
    ) -> Result<Response<pb::AdoptContentsResponse>, Status> {
        self.script(|script| script.adopted.push(request.into_inner()));
        Ok(Response::new(pb::AdoptContentsResponse::default()))
    }

    async fn report_corruption(
        &self,
        request: Request<pb::ReportCorruptionRequest>,
    ) -> Result<Response<pb::ReportCorruptionResponse>, Status> {
        self.script(|script| script.corruption_reports.push(request.into_inner()));
        Ok(Response::new(pb::ReportCorruptionResponse::default()))
    }

    async fn claim_scrub(&self, _: Request<pb::ClaimScrubRequest>) -> Result<Response<pb::ClaimScrubResponse>, Status> {
        Ok(Response::new(pb::ClaimScrubResponse::default()))
    }

    async fn list_group_contents(
        &self,
        _: Request<pb::ListGroupContentsRequest>,
    ) -> Result<Response<pb::ListGroupContentsResponse>, Status> {
        Ok(Response::new(pb::ListGroupContentsResponse::default()))
    }
}
