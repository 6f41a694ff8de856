//! The task that owns a fill, from the first request to the links.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderValue;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{Instrument, debug_span, info, info_span, warn};

use super::{
    Fill, FillError, Fills, Member, Phase,
    peer_client::Opened,
    places::Place,
    source::{Source, Sources},
    writer::Writer,
};
use crate::{
    backoff::Backoff,
    control::{ContentKind, FollowFill, Link, Proof, ProofKind, Recorded},
    failpoint,
    metrics::FillBytes,
    upstream::{BlobBody, Target, UpstreamError},
};

/// Maximum number of resumptions without a new byte before a download is given up.
const MAX_FRUITLESS_ATTEMPTS: u32 = 5;
/// The first pause between attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Longest wait of a download for a free place: less than clients wait for headers.
const TURN_TIME: Duration = Duration::from_secs(8);
/// Pause between two looks at a download whose place is wanted: less than those wait that want it.
const LOOK: Duration = Duration::from_secs(3);
/// Slower than this, a download does not keep a place that others wait for, in bytes a second: 100 MiB would take two hours.
const SLOWEST: u64 = 16 * 1024;

/// The owner of one fill. If its task is lost at any point, followers see the fill fail and nothing is kept.
pub(super) struct Owner {
    fills: Arc<Fills>,
    fill: Arc<Fill>,
    sources: Sources,
    place: Option<Place>,
    /// The targets that have proven a right which no body from upstream proves, because the bytes come from another node.
    proven: Vec<Target>,
    /// The result of the fill, when it is known.
    outcome: Result<(), FillError>,
}

/// A body that is arriving in a staged file.
struct Arrival {
    writer: Writer,
    total: Option<u64>,
    /// Which version of the content it is, as upstream had it first.
    etag: Option<HeaderValue>,
    received: u64,
    /// When its speed was looked at last, and what had come by then.
    looked_at: Instant,
    received_then: u64,
}

/// The end of one attempt, short of an error of its own.
enum Ended {
    /// All bytes are here, as far as can be told.
    Complete,
    /// The writer has failed and will say how.
    WriterFailed,
    /// Upstream broke off.
    Cut(UpstreamError),
    /// Another node has taken over.
    TakenOver,
    /// All bytes are here, and have to be decoded: they are asked for again.
    Encoded(UpstreamError),
}

impl Owner {
    pub(super) fn new(fills: Arc<Fills>, fill: Arc<Fill>) -> Self {
        // What is for one repository alone is not shared with other nodes either.
        let cluster = fills.cluster.clone().filter(|_| fill.key.only_for.is_none());
        let sources = Sources::new(cluster, Arc::clone(&fills.metrics), fill.digest);
        Self { fills, fill, sources, place: None, proven: Vec::new(), outcome: Err(FillError::Aborted) }
    }

