//! The flows: what happens to a pull that is permitted. Each takes [`Permitted`], which only authorization makes.

mod accept;
mod blob;
mod fetch;
mod listings;
mod manifest;
mod outage;
mod prefetch;
mod references;
mod referrers;
mod request;
mod rights;
mod stored;
mod tag;
mod tags;
mod tags_cursor;

pub use self::prefetch::{Prefetcher, Reached};

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Response, StatusCode, header};
use roadstead_proto::Reference;

use self::{
    blob::Blobs,
    fetch::{FetchTools, ManifestFetcher},
    listings::Listings,
    manifest::Manifests,
    outage::Outage,
    referrers::Referrers,
    request::{Pull, Wanted},
    rights::Rights,
    stored::Stored,
    tag::TagFlow,
    tags::TagLists,
};
use crate::{
    access::authorize::Granted,
    control::{Control, ControlError, Link, OutOfSync},
    fill::Fills,
    links::{corruption_log::CorruptionLog, recorder::LinkRecorder},
    metrics::Metrics,
    respond::{API_VERSION, Answer, Body, CacheStatus, Code, Freshness, OciError},
    route::Resource,
    singleflight::SharedWorkLost,
    storage::{BlobStore, StorageError},
    upstream::UpstreamClient,
};

/// Leads each permitted request to its flow.
pub struct Puller {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    tags: Arc<TagFlow>,
    tag_lists: TagLists,
    referrers: Referrers,
    manifests: Arc<Manifests>,
    blobs: Arc<Blobs>,
    outage: Arc<Outage>,
}

/// The dependencies of [`Puller`].
pub struct Parts {
    /// The control plane.
    pub control: Arc<Control>,
    /// The registries.
    pub upstream: Arc<UpstreamClient>,
    /// The blob store.
    pub store: Arc<dyn BlobStore>,
    /// Downloads under way.
    pub fills: Arc<Fills>,
    /// Records links to what is stored.
    pub recorder: Arc<LinkRecorder>,
    /// Takes reports of corrupt content.
    pub corruption: Arc<CorruptionLog>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Longest wait of a cached tag for upstream.
    pub revalidate_timeout: Duration,
}

