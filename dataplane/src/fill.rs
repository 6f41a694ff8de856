//! One download per blob, shared by everybody who may have it; in a cluster one fetch per manifest, too.
//!
//! A fill belongs to no request: an owner task streams upstream → hash → staged file; every requester, the first one too,
//! follows the staged file from whatever offset it likes at its own pace. The last byte is released only after the digest is
//! right. A fill that fails leaves nothing behind, and its followers' bodies end in an error. A fill is one digest *from one
//! upstream*: what another upstream answers to a HEAD says nothing of a right to these bytes, so whoever can only ask there
//! downloads them there. [`crate::pull`] decides who may join; the fill only remembers the targets that proved a right.

mod follower;
mod lease;
mod manifest;
mod owner;
pub mod peer_client;
mod places;
mod progress;
mod source;
mod writer;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use quick_cache::sync::Cache;
use roadstead_proto::{Digest, UpstreamHost};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::follower::Follower;
pub use self::lease::Cluster;
pub use self::manifest::ManifestFill;
pub use self::progress::Progress;

use self::{
    places::{Limits, Places},
    progress::Phase,
};
use crate::{
    control::{GroupId, Links, RepositoryRef},
    links::recorder::LinkRecorder,
    metrics::Metrics,
    storage::{BlobStore, StagedFile, StorageError},
    upstream::{Target, UpstreamClient, UpstreamError},
};

/// Number of contents that are remembered as fetched here. A node is sent to this one for as long as a lease lives, some
/// seconds.
const MAX_FETCHED: usize = 4096;

/// The reason for which a fill failed.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Upstream refused, or broke off more often than we resume.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The staged file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The upstream body ended, but was not the blob we asked for.
    #[error("blob {want} from {upstream}: got {got} after {read_bytes} bytes")]
    DigestMismatch {
        /// The requested size.
        want: Digest,
        /// The received digest.
        got: Digest,
        /// From where.
        upstream: UpstreamHost,
        /// The received part.
        read_bytes: u64,
    },
    /// The upstream body is not as long as it was said to be.
    #[error("blob {want} from {upstream}: {total_bytes} bytes were announced, {read_bytes} came")]
    WrongLength {
        /// The requested size.
        want: Digest,
        /// From where.
        upstream: UpstreamHost,
        /// The length announced first.
        total_bytes: u64,
        /// The received size, or a later announced one.
        read_bytes: u64,
    },
    /// It has been cached since the requester looked: to be looked for again.
    #[error("the blob is cached already")]
    AlreadyCached,
    /// Too many downloads are under way.
    #[error("this node downloads as many blobs as it can, or as many for this group or from this upstream; try again")]
    Busy,
    /// It held a place that others waited for, and brought next to nothing.
    #[error("the download was ended: it was too slow, or nobody followed it, while others waited for its place")]
    GivenUp,
    /// The node is shutting down, or the owner task was lost.
    #[error("the download was aborted")]
    Aborted,
}

impl FillError {
    /// A stable word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Upstream(error) => error.kind(),
            Self::Storage(StorageError::Full) => "disk_full",
            Self::Storage(_) => "storage",
            Self::DigestMismatch { .. } => "digest_mismatch",
            Self::WrongLength { .. } => "wrong_length",
            Self::AlreadyCached => "already_cached",
            Self::Busy => "busy",
            Self::GivenUp => "given_up",
            Self::Aborted => "aborted",
        }
    }
}

/// Which download it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FillKey {
    digest: Digest,
    upstream: UpstreamHost,
    /// The only repository that it is for: one whose right nothing but a whole download proves. `None` for all that prove theirs.
    only_for: Option<RepositoryRef>,
}

/// A download under way.
pub struct Fill {
    key: FillKey,
    digest: Digest,
    /// The group whose pull started it.
    started_by: GroupId,
    progress: watch::Sender<Progress>,
    /// None before upstream has answered.
    staged: Mutex<Option<Arc<StagedFile>>>,
    proven: Mutex<Proven>,
    /// Its owner task is done with everything.
    ended: CancellationToken,
}

/// The targets that have, or may have, a right to the blob.
struct Proven {
    /// The one whose credentials are in use comes first; all others have proven their right. Never empty.
    members: Vec<Member>,
    /// The targets whose credentials failed, with the reason; others may still get the blob.
    refused: Vec<(Target, Arc<FillError>)>,
    /// The number of targets, from the first, whose link is recorded.
    recorded: usize,
    /// No more links will be recorded.
    closed: bool,
}

/// One of those.
#[derive(Clone)]
struct Member {
    target: Target,
    /// The size that upstream named to it: it is proof only of a blob of that size. `None` for the one that started the fill, whose
    /// proof is the download itself.
    proven_size: Option<u64>,
}

impl Member {
    /// True if its proof is of a blob of this size.
    fn fits(&self, size: Option<u64>) -> bool {
        self.proven_size.is_none() || self.proven_size == size
    }
}

