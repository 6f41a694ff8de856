//! Batches that nodes report under an id, so that a batch that is sent twice counts once.

use crate::usecases::{UseCaseError, UseCaseResult};

/// Most characters in the id of a batch.
const MAX_BATCH_ID_CHARS: usize = 64;

/// Refuses an id that cannot tell a batch from others.
pub(crate) fn check_id(batch_id: &str) -> UseCaseResult<()> {
    if batch_id.is_empty() || batch_id.len() > MAX_BATCH_ID_CHARS {
        return Err(UseCaseError::invalid("batch_id", format!("required: at most {MAX_BATCH_ID_CHARS} characters")));
    }
    Ok(())
}
