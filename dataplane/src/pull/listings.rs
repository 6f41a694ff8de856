//! The last good lists of tags and referrers, kept for as long as upstream cannot be asked.
//!
//! A list belongs to one group and repository, as upstream told it with the group's credentials, and is void once the
//! group's links were removed. Memory is bounded; a list is served for a day at most, and marked as stale.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use quick_cache::{Weighter, sync::Cache};
use roadstead_proto::Digest;

use super::request::Pull;
use crate::{
    control::{RepositoryRef, StaleReason, TagOutcome},
    respond::{Answer, Body, stale_headers},
    trail::Contents,
    upstream::UpstreamError,
};

/// The time that a list is served after upstream told it.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most bytes kept.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Largest list that is kept, in bytes.
const MAX_LIST_BYTES: usize = 2 * 1024 * 1024;
/// The cost of a list beside its bytes.
const OVERHEAD_BYTES: u64 = 500;
/// Lists that are expected to be kept.
const EXPECTED: usize = 4000;

/// Which list: of whom, as of which link epoch, with which credentials, and which page or filter of it.
type Key = (RepositoryRef, i64, Option<Digest>, String);

/// An answer as it was given.
#[derive(Clone)]
struct Kept {
    headers: HeaderMap,
    body: Bytes,
    told_at: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Kept>> for ByBytes {
    fn weight(&self, key: &Key, kept: &Arc<Kept>) -> u64 {
        OVERHEAD_BYTES + (key.3.len() + kept.body.len()) as u64
    }
}

/// The lists.
pub struct Listings {
    kept: Cache<Key, Arc<Kept>, ByBytes>,
}

impl Listings {
    pub fn new() -> Self {
        Self { kept: Cache::with_weighter(EXPECTED, MAX_BYTES, ByBytes) }
    }

    /// Keeps a list and answers with it.
    pub fn told(&self, pull: &Pull, page: &str, headers: HeaderMap, body: Bytes) -> Answer {
        let answer = answer(headers.clone(), body.clone());
        if body.len() <= MAX_LIST_BYTES {
            self.kept.insert(key(pull, page), Arc::new(Kept { headers, body, told_at: Instant::now() }));
        }
        answer
    }

    /// The list as it was last told, if upstream is in trouble and it is not too old.
    pub fn instead(&self, pull: &Pull, page: &str, error: &UpstreamError) -> Option<Answer> {
        let reason = trouble(error)?;
        let kept = self.kept.get(&key(pull, page)).filter(|kept| kept.told_at.elapsed() < MAX_AGE)?;
        let upstream = pull.target.host();
        tracing::warn!(%upstream, repository = %pull.target.repository, %error, "serving a list as it was last told");
        let mut answer = answer(kept.headers.clone(), kept.body.clone());
        stale_headers(answer.headers_mut(), Some(kept.told_at.elapsed()), reason);
        answer.body_mut().describe(unconfirmed(error));
        Some(answer)
    }
}

/// Describes a list that upstream did not confirm, for the log.
pub fn unconfirmed(error: &UpstreamError) -> Contents {
    Contents { served: None, trouble: Some(error.to_string().into()) }
}

/// The reason for which a list may be served stale; `None` for upstream's word on it.
pub fn trouble(error: &UpstreamError) -> Option<StaleReason> {
    match error.tag_outcome() {
        TagOutcome::Unavailable { .. } if error.is_outage() => Some(StaleReason::UpstreamUnavailable),
        TagOutcome::RateLimited { .. } => Some(StaleReason::RateLimited),
        _ => None,
    }
}

fn key(pull: &Pull, page: &str) -> Key {
    let credential = pull.target.credential.as_ref().map(|credential| *credential.id());
    (pull.wanted.repository.clone(), pull.target.link_epoch, credential, page.to_owned())
}

fn answer(headers: HeaderMap, body: Bytes) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.headers_mut() = headers;
    answer
}
