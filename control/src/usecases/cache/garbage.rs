//! Garbage: content without links, handed to nodes for deletion.
//!
//! A claim and a link exclude each other: while a claim lasts no link can be recorded, and a link voids a claim that
//! lapsed. A confirmation counts only for the claim that it names. The node that recorded a link notices content that
//! was deleted before: it looks at the store once more, when nobody may delete any longer.
//! `tests/control/garbage_model.rs` checks the protocol in all its interleavings.

use std::time::Duration;

use roadstead_proto::Digest;

use crate::{
    clock::millis,
    failpoint,
    rules::cache::corruption::Stored,
    store::{
        Store,
        cache::garbage::{self, Claim},
    },
    usecases::{UseCaseError, UseCaseResult},
};

/// Duration of a claim, in milliseconds; a node that has not confirmed by then must not delete any more.
pub const CLAIM_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// Most digests in one claim, confirmation, or page of a store.
pub(crate) const MAX_DIGESTS: i32 = 1000;
/// Digests in a claim if nothing is said.
const DEFAULT_CLAIM: i32 = 100;

/// Content claimed for deletion.
#[derive(Debug)]
pub struct Claimed {
    /// Names the claim; empty if nothing was claimed.
    pub id: String,
    /// The content to delete.
    pub digests: Vec<Digest>,
}

/// The outcome for contents that were found in a store.
#[derive(Debug, Default)]
pub struct Adopted {
    /// The number of unknown ones.
    pub adopted: i64,
    /// Linked contents of another size.
    pub wrong_size: Vec<Digest>,
}

/// A list's length within bounds.
pub(crate) fn bounded<T>(field: &str, items: &[T]) -> UseCaseResult<()> {
    if items.len() > MAX_DIGESTS as usize {
        return Err(UseCaseError::invalid(field, format!("at most {MAX_DIGESTS}")));
    }
    Ok(())
}

/// A limit within bounds; 0 is the default.
pub(crate) fn limited(limit: i32, default: i32) -> UseCaseResult<i64> {
    match limit {
        0 => Ok(i64::from(default)),
        1..=MAX_DIGESTS => Ok(i64::from(limit)),
        _ => Err(UseCaseError::invalid("limit", format!("must be between 0 and {MAX_DIGESTS}"))),
    }
}

/// Claims content whose last link has been gone for the grace period, for a node of the store `store_id`.
pub async fn claim(
    store: &Store,
    grace: Duration,
    node_id: &str,
    store_id: &str,
    limit: i32,
    void_earlier: bool,
    now_ms: i64,
) -> UseCaseResult<Claimed> {
    let limit = limited(limit, DEFAULT_CLAIM)?;
    let claim = Claim {
        id: uuid::Uuid::now_v7().to_string(),
        node_id: node_id.to_owned(),
        store_id: store_id.to_owned(),
        unlinked_by_ms: now_ms.saturating_sub(millis(grace)),
        lapsed_by_ms: now_ms - CLAIM_LIFETIME_MS,
        limit,
        now_ms,
    };
    let mut tx = store.write().await?;
    if void_earlier && !node_id.is_empty() {
        garbage::void_claims(&mut tx, node_id).await?;
    }
    let digests = garbage::claim(&mut tx, &claim).await?;
    if digests.is_empty() {
        tx.commit().await?;
        return Ok(Claimed { id: String::new(), digests });
    }
    failpoint::reached("claim_uncommitted");
    tx.commit().await?;
    failpoint::reached("claim_committed");
    Ok(Claimed { id: claim.id, digests })
}

/// Forgets content that was deleted under a claim.
pub async fn confirm(store: &Store, claim_id: &str, digests: &[Digest]) -> UseCaseResult<()> {
    bounded("digests", digests)?;
    if claim_id.is_empty() {
        return Err(UseCaseError::invalid("claim_id", "required: the claim that they were deleted under"));
    }
    let mut tx = store.write().await?;
    for digest in digests {
        garbage::confirm(&mut tx, digest, claim_id).await?;
    }
    failpoint::reached("confirm_uncommitted");
    tx.commit().await?;
    failpoint::reached("confirm_committed");
    Ok(())
}

/// Takes what a node found in its store. Unknown content becomes garbage from now on; unless somebody links it within
/// the grace period, it is deleted.
pub async fn adopt(store: &Store, store_id: &str, contents: &[Stored], now_ms: i64) -> UseCaseResult<Adopted> {
    bounded("contents", contents)?;
    let mut answer = Adopted::default();
    let mut unknown = Vec::new();
    let mut tx = store.read().await?;
    for stored in contents {
        match garbage::recorded(&mut tx, &stored.digest).await? {
            None => unknown.push(stored),
            Some((size_bytes, true)) if size_bytes != stored.size_bytes => answer.wrong_size.push(stored.digest),
            Some(_) => {}
        }
    }
    drop(tx);
    if unknown.is_empty() {
        return Ok(answer);
    }
    let mut tx = store.write().await?;
    for stored in unknown {
        answer.adopted += i64::from(garbage::adopt(&mut tx, stored, store_id, now_ms).await?);
    }
    tx.commit().await?;
    Ok(answer)
}
