//! The client of upstream registries: one method per thing that a registry is asked for.
//!
//! Guarantees: every operation ends within its time limits; nothing is buffered beyond its bound; credentials go only to the
//! upstream itself and to token services that belong to it, and never along a redirect to somewhere else; nobody who answers
//! for an upstream makes this node reach into a network that the upstream is not in; a token is fetched once per (realm,
//! service, scope, credential) and kept until it expires; a pause that upstream asked for by 429 is kept to, and one that
//! fails repeatedly is left alone but for a probe now and then. Only requests that are safe to repeat are repeated, and once
//! at most. Errors tell apart what callers decide on. Verifying digests and resuming broken downloads stay with the callers,
//! and what a cached tag is worth meanwhile with the control plane.

mod accept;
pub mod auth;
mod blob;
mod client;
mod error;
mod header;
pub mod health;
mod listing;
mod manifest;
mod metrics;
mod said;
mod target;
mod timeouts;
pub mod transport;
mod verify;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use self::accept::Accept;
pub use self::blob::{BlobBody, BlobHead};
pub use self::client::{UpstreamClient, UpstreamSetupError};
pub use self::error::UpstreamError;
pub use self::header::{content_length, content_range};
pub use self::listing::{Cursor, Listing};
pub use self::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestHead};
pub use self::metrics::UpstreamMetrics;
pub use self::said::Said;
pub use self::target::Target;
pub use self::timeouts::UpstreamTimeouts;
