//! Repeats of calls that create something.

use sha2::{Digest as _, Sha256};

use crate::rules::access::Principal;

/// Time for which a repeat is answered with the first result, in milliseconds: an hour.
pub const KEEP_REQUESTS_MS: i64 = 3600 * 1000;
/// Most characters of an id.
const MAX_ID_CHARS: usize = 64;

/// The id that a caller chose for a call, with what tells the call from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The caller: the id of the user or token.
    pub caller: String,
    /// The id, which is the caller's own: another caller's is another request.
    pub id: String,
    /// A hash of the call's name and message.
    pub fingerprint: String,
}

/// The id cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_ID_CHARS} characters of printable ASCII, such as a UUID")]
pub struct InvalidRequestId;

impl RequestId {
    /// Reads the id of a call; `None` if it is empty. `message` must hold no password: its hash is stored.
    pub fn new(caller: &Principal, id: &str, call: &str, message: &[u8]) -> Result<Option<Self>, InvalidRequestId> {
        if id.is_empty() {
            return Ok(None);
        }
        if id.len() > MAX_ID_CHARS || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRequestId);
        }
        let hash = Sha256::new().chain_update(call).chain_update([0]).chain_update(message).finalize();
        Ok(Some(Self { caller: caller_id(caller), id: id.to_owned(), fingerprint: hex::encode(hash) }))
    }
}

/// Returns an id that no other caller has.
fn caller_id(caller: &Principal) -> String {
    match caller {
        Principal::Admin => "admin".to_owned(),
        Principal::Node => "node".to_owned(),
        Principal::User { id, .. } => id.clone(),
        Principal::Group { token, .. } | Principal::Service { token, .. } | Principal::Job { token } => {
            token.id.clone()
        }
    }
}

#[cfg(test)]
mod tests;
