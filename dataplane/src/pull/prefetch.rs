//! Prefetching an image: what a pull of it would bring, by the same flows, with nobody waiting for the bytes. A prefetch
//! does not count as a pull, and nothing looks more recently used for it.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use roadstead_proto::{Digest, Reference};

use super::{
    blob::Blobs,
    manifest::Manifests,
    references,
    request::{Pull, Wanted},
    storage_failed,
    tag::TagFlow,
};
use crate::{
    control::{Conditions, ContentKind, JobFailure, Policy, Prefetch, PrefetchProgress, Reference as Referenced},
    respond::{Answer, Code, OciError},
    storage::StorageError,
};

/// Blobs of one image that are fetched at a time, as Docker does it.
const BLOBS_AT_ONCE: usize = 3;
/// Maximum depth of indexes in indexes.
const MAX_DEPTH: usize = 4;

/// The reason for which a prefetch failed.
#[derive(Debug)]
pub struct PrefetchFailed {
    /// The kind of failure.
    pub reason: JobFailure,
    /// For people.
    pub message: String,
}

impl From<OciError> for PrefetchFailed {
    fn from(error: OciError) -> Self {
        let reason = match error.status {
            StatusCode::NOT_FOUND => JobFailure::NotFound,
            StatusCode::TOO_MANY_REQUESTS => JobFailure::Limit,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => JobFailure::Refused,
            _ => JobFailure::Unavailable,
        };
        Self { reason, message: error.message }
    }
}

/// The progress of a prefetch, for whoever reports it.
#[derive(Debug, Default)]
pub struct Reached(Mutex<PrefetchProgress>);

impl Reached {
    /// As it is now.
    pub fn now(&self) -> PrefetchProgress {
        self.0.lock().clone()
    }

    fn update(&self, change: impl FnOnce(&mut PrefetchProgress)) {
        change(&mut self.0.lock());
    }
}

/// Fetches images ahead of pulls, by the flows that pulls take.
pub struct Prefetcher {
    pub policy: Arc<Policy>,
    pub conditions: Arc<Conditions>,
    pub tags: Arc<TagFlow>,
    pub manifests: Arc<Manifests>,
    pub blobs: Arc<Blobs>,
}

impl Prefetcher {
    /// Brings all of an image here. Dropping it starts nothing more; what is arriving arrives.
    pub async fn prefetch(&self, prefetch: &Prefetch, reached: &Reached) -> Result<(), PrefetchFailed> {
        let wanted = Wanted::for_prefetch(&self.policy.current(), prefetch)?;
        let target = self.manifests.rights.target(&wanted.permitted).await.map_err(OciError::from)?;
        let target = target.map_err(|error| super::control_failed(&error))?;
        let pull = Pull { wanted, target };
        let answer = match prefetch.reference.clone() {
            Reference::Tag(tag) => self.tags.answer(&pull, tag).await?,
            Reference::Digest(digest) => self.manifests.by_digest(&pull, digest).await?,
        };
        let first = checked(&answer)?;
        reached.update(|progress| progress.digest = first.to_string());
        let mut blobs = Vec::new();
        let mut seen = HashSet::from([first]);
        let mut manifests = vec![(first, 0, is_fetched(&answer))];
        while let Some((digest, depth, fetched)) = manifests.pop() {
            let listed = self.manifest_here(&digest, fetched, reached).await?;
            let (children, content): (Vec<_>, Vec<_>) =
                listed.into_iter().partition(|reference| reference.kind == ContentKind::Manifest);
            blobs.extend(content.into_iter().filter(|blob| seen.insert(blob.digest)));
            let chosen = chosen(&children, &prefetch.platforms);
            if chosen.is_empty() && !children.is_empty() {
                return Err(PrefetchFailed {
                    reason: JobFailure::NotFound,
                    message: format!("{} lists none of the platforms {}", digest, prefetch.platforms.join(", ")),
                });
            }
            if depth == MAX_DEPTH && !chosen.is_empty() {
                let message = format!("{digest} is an index below {MAX_DEPTH} others");
                return Err(PrefetchFailed { reason: JobFailure::Unavailable, message });
            }
            for child in chosen.into_iter().filter(|child| seen.insert(child.digest)) {
                self.may_spend(&pull, &child.digest).await?;
                let answer = self.manifests.by_digest(&pull, child.digest).await?;
                manifests.push((child.digest, depth + 1, is_fetched(&answer)));
            }
        }
        reached.update(|progress| {
            // Sizes are what upstream's manifest states.
            let stated = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size_bytes));
            progress.total_bytes = progress.total_bytes.saturating_add(stated);
        });
        let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
        stream::iter(blobs)
            .map(|blob| self.blob_here(&pull, blob, reached))
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        // The last byte of each comes before the disk and the control plane have it; they are recorded together.
        for digest in digests {
            self.blobs.fills.wait_until_ended(&digest, &pull.target).await;
        }
        Ok(())
    }

    /// The reserve of the pull limit is for people who pull: an image of many platforms must not use it. The control plane
    /// has decided that the prefetch may begin at all.
    async fn may_spend(&self, pull: &Pull, manifest: &Digest) -> Result<(), PrefetchFailed> {
        let (upstream, credential) = (&pull.target.upstream, &pull.target.credential);
        let username = credential.as_ref().map_or("", |credential| credential.username());
        if self.manifests.rights.link(pull, manifest).await?.link().is_some()
            || !self.conditions.is_short(upstream, username)
        {
            return Ok(());
        }
        let message = format!("what is left of the pull limit of {} is kept for pulls", upstream.host);
        Err(PrefetchFailed { reason: JobFailure::Limit, message })
    }

    /// Counts a manifest that is here now; what it refers to.
    async fn manifest_here(
        &self,
        digest: &Digest,
        fetched: bool,
        reached: &Reached,
    ) -> Result<Vec<Referenced>, PrefetchFailed> {
        let lost = || PrefetchFailed {
            reason: JobFailure::Unavailable,
            message: format!("{digest} was removed while it was being fetched"),
        };
        let blob = self.manifests.stored.open(digest).await?.ok_or_else(lost)?;
        let content = blob.read_all().await.map_err(|error| {
            PrefetchFailed::from(storage_failed(&StorageError::from_io(format!("read {digest}"), error)))
        })?;
        reached.update(|progress| {
            progress.total_bytes = progress.total_bytes.saturating_add(blob.size);
            progress.cached_bytes = progress.cached_bytes.saturating_add(blob.size);
            progress.fetched_bytes = progress.fetched_bytes.saturating_add(if fetched { blob.size } else { 0 });
            progress.objects += 1;
        });
        Ok(references::parse(&content).map(|parsed| parsed.references).unwrap_or_default())
    }

    /// Brings one blob here, like a client that throws the bytes away.
    async fn blob_here(&self, pull: &Pull, blob: Referenced, reached: &Reached) -> Result<(), PrefetchFailed> {
        let answer = self.blobs.answer(pull, blob.digest).await?;
        if is_fetched(&answer) {
            let mut body = answer.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| PrefetchFailed {
                    reason: JobFailure::Unavailable,
                    message: format!("{}: {error}", blob.digest),
                })?;
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                reached.update(|progress| {
                    progress.cached_bytes += length;
                    progress.fetched_bytes += length;
                });
            }
        } else {
            reached.update(|progress| progress.cached_bytes += blob.size_bytes);
        }
        reached.update(|progress| progress.objects += 1);
        Ok(())
    }
}

