//! The node's side of `NodeService`: what the control plane told it, and what it asks.
//!
//! Guarantees: the [`PolicySnapshot`] is whole, immutable and read without waiting; links and credentials are
//! remembered only while the group's epochs say that they hold; pulls are counted without waiting, and each batch of
//! counts is counted once. What any node learns of pull limits and pauses is known to all ([`Conditions`]). Protobuf types
//! stay in `translate`, `job` and `report`. Who may pull and what is served stay with the callers
//! and the control plane.

mod client;
mod content;
mod error;
mod jobs;
mod lookup;
pub mod memory;
pub mod reports;
pub mod sync;
mod tag;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use self::client::lease::{FillQuestion, FillTurn, FollowFill};
pub use self::client::sign_in::{PullScope, RegistryToken, SignIn, SignInRefusal, SignInRefused, SignInResult};
pub use self::client::stored::{ClaimedGarbage, Damage, DamageKind, StoredContent};
pub use self::client::{ControlClient, InvalidNodeToken};
pub use self::content::{ContentKind, Link, Recorded, Reference, RepositoryRef};
pub use self::error::ControlError;
pub use self::jobs::{Check, CheckProgress, Job, JobFailure, JobReport, Prefetch, PrefetchProgress};
pub use self::memory::conditions::{Account, Conditions, PullLimit, UpstreamCondition, UpstreamState};
pub use self::memory::credentials::Credential;
pub use self::reports::heartbeat::NodeReport;
pub use self::reports::usage::Pull;
pub use self::sync::policy::{
    GroupId, GroupPolicy, PolicyChange, PolicySnapshot, Revocation, UpstreamPolicy, VerifyingKey,
};
pub use self::sync::staleness::Behind;
pub use self::tag::{RefusalReason, Refused, ServeManifest, StaleReason, TagOutcome, TagResolution, TagVerdict};
