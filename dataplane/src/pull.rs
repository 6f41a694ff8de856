//! The flows: what happens to a pull that is permitted. Each takes [`Permitted`], which only authorization makes.

mod accept;
mod blob;
mod fetch;
mod link;
mod manifest;
mod outage;
mod prefetch;
mod references;
mod referrers;
mod tag;
mod tags;

pub use self::prefetch::Reached;

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Response, StatusCode, header};
use roadstead_proto::{Digest, Reference, Tag, UpstreamHost};
use tracing::{Instrument, debug_span};

use crate::{
    access::{
        Read,
        authorize::{Granted, Permitted},
    },
    control::{self, Behind, ContentKind, ControlClient, ControlError, Credential, GroupId, Link, RepositoryRef},
    fill::Fills,
    maintenance::{DamageLog, Keeper},
    metrics::{BodyBytes, Metrics},
    respond::{API_VERSION, Answer, Body, CacheStatus, Code, Content, Freshness, OciError},
    route::Resource,
    singleflight::{FlightLost, Flights},
    storage::{BlobStore, StorageError, StoredBlob},
    upstream::{Target, UpstreamClient},
};

/// What asking the control plane for a group's credentials came to.
type CredentialResult = Result<Option<Arc<Credential>>, Arc<ControlError>>;

/// What the flows work with.
pub struct Puller {
    control: Arc<ControlClient>,
    upstream: Arc<UpstreamClient>,
    store: Arc<dyn BlobStore>,
    fills: Arc<Fills>,
    keeper: Arc<Keeper>,
    damage: Arc<DamageLog>,
    metrics: Arc<Metrics>,
    revalidate_timeout: Duration,
    // Who shares an answer began at the same link epoch: what was asked before a purge is nobody's answer after it.
    tag_checks: Flights<(RepositoryRef, Tag, i64), tag::Checked>,
    manifest_fetches: Flights<(RepositoryRef, Reference, i64), fetch::FetchResult>,
    credentials: Flights<(GroupId, UpstreamHost), CredentialResult>,
    links: Flights<(RepositoryRef, Digest, i64), link::LinkResult>,
    proofs: Flights<(RepositoryRef, Digest, ContentKind, i64), link::ProofResult>,
}

/// What [`Puller`] is made of.
pub struct Parts {
    /// The control plane.
    pub control: Arc<ControlClient>,
    /// The registries.
    pub upstream: Arc<UpstreamClient>,
    /// The blob store.
    pub store: Arc<dyn BlobStore>,
    /// Downloads under way.
    pub fills: Arc<Fills>,
    /// Who records links to what is stored.
    pub keeper: Arc<Keeper>,
    /// Where damage goes.
    pub damage: Arc<DamageLog>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How long a cached tag waits for upstream's word.
    pub revalidate_timeout: Duration,
}

/// What is wanted, by whom, and what links, tags and counts of it are kept under.
struct Wanted {
    permitted: Permitted,
    repository: RepositoryRef,
    /// Nobody pulls: it is the control plane that wants it here.
    is_errand: bool,
}

/// One pull on its way through a flow.
struct Pull {
    wanted: Wanted,
    /// Where upstream's side of it is asked, with the group's own credentials.
    target: Target,
}