/// The digest of what a tag or digest meant, if upstream said so, and not only this cache.
fn checked(answer: &Answer) -> Result<Digest, PrefetchFailed> {
    let failed = |reason, message: &str| PrefetchFailed { reason, message: message.to_owned() };
    let headers = answer.headers();
    if word(headers, "x-cache") == "stale" {
        return Err(match word(headers, "warning") {
            limit if limit.contains("limit") => {
                failed(JobFailure::Limit, "the pull limit of upstream does not allow it now; what is cached stays")
            }
            frozen if frozen.contains("frozen") => {
                failed(JobFailure::Refused, "the group is frozen; what is cached stays")
            }
            gone if gone.contains("gone") => {
                failed(JobFailure::NotFound, "upstream has the tag no more; what is cached stays")
            }
            held if held.contains("cooling") => return digest_of(headers),
            _ => failed(JobFailure::Unavailable, "the upstream is unavailable; cached content stays"),
        });
    }
    digest_of(headers)
}

fn digest_of(headers: &HeaderMap) -> Result<Digest, PrefetchFailed> {
    word(headers, "docker-content-digest").parse().map_err(|_| {
        let message = "an answer without a digest";
        PrefetchFailed::from(OciError::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message))
    })
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_fetched(answer: &Answer) -> bool {
    matches!(word(answer.headers(), "x-cache"), "fill" | "join")
}

/// Those of an index's entries that are for one of `platforms`; all of them if none is said. `linux/arm64` is also for
/// entries that name a variant of it.
fn chosen<'a>(entries: &'a [Referenced], platforms: &[String]) -> Vec<&'a Referenced> {
    let fits = |entry: &&Referenced| {
        platforms.is_empty()
            || platforms.iter().any(|wanted| {
                entry
                    .platform
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    };
    entries.iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use roadstead_proto::Algorithm;

    use super::*;

    #[test]
    fn platforms_choose_entries_with_their_variants() {
        let entry = |platform: &str| Referenced {
            digest: Digest::of(Algorithm::Sha256, platform.as_bytes()),
            kind: ContentKind::Manifest,
            size_bytes: 1,
            platform: platform.to_owned(),
        };
        let entries = ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "unknown/unknown", ""].map(entry);
        for (platforms, expected) in [
            (&[][..], &["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "unknown/unknown", ""][..]),
            (&["linux/amd64"], &["linux/amd64"]),
            (&["linux/arm64"], &["linux/arm64/v8"]),
            (&["linux/arm64/v8", "linux/amd64"], &["linux/amd64", "linux/arm64/v8"]),
            (&["linux/arm"], &["linux/arm/v7"]),
            (&["windows/amd64"], &[]),
        ] {
            let platforms: Vec<String> = platforms.iter().map(|&platform| platform.to_owned()).collect();
            let found: Vec<&str> = chosen(&entries, &platforms).iter().map(|entry| entry.platform.as_str()).collect();
            assert_eq!(found, expected, "{platforms:?}");
        }
    }
}
