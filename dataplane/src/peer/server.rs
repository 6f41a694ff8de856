//! The port for other nodes.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use roadstead_proto::Digest;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::ticket::{self, Asker};
use crate::{
    control::{ContentKind, Link, Links, Policy},
    fill::{Fills, peer_client::PROVEN},
    listener::{Handler, RequestBody},
    metrics::Metrics,
    respond::{Answer, Body, CacheStatus, Conditions, Content, Freshness},
    storage::BlobStore,
};

/// Longest wait of a request for upstream's answer to this node before it is told to ask again: the sign of life that tells
/// a slow upstream from a lost node.
const HEADERS_WAIT: Duration = Duration::from_secs(1);

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The state that the port serves from.
pub struct PeerPort {
    /// The policy, with the keys that tickets are signed with.
    pub policy: Arc<Policy>,
    /// Rights to content.
    pub links: Arc<Links>,
    /// The arriving blobs.
    pub fills: Arc<Fills>,
    /// The stored blobs.
    pub store: Arc<dyn BlobStore>,
}

impl Handler for PeerPort {
    type Body = Body;

    async fn answer(self: Arc<Self>, request: Request<RequestBody>) -> Answer {
        self.follow(&request).await
    }
}

impl PeerPort {
    async fn follow<B>(&self, request: &Request<B>) -> Answer {
        let Some((kind, digest)) = asked_for(request.uri().path()) else { return plain(StatusCode::NOT_FOUND) };
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some(asker) = ticket::verify(request.headers(), &digest, &self.policy.current()) else {
            warn!(blob.digest = %digest, "another node, or somebody else, was refused: no good ticket for this digest");
            return plain(StatusCode::UNAUTHORIZED);
        };
        debug!(blob.digest = %digest, node.id = asker.node_id, "another node follows");
        let conditions = Conditions::of(request.headers());
        let mut answer = match kind {
            ContentKind::Manifest => self.manifest(&asker, &digest, &conditions).await,
            ContentKind::Blob => self.blob(&asker, &digest, &conditions).await,
        };
        answer.headers_mut().remove(http::header::CACHE_CONTROL);
        answer
    }

    async fn blob(&self, asker: &Asker, digest: &Digest, conditions: &Conditions) -> Answer {
        match self.fills.find(digest, &asker.repository.upstream) {
            Some(fill) => {
                let size = match timeout(HEADERS_WAIT, fill.answered()).await {
                    Ok(Ok(size)) => size,
                    Ok(Err(_)) => return plain(StatusCode::NOT_FOUND),
                    Err(_) => return plain(StatusCode::ACCEPTED),
                };
                let content = Content::of_digest(digest, OCTET_STREAM, Freshness::of_arriving(CacheStatus::Join));
                let body = |start, end| Body::followed(fill.follow(start, end));
                let mut answer = content.selected(size, conditions, body);
                mark(&mut answer, fill.is_proven_for(&asker.repository, asker.link_epoch));
                answer
            }
            None => {
                let is_proven = self.link_of(asker, digest).is_some();
                self.stored(asker, digest, OCTET_STREAM, is_proven, conditions).await
            }
        }
    }

    /// A manifest is given when all of it is here, and told the type of to those whose right to it is on record.
    async fn manifest(&self, asker: &Asker, digest: &Digest, conditions: &Conditions) -> Answer {
        if timeout(HEADERS_WAIT, self.fills.wait_for_manifest(digest, &asker.repository.upstream)).await.is_err() {
            return plain(StatusCode::ACCEPTED);
        }
        let link = self.link_of(asker, digest).filter(|link| !link.media_type.is_empty());
        let media_type = link.and_then(|link| HeaderValue::try_from(&link.media_type).ok());
        let is_proven = media_type.is_some();
        self.stored(asker, digest, media_type.unwrap_or(OCTET_STREAM), is_proven, conditions).await
    }

    /// Gives stored content to a node whose right to it is on record here, or that can prove it at the upstream that this node
    /// had the content from. For content from elsewhere that upstream's word is worth nothing: the other node fetches it.
    async fn stored(
        &self,
        asker: &Asker,
        digest: &Digest,
        media_type: HeaderValue,
        is_proven: bool,
        conditions: &Conditions,
    ) -> Answer {
        if !is_proven && !self.fills.has_fetched(digest, &asker.repository.upstream) {
            return plain(StatusCode::NOT_FOUND);
        }
        match self.store.open(digest).await {
            Ok(Some(blob)) => {
                let freshness = Freshness::of_stored(CacheStatus::Hit);
                let content = Content::of_stored(&blob, media_type, freshness);
                let mut answer = content.stored(&blob, conditions, Metrics::no_client());
                mark(&mut answer, is_proven);
                answer
            }
            Ok(None) => plain(StatusCode::NOT_FOUND),
            Err(error) => {
                warn!(blob.digest = %digest, %error, "content could not be opened for another node");
                plain(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// The asker's right, if it is on record as of the epoch that it knows.
    fn link_of(&self, asker: &Asker, digest: &Digest) -> Option<Arc<Link>> {
        let policy = self.policy.current();
        let group = policy.group_by_id(&asker.repository.group)?;
        if group.link_epoch < asker.link_epoch {
            return None;
        }
        self.links.remembered(&asker.repository, digest)
    }
}

fn asked_for(path: &str) -> Option<(ContentKind, Digest)> {
    let (kind, digest) = path.strip_prefix('/')?.split_once('/')?;
    let kind = match kind {
        "fills" => ContentKind::Blob,
        "manifests" => ContentKind::Manifest,
        _ => return None,
    };
    Some((kind, digest.parse().ok()?))
}

fn mark(answer: &mut Answer, is_proven: bool) {
    answer.headers_mut().insert(PROVEN, HeaderValue::from_static(if is_proven { "yes" } else { "no" }));
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::default());
    *answer.status_mut() = status;
    answer
}