impl Puller {
    /// Makes the flows.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { control, upstream, store, fills, keeper, damage, metrics, revalidate_timeout } = parts;
        Arc::new(Self {
            control,
            upstream,
            store,
            fills,
            keeper,
            damage,
            metrics,
            revalidate_timeout,
            tag_checks: Flights::default(),
            manifest_fetches: Flights::default(),
            credentials: Flights::default(),
            links: Flights::default(),
            proofs: Flights::default(),
        })
    }

    /// Answers without waiting for anything, if it can: what is asked for by digest, linked and open already, which
    /// is most of what a node is asked for. Hands the request back otherwise.
    pub fn answer_at_once(&self, granted: Granted) -> Result<Answer, Granted> {
        let permitted = match granted {
            Granted::Ping => return Ok(pong()),
            Granted::Pull(permitted) => permitted,
        };
        let (digest, is_manifest) = match &permitted.resource {
            Resource::Blob(digest) => (*digest, false),
            Resource::Manifest(Reference::Digest(digest)) => (*digest, true),
            _ => return Err(Granted::Pull(permitted)),
        };
        if self.control.is_in_doubt() || (!is_manifest && self.store.redirects()) {
            return Err(Granted::Pull(permitted));
        }
        let Some(blob) = self.store.opened(&digest) else { return Err(Granted::Pull(permitted)) };
        let wanted = Wanted::new(*permitted);
        let link = self.control.remembered_link(&wanted.repository, &digest);
        let usable = |link: &Arc<Link>| link.size_bytes == blob.size && !(is_manifest && link.media_type.is_empty());
        let Some(link) = link.filter(usable) else { return Err(Granted::Pull(Box::new(wanted.permitted))) };
        let media_type = if is_manifest { link::media_type_header(&link.media_type) } else { link::OCTET_STREAM };
        let freshness = Freshness::of_stored(CacheStatus::Hit, &blob);
        Ok(self.serve(&wanted, &digest, &blob, media_type, freshness))
    }

    /// Answers one permitted request.
    pub async fn answer(self: Arc<Self>, granted: Granted) -> Result<Answer, OciError> {
        let wanted = match granted {
            Granted::Ping => return Ok(pong()),
            Granted::Pull(permitted) => Wanted::new(*permitted),
        };
        let route = wanted.route();
        // For errands; requests have come through a layer that does this before they are judged.
        self.control.settle().await?;
        let target = match self.target(&wanted.permitted).await? {
            Ok(target) => target,
            Err(error) => return self.counted(route, self.without_control(&wanted, &error).await),
        };
        let pull = Pull { wanted, target };
        let answered = match pull.wanted.permitted.resource.clone() {
            Resource::Manifest(Reference::Digest(digest)) => self.manifest_by_digest(&pull, digest).await,
            Resource::Manifest(Reference::Tag(tag)) => self.manifest_by_tag(&pull, tag).await,
            Resource::Blob(digest) => self.blob(&pull, digest).await,
            Resource::Tags(page) => self.tags(&pull, &page).await,
            Resource::Referrers { subject, artifact_type } => self.referrers(&pull, subject, artifact_type).await,
        };
        self.counted(route, answered)
    }

    fn counted(&self, route: &'static str, answered: Result<Answer, OciError>) -> Result<Answer, OciError> {
        if let Err(error) = &answered
            && error.status.is_server_error()
        {
            self.metrics.failed(route);
        }
        answered
    }

    /// The upstream's side of a pull, with the group's own credentials.
    async fn target(&self, permitted: &Permitted) -> Result<Result<Target, Arc<ControlError>>, FlightLost> {
        let (group, upstream) = (&permitted.group, &permitted.upstream);
        let credential = match self.control.remembered_credential(&group.id, &upstream.host) {
            Some(credential) => credential,
            None => {
                let (control, place) = (Arc::clone(&self.control), (group.id.clone(), upstream.host.clone()));
                let key = place.clone();
                let ask = move || async move { control.credential(&place.0, &place.1).await.map_err(Arc::new) };
                let (credential, _role) = self.credentials.run(key, ask).await?;
                match credential {
                    Ok(credential) => credential,
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let repository = permitted.repository.clone();
        // As of now: the group may have been looked up before links were removed.
        let link_epoch = self.control.policy().group_by_id(&group.id).map_or(group.link_epoch, |now| now.link_epoch);
        Ok(Ok(Target { group: group.id.clone(), upstream: Arc::clone(upstream), repository, credential, link_epoch }))
    }

    /// Answers with a stored blob or manifest and notes that it was pulled.
    fn serve(
        &self,
        wanted: &Wanted,
        digest: &Digest,
        blob: &Arc<StoredBlob>,
        media_type: HeaderValue,
        freshness: Freshness,
    ) -> Answer {
        self.count(wanted, digest, freshness.status);
        let content = Content::of_stored(blob, media_type, freshness);
        if wanted.permitted.read == Read::Head {
            return content.described(blob.size);
        }
        content.stored(blob, &wanted.conditions(), self.counter(wanted))
    }

    /// The same for a blob, which clients may be sent to the object store for.
    async fn serve_blob(
        &self,
        wanted: &Wanted,
        digest: &Digest,
        blob: &Arc<StoredBlob>,
        status: CacheStatus,
    ) -> Answer {
        if self.store.redirects() && wanted.permitted.read == Read::Get && !wanted.is_errand {
            match self.store.redirect(digest).await {
                Ok(Some(url)) => {
                    if let Some(answer) = Content::redirected(digest, &url, status) {
                        self.count(wanted, digest, status);
                        return answer;
                    }
                }
                Ok(None) => {}
                // What this node has is as good.
                Err(error) => tracing::warn!(blob.digest = %digest, %error, "no URL for a blob; served from here"),
            }
        }
        self.serve(wanted, digest, blob, link::OCTET_STREAM, Freshness::of_stored(status, blob))
    }

    /// Counts the bytes of a body, if they go to a client.
    fn counter(&self, wanted: &Wanted) -> BodyBytes {
        if wanted.is_errand { Metrics::no_client() } else { self.metrics.client_bytes() }
    }

    /// Counts an answer with content; only GETs are pulls.
    fn count(&self, wanted: &Wanted, digest: &Digest, status: CacheStatus) {
        if wanted.is_errand {
            return;
        }
        self.metrics.served(wanted.route(), status);
        if wanted.permitted.read == Read::Get {
            let outcome = if status.is_served_from_cache() { control::Pull::Hit } else { control::Pull::Miss };
            self.control.record_usage(&wanted.repository, digest, outcome);
        }
    }

    /// Opens a stored blob; a store that fails is an error, not a miss.
    async fn open(&self, digest: &Digest) -> Result<Option<Arc<StoredBlob>>, OciError> {
        let span = debug_span!("store", operation = "open", blob.digest = %digest);
        self.store.open(digest).instrument(span).await.map_err(|error| storage_failed(&error))
    }
}

impl Wanted {
    fn new(permitted: Permitted) -> Self {
        let repository = RepositoryRef {
            group: permitted.group.id.clone(),
            upstream: permitted.upstream.host.clone(),
            repository: permitted.repository.clone(),
        };
        Self { permitted, repository, is_errand: false }
    }

    fn route(&self) -> &'static str {
        match self.permitted.resource {
            Resource::Manifest(_) => "manifest",
            Resource::Blob(_) => "blob",
            Resource::Tags(_) => "tags",
            Resource::Referrers { .. } => "referrers",
        }
    }

    /// A frozen group is served from what is here; by tag the control plane says so itself.
    fn may_ask_upstream(&self) -> Result<(), OciError> {
        let group = &self.permitted.group;
        if !group.frozen {
            return Ok(());
        }
        let message = format!("group {} is frozen: only what is cached can be pulled, and this is not", group.path);
        Err(OciError::new(StatusCode::FORBIDDEN, Code::Denied, message))
    }

    fn accept(&self) -> accept::ClientAccept {
        accept::ClientAccept::of(&self.permitted.head.headers)
    }

    fn conditions(&self) -> crate::respond::Conditions {
        crate::respond::Conditions::of(&self.permitted.head.headers)
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

impl From<Behind> for OciError {
    fn from(behind: Behind) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, behind.to_string()).with_retry_after(Some(1))
    }
}

impl From<FlightLost> for OciError {
    fn from(error: FlightLost) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string())
    }
}