    /// Downloads, verifies, commits, records. Followers may have the last byte once the digest is right; that the
    /// disk has it too, and the control plane knows, is for later pulls.
    pub(super) async fn run(mut self) {
        let span = info_span!("fill", blob.digest = %self.fill.digest, size_bytes = tracing::field::Empty);
        async {
            let fills = Arc::clone(&self.fills);
            let source = self.source();
            self.place = fills.places.take(&source.group, source.host(), TURN_TIME).await;
            let result = if self.place.is_some() { self.arrive().await } else { Err(FillError::Busy) };
            // Whoever waits need not wait for the disk, and the control plane, too.
            self.place = None;
            match result {
                Ok(size) => {
                    tracing::Span::current().record("size_bytes", size);
                    self.fill.progress.send_modify(|progress| progress.phase = Phase::Verified);
                    self.outcome = Ok(());
                    self.keep(size).await;
                    self.sources.done();
                }
                Err(error @ FillError::AlreadyCached) => self.outcome = Err(error),
                Err(error) => {
                    warn!(blob.digest = %self.fill.digest, %error, "fill failed");
                    self.outcome = Err(error);
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Brings the blob into the staged file, whatever it takes within bounds; returns its size.
    async fn arrive(&mut self) -> Result<u64, FillError> {
        if self.is_cached().await? {
            return Err(FillError::AlreadyCached);
        }
        let (mut arrival, mut was_encoded) = (None::<Arrival>, false);
        let (mut fruitless, mut pauses) = (0, Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        loop {
            let before = arrival.as_ref().map_or(0, |arrival| arrival.received);
            let etag = arrival.as_ref().and_then(|arrival| arrival.etag.clone());
            let source = self.source();
            let sources = self.sources.next(&source).await;
            let opened = match &sources {
                Source::Upstream => {
                    self.fills.upstream.resume_blob(&source, &self.fill.digest, before, etag.as_ref()).await.map(Some)
                }
                Source::Peer(follow) => self.open_peer(follow, &source, before).await,
            };
            let is_peer = matches!(sources, Source::Peer(_));
            let error = match opened {
                Ok(None) => continue,
                Ok(Some(body)) => {
                    let current = match arrival.take() {
                        Some(current) => arrival.insert(current),
                        None => {
                            let (etag, is_undecided) = (body.etag.clone(), body.is_undecided);
                            arrival.insert(self.begin(body.total, etag, is_undecided, is_peer).await?)
                        }
                    };
                    let from = if is_peer { FillBytes::Peer } else { FillBytes::Upstream };
                    match self.receive(&source, from, current, body).await? {
                        Ended::Cut(error) if is_peer => {
                            info!(blob.digest = %self.fill.digest, received_bytes = current.received, %error, "the download of another node broke off here; going on");
                            self.sources.broke_off(current.received > before);
                            continue;
                        }
                        Ended::TakenOver => {
                            self.sources.follow_successor();
                            continue;
                        }
                        // Nobody has had anything of it. It is known now, and decoded the next time.
                        Ended::Encoded(error) if !was_encoded => {
                            info!(blob.digest = %self.fill.digest, %error, "fetching it once more, to decode it");
                            was_encoded = true;
                            self.discard(arrival.take()).await;
                            continue;
                        }
                        Ended::Cut(error) | Ended::Encoded(error) => error,
                        Ended::Complete | Ended::WriterFailed => break,
                    }
                }
                Err(error) => error,
            };
            let received = arrival.as_ref().map_or(0, |arrival| arrival.received);
            fruitless += 1;
            if received > before {
                fruitless = 0;
                pauses.reset();
            }
            let is_over = !error.retryable() || fruitless > MAX_FRUITLESS_ATTEMPTS;
            if is_over && arrival.is_some() && error.retryable() && self.sources.hand_over().await {
                fruitless = 0;
                continue;
            }
            // Before the first byte the requester is told at once and may try again itself.
            if arrival.is_none() || is_over {
                if !self.next_source(&source, &error) {
                    return Err(error.into());
                }
                fruitless = 0;
                continue;
            }
            info!(blob.digest = %self.fill.digest, received_bytes = received, %error, "download broke off; resuming");
            sleep(pauses.pause()).await;
        }
        match arrival {
            Some(arrival) => self.verify(arrival).await,
            None => Err(FillError::Aborted),
        }
    }

    /// Opens the blob at another node. `None` if it has nothing, or nothing yet: then the next source is asked for. A right that
    /// that node does not know to be proven is proven upstream first, as for a download that is joined: by a HEAD that names the
    /// size of what the other node has from the same upstream.
    async fn open_peer(
        &mut self,
        follow: &FollowFill,
        source: &Target,
        from: u64,
    ) -> Result<Option<BlobBody>, UpstreamError> {
        let Some(cluster) = &self.fills.cluster else { return Ok(None) };
        let digest = self.fill.digest;
        let (body, is_proven) = match cluster.peers.open(follow, &digest, from, source.host()).await {
            Ok(Opened::Body(body, is_proven)) => (body, is_proven),
            Ok(Opened::NotYet) => {
                self.sources.broke_off(false);
                return Ok(None);
            }
            Err(error) => {
                info!(blob.digest = %digest, node.id = follow.node_id, %error, "the node that fetches this blob was lost");
                self.sources.lose(error.is_out_of_reach());
                return Ok(None);
            }
        };
        if !is_proven && !self.proven.iter().any(|proven| proven.covers(source)) {
            let named = self.fills.upstream.head_blob(source, &digest).await?.and_then(|head| head.size_bytes);
            if named.is_none() || named != body.total {
                // Only a GET tells here.
                self.sources.by_itself();
                return Ok(None);
            }
            self.proven.push(source.clone());
        }
        Ok(Some(body))
    }

    /// Checks whether another fill has ended between the requester's look and this one's start.
    async fn is_cached(&self) -> Result<bool, FillError> {
        let linked = self.fills.links.remembered(&self.source().repository_ref(), &self.fill.digest).is_some();
        Ok(linked && self.fills.store.open(&self.fill.digest).await?.is_some())
    }

    async fn begin(
        &self,
        total: Option<u64>,
        etag: Option<HeaderValue>,
        is_undecided: bool,
        is_peer: bool,
    ) -> Result<Arrival, FillError> {
        let (store, digest) = (&self.fills.store, &self.fill.digest);
        let staged = if is_peer {
            // What another node downloads is taken to a shared store by that node.
            store.stage_copy(total).await?
        } else if is_undecided || store.look(digest).await?.is_some_and(|there| Some(there.size) == total) {
            // Not to be uploaded before it is known to be right; or downloaded for its proof: the bytes from another upstream
            // are there, and stay.
            store.stage(total).await?
        } else {
            store.stage_upload(digest, total).await?
        };
        *self.fill.staged.lock() = Some(Arc::clone(&staged));
        let writer = Writer::start(Arc::clone(&self.fill), staged);
        self.fill.progress.send_modify(|progress| {
            progress.phase = Phase::Arriving;
            progress.total = total;
            progress.is_held = is_undecided;
        });
        Ok(Arrival { writer, total, etag, received: 0, looked_at: Instant::now(), received_then: 0 })
    }

    /// Drops bytes that nobody has had.
    async fn discard(&self, arrival: Option<Arrival>) {
        if let Some(arrival) = arrival {
            // The writer announces what it has written until it has ended.
            drop(arrival.writer.finish().await);
        }
        *self.fill.staged.lock() = None;
        self.fill.progress.send_modify(|progress| progress.written = 0);
    }

    /// Takes one body, which may start before what is already here.
    async fn receive(
        &self,
        source: &Target,
        from: FillBytes,
        arrival: &mut Arrival,
        mut body: BlobBody,
    ) -> Result<Ended, FillError> {
        let wrong_length = |total_bytes, read_bytes| FillError::WrongLength {
            want: self.fill.digest,
            upstream: source.host().clone(),
            total_bytes,
            read_bytes,
        };
        if let (Some(first), Some(now)) = (arrival.total, body.total)
            && first != now
        {
            return Err(wrong_length(first, now));
        }
        let before = arrival.received;
        let mut known = arrival.received.saturating_sub(body.offset);
        let mut taken_over = pin!(self.sources.taken_over());
        // From the last look on, across connections: one that breaks off all the time is looked at like one that drips.
        let mut looks = interval_at(arrival.looked_at + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let piece = tokio::select! {
                piece = body.stream.next() => piece,
                () = &mut taken_over => return Ok(Ended::TakenOver),
                _ = looks.tick() => {
                    let came = arrival.received - std::mem::replace(&mut arrival.received_then, arrival.received);
                    arrival.looked_at = Instant::now();
                    if self.is_to_end(came) {
                        return Err(FillError::GivenUp);
                    }
                    continue;
                }
            };
            let Some(piece) = piece else { break };
            let mut piece: Bytes = match piece {
                Ok(piece) => piece,
                Err(error @ UpstreamError::Encoded { .. }) => return Ok(Ended::Encoded(error)),
                Err(error) => return Ok(Ended::Cut(error)),
            };
            self.fills.metrics.fill_bytes(from, piece.len() as u64);
            let skip = known.min(piece.len() as u64);
            known -= skip;
            let piece = piece.split_off(skip as usize);
            if piece.is_empty() {
                continue;
            }
            arrival.received += piece.len() as u64;
            if let Some(total) = arrival.total
                && arrival.received > total
            {
                return Err(wrong_length(total, arrival.received));
            }
            if arrival.writer.write(piece).await.is_err() {
                return Ok(Ended::WriterFailed);
            }
        }
        match arrival.total {
            Some(total) if arrival.received < total => Ok(Ended::Cut(UpstreamError::cut(source.host().clone()))),
            Some(_) => Ok(Ended::Complete),
            // A body of unknown length may have ended early. One that ends there again does not go on.
            None if arrival.received == before || body.total == Some(arrival.received) => Ok(Ended::Complete),
            None => match arrival.writer.digest_so_far().await {
                Some(digest) if digest != self.fill.digest => Ok(Ended::Cut(UpstreamError::cut(source.host().clone()))),
                _ => Ok(Ended::Complete),
            },
        }
    }

    /// Returns whether others wait for the place of this download, and it is not worth it: nobody follows it, or only so many bytes came
    /// since the last look.
    fn is_to_end(&self, came: u64) -> bool {
        let is_wanted = self.place.as_ref().is_some_and(Place::is_wanted);
        is_wanted && (!self.fill.is_followed() || came < SLOWEST * LOOK.as_secs())
    }

    /// Wrong bytes fail the fill for everybody who follows it: they have had all but the last byte, and what was sent
    /// cannot be taken back. Whoever asks next starts anew, with credentials of its own.
    async fn verify(&self, arrival: Arrival) -> Result<u64, FillError> {
        let (got, read_bytes) = arrival.writer.finish().await?;
        if got == self.fill.digest {
            return Ok(read_bytes);
        }
        let upstream = self.source().host().clone();
        Err(FillError::DigestMismatch { want: self.fill.digest, got, upstream, read_bytes })
    }

    /// The target whose credentials are in use.
    fn source(&self) -> Target {
        self.fill.proven().members[0].target.clone()
    }

    /// Stops using a source that fails; true if somebody else's can take over. Waiters with the failed credentials get the
    /// reason: that others get the blob does not prove their right.
    fn next_source(&self, failed: &Target, error: &UpstreamError) -> bool {
        let mut proven = self.fill.proven();
        if proven.members.len() < 2 {
            return false;
        }
        proven.members.retain(|member| !member.target.same_source(failed));
        proven.refused.push((failed.clone(), Arc::new(FillError::Upstream(error.clone()))));
        drop(proven);
        // Nothing has changed but for those who wait with it.
        self.fill.progress.send_modify(|_| {});
        true
    }

    /// The next target whose link is to be recorded; `None` closes the list.
    fn next_unrecorded(&self) -> Option<Member> {
        let mut proven = self.fill.proven();
        let next = proven.members.get(proven.recorded).cloned();
        match next {
            Some(_) => proven.recorded += 1,
            None => proven.closed = true,
        }
        next
    }

    /// Commits and records links. A failure here costs later pulls another fetch, and has no other effect.
    async fn keep(&self, size: u64) {
        let digest = self.fill.digest;
        let Some(staged) = self.fill.staged() else { return };
        let span = debug_span!("store", operation = "commit", blob.digest = %digest);
        failpoint::reached("fill_staged");
        let blob = match self.fills.store.commit(&staged, &digest, size).instrument(span).await {
            Ok(blob) => blob,
            Err(error) => return warn!(blob.digest = %digest, %error, "a verified blob could not be kept"),
        };
        failpoint::reached("fill_committed");
        let link = Link { digest, kind: ContentKind::Blob, size_bytes: size, media_type: String::new() };
        self.fills.note_fetched(digest, self.fill.key.upstream.clone());
        while let Some(member) = self.next_unrecorded() {
            // Its HEAD was of something else.
            if !member.fits(Some(size)) {
                continue;
            }
            let (at, link_epoch) = (member.target.repository_ref(), member.target.link_epoch);
            // The upstream of all of them sent these bytes, here or to the node that was followed.
            let proof = Proof { kind: ProofKind::Fetched, link_epoch };
            match self.fills.recorder.link_arrived(&at, proof, &link, &blob).await {
                Ok(Recorded::Recorded) => {}
                Ok(Recorded::Outdated | Recorded::Unproven) => {
                    info!(blob.digest = %digest, "the group was purged meanwhile; served, not linked");
                }
                // Its bytes go, or are told of as garbage.
                Ok(Recorded::BeingDeleted) => {
                    info!(blob.digest = %digest, "blob is being collected; served, not cached");
                }
                Err(error) => warn!(blob.digest = %digest, %error, "a link could not be recorded"),
            }
        }
        info!(blob.digest = %digest, size_bytes = size, "blob cached");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        // First off the list, then announced: whoever hears of a failure and asks again starts anew.
        self.fills.ended(&self.fill, outcome.as_ref().map_or_else(FillError::kind, |()| "complete"));
        if let Err(error) = outcome {
            self.fill.progress.send_modify(|progress| progress.phase = Phase::Failed(Arc::new(error)));
        }
    }
}
