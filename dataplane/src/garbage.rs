//! Deletes stored content that no group links any more, as the control plane hands it out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use roadstead_proto::Digest;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{ControlClient, ControlError},
    fill::Fills,
    storage::BlobStore,
};

/// How often garbage is asked for.
const COLLECT_EVERY: Duration = Duration::from_secs(15);
/// How long a claim is used: the control plane takes it back after ten minutes, and may have linked the content again.
const CLAIM_TIME: Duration = Duration::from_secs(8 * 60);
/// Most digests in one claim.
const BATCH: u16 = 100;

/// Claims, deletes and confirms until `stop`. What cannot be deleted is not confirmed, so it comes back in a later
/// claim; what is just being fetched again is left alone.
pub async fn collect(
    control: Arc<ControlClient>,
    store: Arc<dyn BlobStore>,
    fills: Arc<Fills>,
    stop: CancellationToken,
) {
    let mut ticks = interval(COLLECT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !control.has_snapshot() {
            continue;
        }
        if let Err(error) = collect_all(&control, &*store, &fills, &stop).await {
            tracing::warn!(%error, "garbage collection will go on later");
        }
    }
}

async fn collect_all(
    control: &ControlClient,
    store: &dyn BlobStore,
    fills: &Fills,
    stop: &CancellationToken,
) -> Result<(), ControlError> {
    while !stop.is_cancelled() {
        let claimed_at = Instant::now();
        let claimed = control.claim_garbage(BATCH).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        let mut deleted: Vec<Digest> = Vec::with_capacity(claimed.len());
        for digest in &claimed {
            if claimed_at.elapsed() > CLAIM_TIME {
                break;
            }
            if fills.is_running(digest) {
                continue;
            }
            match store.delete(digest).await {
                Ok(()) => deleted.push(*digest),
                Err(error) => tracing::warn!(blob.digest = %digest, %error, "garbage could not be deleted"),
            }
        }
        control.confirm_garbage(&deleted).await?;
        tracing::info!(blobs = deleted.len(), "garbage deleted");
        if deleted.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}