impl Fill {
    fn new(key: FillKey, first: Target) -> Arc<Self> {
        let (digest, started_by) = (key.digest, first.group.clone());
        let members = vec![Member { target: first, proven_size: None }];
        Arc::new(Self {
            key,
            digest,
            started_by,
            progress: watch::Sender::new(Progress::default()),
            staged: Mutex::default(),
            proven: Mutex::new(Proven { members, refused: Vec::new(), recorded: 0, closed: false }),
            ended: CancellationToken::new(),
        })
    }

    /// Waits until upstream has answered, and tells the blob's size where upstream did. A short body waits for the digest. If `target`'s own credentials do not do, that is its answer,
    /// whoever else gets the blob.
    pub async fn headers(&self, target: &Target) -> Result<Option<u64>, Arc<FillError>> {
        let mut progress = self.progress.subscribe();
        let answered = progress.wait_for(|progress| progress.has_headers() || self.refusal(target).is_some()).await;
        let (phase, total) = match answered {
            Ok(progress) => (progress.phase.clone(), progress.total),
            Err(_) => return Err(Arc::new(FillError::Aborted)),
        };
        match (self.refusal(target), phase) {
            (Some(error), _) | (None, Phase::Failed(error)) => Err(error),
            _ => Ok(total),
        }
    }

    /// Waits until the source has answered; for whoever follows from another node.
    pub async fn answered(&self) -> Result<Option<u64>, Arc<FillError>> {
        let mut progress = self.progress.subscribe();
        let (phase, total) = match progress.wait_for(Progress::has_headers).await {
            Ok(progress) => (progress.phase.clone(), progress.total),
            Err(_) => return Err(Arc::new(FillError::Aborted)),
        };
        match phase {
            Phase::Failed(error) => Err(error),
            _ => Ok(total),
        }
    }

    /// Checks whether that repository's right has been proven, after this has [`Self::answered`], at that link epoch or
    /// later.
    pub fn is_proven_for(&self, repository: &RepositoryRef, link_epoch: i64) -> bool {
        let size = self.progress.borrow().total;
        let is_for = |target: &Target| target.repository_ref() == *repository && target.link_epoch >= link_epoch;
        self.proven().members.iter().any(|member| is_for(&member.target) && member.fits(size))
    }

    /// True if a pull of that group started it.
    pub fn was_started_by(&self, group: &GroupId) -> bool {
        self.started_by == *group
    }

    /// Returns the reason for which `target`'s credentials failed, if they did.
    fn refusal(&self, target: &Target) -> Option<Arc<FillError>> {
        let proven = self.proven();
        let (_, error) = proven.refused.iter().find(|(refused, _)| refused.same_source(target))?;
        Some(Arc::clone(error))
    }

    /// Follows `start..end` from here on; `end` is `u64::MAX` for the end of the blob, wherever that will be.
    pub fn follow(self: &Arc<Self>, start: u64, end: u64) -> Follower {
        Follower::new(Arc::clone(self), start, end)
    }

    fn staged(&self) -> Option<Arc<StagedFile>> {
        self.staged.lock().clone()
    }

    /// Returns whether anybody follows it, or waits for it to begin.
    fn is_followed(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// Checks whether `target` has proven its right, and its group has lost no link since: a proof from before a purge does
    /// not serve purged content.
    fn is_proven(&self, target: &Target) -> bool {
        let size = self.progress.borrow().total;
        self.proven().members.iter().any(|member| member.target.covers(target) && member.fits(size))
    }

    /// Adds one that has proven its right to a blob of that size at the upstream that the fill is from; its credentials take over
    /// if the ones in use fail. False if the fill has already recorded its links: then the caller records its own.
    pub fn add_proven(&self, target: Target, size: u64) -> bool {
        let mut proven = self.proven();
        if !proven.closed && !proven.members.iter().any(|there| there.target.covers(&target)) {
            proven.refused.retain(|(refused, _)| !refused.same_source(&target));
            proven.members.push(Member { target, proven_size: Some(size) });
        }
        !proven.closed
    }

    fn proven(&self) -> MutexGuard<'_, Proven> {
        self.proven.lock()
    }
}

/// The result of [`Fills::running`].
pub enum Running {
    /// A fill that the target has a right to already.
    Proven(Arc<Fill>),
    /// A fill that the target may join once it has proven its right.
    Foreign(Arc<Fill>),
}

/// Returns the number of fetches of each manifest, by its upstream.
type ManifestFetches = HashMap<(Digest, UpstreamHost), watch::Sender<usize>>;

/// The downloads under way on this node.
pub struct Fills {
    running: Mutex<HashMap<FillKey, Arc<Fill>>>,
    manifests: Mutex<ManifestFetches>,
    /// The content that was fetched here lately, with its upstream: other nodes may have it from this one with a proof of
    /// that upstream.
    fetched: Cache<(Digest, UpstreamHost), ()>,
    places: Arc<Places>,
    store: Arc<dyn BlobStore>,
    upstream: Arc<UpstreamClient>,
    links: Arc<Links>,
    recorder: Arc<LinkRecorder>,
    metrics: Arc<Metrics>,
    /// `None` for a node that meets no others.
    cluster: Option<Arc<Cluster>>,
}

