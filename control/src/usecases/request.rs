//! Repeats of calls that create something: a repeat creates nothing again, and answers with what the first call created.

use crate::{
    rules::request::{KEEP_REQUESTS_MS, RequestId},
    store::{
        WriteTx,
        request::{self, StoredRequest},
    },
    usecases::{UseCaseError, UseCaseResult},
};

/// Returns what the same request created within the last hour; `None` if it has no id or is the first with its id. Fails if
/// another request had the id.
pub(super) async fn created_before(
    tx: &mut WriteTx,
    request: Option<&RequestId>,
    now_ms: i64,
) -> UseCaseResult<Option<StoredRequest>> {
    let Some(request) = request else { return Ok(None) };
    let found = request::get(tx, request).await?;
    let Some(earlier) = found.filter(|earlier| earlier.created_at_ms > now_ms - KEEP_REQUESTS_MS) else {
        return Ok(None);
    };
    if earlier.fingerprint != request.fingerprint {
        let message = "another request had this id within the last hour; choose a new id";
        return Err(UseCaseError::invalid("request_id", message));
    }
    Ok(Some(earlier))
}

/// Records what a request creates, in the same transaction. `sealed_secret` is empty unless it is a token.
pub(super) async fn record(
    tx: &mut WriteTx,
    request: Option<&RequestId>,
    object: &str,
    sealed_secret: &str,
    now_ms: i64,
) -> UseCaseResult<()> {
    match request {
        Some(request) => Ok(request::put(tx, request, object, sealed_secret, now_ms).await?),
        None => Ok(()),
    }
}