impl Puller {
    /// Makes the flows.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { control, upstream, store, fills, recorder, corruption, metrics, revalidate_timeout } = parts;
        let rights = Rights::new(Arc::clone(&control), Arc::clone(&upstream), Arc::clone(&recorder));
        let stored = Stored::new(Arc::clone(&control.usage), Arc::clone(&store), corruption, Arc::clone(&metrics));
        let outage = Arc::new(Outage {
            links: Arc::clone(&control.links),
            tags: Arc::clone(&control.tags),
            stored: Arc::clone(&stored),
        });
        let tools = FetchTools {
            upstream: Arc::clone(&upstream),
            links: Arc::clone(&control.links),
            store,
            recorder,
            fills: Arc::clone(&fills),
        };
        let manifests = Arc::new(Manifests {
            rights: Arc::clone(&rights),
            stored: Arc::clone(&stored),
            fetcher: ManifestFetcher::new(tools),
        });
        let tags = Arc::new(TagFlow::new(
            Arc::clone(&control.tags),
            Arc::clone(&upstream),
            Arc::clone(&manifests),
            Arc::clone(&outage),
            revalidate_timeout,
        ));
        let blobs = Arc::new(Blobs { rights, stored, fills });
        let listings = Arc::new(Listings::new());
        let referrers = Referrers { upstream: Arc::clone(&upstream), listings: Arc::clone(&listings) };
        let tag_lists = TagLists { upstream, known: Arc::clone(&control.tags), listings };
        Arc::new(Self { control, metrics, tags, tag_lists, referrers, manifests, blobs, outage })
    }

    /// The flow that fetches images ahead of pulls.
    pub fn prefetcher(&self) -> Prefetcher {
        Prefetcher {
            policy: Arc::clone(&self.control.policy),
            conditions: Arc::clone(&self.control.conditions),
            tags: Arc::clone(&self.tags),
            manifests: Arc::clone(&self.manifests),
            blobs: Arc::clone(&self.blobs),
        }
    }

    /// Answers without waiting for anything, if it can: what is asked for by digest, linked and open already, which
    /// is most of what a node is asked for. Hands the request back otherwise.
    pub fn answer_at_once(&self, granted: Granted) -> Result<Answer, Granted> {
        let permitted = match granted {
            Granted::Ping => return Ok(pong()),
            Granted::Pull(permitted) => permitted,
        };
        let wanted = Wanted::new(*permitted);
        let back = |wanted: Wanted| Err(Granted::Pull(Box::new(wanted.permitted)));
        let Some((digest, is_manifest)) = wanted.digest().filter(|_| !self.control.sync.may_be_stale()) else {
            return back(wanted);
        };
        let Some(blob) = self.blobs.stored.opened(&digest, is_manifest) else { return back(wanted) };
        let link = self.control.links.remembered(&wanted.repository, &digest);
        let usable = |link: &Arc<Link>| link.size_bytes == blob.size && !(is_manifest && link.media_type.is_empty());
        let Some(link) = link.filter(usable) else { return back(wanted) };
        let media_type = if is_manifest { rights::media_type_header(&link.media_type) } else { rights::OCTET_STREAM };
        let freshness = Freshness::of_stored(CacheStatus::Hit);
        Ok(self.blobs.stored.serve(&wanted, &digest, &blob, media_type, freshness))
    }

    /// True for a pull of content that is linked here already: it waits for the store and for nobody else.
    pub fn is_warm(&self, granted: &Granted) -> bool {
        let Granted::Pull(permitted) = granted else { return true };
        let digest = match &permitted.resource {
            Resource::Manifest(Reference::Digest(digest)) | Resource::Blob(digest) => digest,
            _ => return false,
        };
        self.control.links.remembered(&permitted.repository_ref(), digest).is_some()
    }

    /// Answers one permitted request.
    pub async fn answer(self: Arc<Self>, granted: Granted) -> Result<Answer, OciError> {
        let wanted = match granted {
            Granted::Ping => return Ok(pong()),
            Granted::Pull(permitted) => Wanted::new(*permitted),
        };
        let route = wanted.route();
        let answered = self.dispatch(wanted).await;
        if let Err(error) = &answered
            && error.status.is_server_error()
        {
            self.metrics.failed(route);
        }
        answered
    }

    async fn dispatch(&self, wanted: Wanted) -> Result<Answer, OciError> {
        // What this node remembers may have come to be stale since the request was judged.
        self.control.sync.ensure_synced().await?;
        let target = match self.blobs.rights.target(&wanted.permitted).await? {
            Ok(target) => target,
            Err(error) => return self.outage.answer(&wanted, &error).await,
        };
        let pull = Pull { wanted, target };
        match pull.wanted.permitted.resource.clone() {
            Resource::Manifest(Reference::Digest(digest)) => self.manifests.by_digest(&pull, digest).await,
            Resource::Manifest(Reference::Tag(tag)) => self.tags.answer(&pull, tag).await,
            Resource::Blob(digest) => self.blobs.answer(&pull, digest).await,
            Resource::Tags(page) => self.tag_lists.answer(&pull, &page).await,
            Resource::Referrers { subject, artifact_type } => {
                self.referrers.answer(&pull, subject, artifact_type).await
            }
        }
    }
}

/// `GET /v2/`: signed in, and we speak the protocol.
fn pong() -> Answer {
    let mut answer = Response::new(Body::from("{}".to_owned()));
    let headers = answer.headers_mut();
    headers.insert(API_VERSION.0, API_VERSION.1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("2"));
    answer
}

fn storage_failed(error: &StorageError) -> OciError {
    tracing::error!(%error, "the blob store failed");
    OciError::from_storage(error)
}

fn control_failed(error: &ControlError) -> OciError {
    tracing::warn!(%error, "the control plane could not be asked");
    OciError::from_control(error)
}

impl From<OutOfSync> for OciError {
    fn from(behind: OutOfSync) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, behind.to_string()).with_retry_after(Some(1))
    }
}

impl From<SharedWorkLost> for OciError {
    fn from(error: SharedWorkLost) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string())
    }
}