impl Fills {
    /// No downloads yet.
    pub fn new(
        store: Arc<dyn BlobStore>,
        upstream: Arc<UpstreamClient>,
        links: Arc<Links>,
        recorder: Arc<LinkRecorder>,
        metrics: Arc<Metrics>,
        cluster: Option<Arc<Cluster>>,
    ) -> Arc<Self> {
        let (running, manifests, fetched) = (Mutex::default(), Mutex::default(), Cache::new(MAX_FETCHED));
        let places = Places::new(Limits::default());
        Arc::new(Self { running, manifests, fetched, places, store, upstream, links, recorder, metrics, cluster })
    }

    /// The fill of `digest` from `upstream`, whoever it is for: for other nodes, which have a ticket.
    pub fn find(&self, digest: &Digest, upstream: &UpstreamHost) -> Option<Arc<Fill>> {
        self.table().get(&FillKey { digest: *digest, upstream: upstream.clone(), only_for: None }).cloned()
    }

    /// True if this node fetched `digest` from `upstream` lately.
    pub fn has_fetched(&self, digest: &Digest, upstream: &UpstreamHost) -> bool {
        self.fetched.get(&(*digest, upstream.clone())).is_some()
    }

    fn note_fetched(&self, digest: Digest, upstream: UpstreamHost) {
        self.fetched.insert((digest, upstream), ());
    }

    /// The fill of `digest` from the target's upstream, if there is one: its own first.
    pub fn running(&self, digest: &Digest, target: &Target) -> Option<Running> {
        let (own, shared) = (own_key(*digest, target), shared_key(*digest, target));
        let table = self.table();
        if let Some(fill) = table.get(&own) {
            return Some(Running::Proven(Arc::clone(fill)));
        }
        let fill = table.get(&shared).cloned()?;
        drop(table);
        Some(if fill.is_proven(target) { Running::Proven(fill) } else { Running::Foreign(fill) })
    }

    /// Starts a fill with `target`'s credentials, which others may join. If another was faster, that one is returned: with `Ok` if
    /// it was started here, `Err` if it was there.
    pub fn start(self: &Arc<Self>, digest: Digest, target: Target) -> Result<Arc<Fill>, Arc<Fill>> {
        self.begin(shared_key(digest, &target), target)
    }

    /// Does the same for this repository alone, whose right nothing but the download proves.
    pub fn start_alone(self: &Arc<Self>, digest: Digest, target: Target) -> Arc<Fill> {
        self.begin(own_key(digest, &target), target).unwrap_or_else(|there| there)
    }

    fn begin(self: &Arc<Self>, key: FillKey, target: Target) -> Result<Arc<Fill>, Arc<Fill>> {
        let fill = match self.table().entry(key.clone()) {
            Entry::Occupied(there) => return Err(Arc::clone(there.get())),
            Entry::Vacant(free) => Arc::clone(free.insert(Fill::new(key, target))),
        };
        self.metrics.fills.inc();
        tokio::spawn(owner::Owner::new(Arc::clone(self), Arc::clone(&fill)).run());
        Ok(fill)
    }

    fn ended(&self, fill: &Fill, outcome: &'static str) {
        self.table().remove(&fill.key);
        fill.ended.cancel();
        self.metrics.fills.dec();
        self.metrics.fill_ended(outcome);
    }

    /// Waits until the fills under way have ended, at most `limit`: what a stop cuts off is fetched again later.
    pub async fn drain(&self, limit: Duration) {
        let all_ended = async {
            loop {
                let Some(fill) = self.table().values().next().cloned() else { return };
                fill.ended.cancelled().await;
            }
        };
        if tokio::time::timeout(limit, all_ended).await.is_err() {
            tracing::warn!("downloads under way were cut off; they start anew when asked for");
        }
    }

    /// Waits until the blob is not arriving for `target` any more: a fill that has just succeeded is committed and recorded then.
    pub async fn wait_until_ended(&self, digest: &Digest, target: &Target) {
        let running = self.running(digest, target);
        if let Some(Running::Proven(fill) | Running::Foreign(fill)) = running {
            fill.ended.cancelled().await;
        }
    }

    /// Checks whether the blob is just arriving, from wherever.
    pub fn is_running(&self, digest: &Digest) -> bool {
        self.table().keys().any(|key| key.digest == *digest)
    }

    fn manifests(&self) -> MutexGuard<'_, ManifestFetches> {
        self.manifests.lock()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<FillKey, Arc<Fill>>> {
        self.running.lock()
    }
}

fn shared_key(digest: Digest, target: &Target) -> FillKey {
    FillKey { digest, upstream: target.host().clone(), only_for: None }
}

fn own_key(digest: Digest, target: &Target) -> FillKey {
    FillKey { only_for: Some(target.repository_ref()), ..shared_key(digest, target) }
}
