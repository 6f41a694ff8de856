//! Garbage: content without links, handed to nodes for deletion.
//!
//! A claim and a link exclude each other: while a claim lasts no link can be recorded, and a link voids what was
//! claimed before. So a linked digest is never confirmed away.

use roadstead_proto::Digest;

use super::{Plane, PlaneError, PlaneResult};
use crate::{clock::millis, store::garbage};

/// How long a claim lasts, in milliseconds; a node that has not confirmed by then must not delete any more.
pub const CLAIM_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// Most digests in one claim or confirmation.
const MAX_CLAIM: i32 = 1000;
/// Digests in a claim if nothing is said.
const DEFAULT_CLAIM: i32 = 100;

impl Plane {
    /// Claims content whose last link has been gone for the grace period.
    pub async fn claim_garbage(&self, limit: i32) -> PlaneResult<Vec<Digest>> {
        let limit = match limit {
            0 => DEFAULT_CLAIM,
            1..=MAX_CLAIM => limit,
            _ => return Err(PlaneError::invalid("limit", format!("must be between 0 and {MAX_CLAIM}"))),
        };
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let claimed = garbage::claim(
            &mut tx,
            now_ms.saturating_sub(millis(self.gc_grace)),
            now_ms - CLAIM_LIFETIME_MS,
            i64::from(limit),
            now_ms,
        )
        .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Forgets content that was deleted.
    pub async fn confirm_garbage(&self, digests: &[Digest]) -> PlaneResult<()> {
        if digests.len() > MAX_CLAIM as usize {
            return Err(PlaneError::invalid("digests", format!("at most {MAX_CLAIM}")));
        }
        let mut tx = self.store.write().await?;
        for digest in digests {
            garbage::confirm(&mut tx, digest).await?;
        }
        Ok(tx.commit().await?)
    }
}
