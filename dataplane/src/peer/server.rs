//! The port for other nodes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use roadstead_proto::Digest;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tracing::{debug, warn};

use super::{
    PROVEN,
    ticket::{self, Asker},
};
use crate::{
    control::ControlClient,
    fill::Fills,
    metrics::Metrics,
    respond::{Answer, Body, CacheStatus, Conditions, Content, Freshness},
    stack::Stack,
    storage::BlobStore,
};

/// How long a request waits for upstream's answer to this node before it is told to ask again: the sign of life that tells a slow
/// upstream from a lost node.
const HEADERS_WAIT: Duration = Duration::from_secs(1);

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What the port serves from.
pub struct PeerPort {
    /// Whose keys tickets are signed with, and what is known of links.
    pub control: Arc<ControlClient>,
    /// What is arriving.
    pub fills: Arc<Fills>,
    /// What has arrived.
    pub store: Arc<dyn BlobStore>,
}

impl PeerPort {
    /// The port as a service.
    pub fn into_stack(self) -> Stack {
        let port = Arc::new(self);
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Incoming>| {
            let port = Arc::clone(&port);
            async move { Ok::<_, Infallible>(port.answer(&request).await) }
        }))
    }

    async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let digest = request.uri().path().strip_prefix("/fills/").and_then(|text| text.parse::<Digest>().ok());
        let Some(digest) = digest else { return plain(StatusCode::NOT_FOUND) };
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some(asker) = ticket::verify(request.headers(), &digest, &self.control.policy()) else {
            warn!(blob.digest = %digest, "another node, or somebody else, was refused: no good ticket for this blob");
            return plain(StatusCode::UNAUTHORIZED);
        };
        debug!(blob.digest = %digest, node.id = asker.node_id, "another node follows");
        let conditions = Conditions::of(request.headers());
        let mut answer = match self.fills.find(&digest) {
            Some(fill) => {
                let size = match timeout(HEADERS_WAIT, fill.answered()).await {
                    Ok(Ok(size)) => size,
                    Ok(Err(_)) => return plain(StatusCode::NOT_FOUND),
                    Err(_) => return plain(StatusCode::ACCEPTED),
                };
                let content = Content::of_digest(&digest, OCTET_STREAM, Freshness::of_arriving(CacheStatus::Join));
                let body = |start, end| Body::followed(fill.follow(start, end));
                let mut answer = content.selected(size, &conditions, body);
                mark(&mut answer, fill.is_proven_for(&asker.repository, asker.link_epoch));
                answer
            }
            None => match self.store.open(&digest).await {
                Ok(Some(blob)) => {
                    let freshness = Freshness::of_stored(CacheStatus::Hit, &blob);
                    let content = Content::of_stored(&blob, OCTET_STREAM, freshness);
                    let mut answer = content.stored(&blob, &conditions, Metrics::no_client());
                    mark(&mut answer, self.is_linked(&asker, &digest));
                    answer
                }
                Ok(None) => plain(StatusCode::NOT_FOUND),
                Err(error) => {
                    warn!(blob.digest = %digest, %error, "a blob could not be opened for another node");
                    plain(StatusCode::SERVICE_UNAVAILABLE)
                }
            },
        };
        answer.headers_mut().remove(http::header::CACHE_CONTROL);
        answer
    }

    /// Whether the asker's right is on record, as of the epoch that it knows.
    fn is_linked(&self, asker: &Asker, digest: &Digest) -> bool {
        let policy = self.control.policy();
        let is_current =
            policy.group_by_id(&asker.repository.group).is_some_and(|group| group.link_epoch >= asker.link_epoch);
        is_current && self.control.remembered_link(&asker.repository, digest).is_some()
    }
}

fn mark(answer: &mut Answer, is_proven: bool) {
    answer.headers_mut().insert(PROVEN, HeaderValue::from_static(if is_proven { "yes" } else { "no" }));
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::default());
    *answer.status_mut() = status;
    answer
}
