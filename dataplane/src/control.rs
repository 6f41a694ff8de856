//! The node's side of the contract with the control plane: what it was told, and what it asks.
//!
//! Guarantees: the [`PolicySnapshot`] is whole, immutable and read without waiting; links and credentials are remembered
//! only while the group's epochs say that they hold; pulls are counted without waiting, and each batch of counts is counted
//! once. All nodes know the pull limits and pauses that any node observes ([`Conditions`]). Access and freshness are decided
//! by the callers and the control plane.
//!
//! From the ground up: [`policy`] and [`liveness`] are what was told and when, `client` makes the calls (gRPC and protobuf
//! stay there), [`memory`] remembers answers, [`answers`] are remembered or asked for, `sync` keeps up, `reports` tells.
//! [`Control`] puts them together.

pub mod answers;
mod client;
mod connect;
mod content;
mod credential;
mod error;
mod jobs;
pub mod liveness;
mod lookup;
pub mod memory;
pub mod policy;
mod reports;
mod staleness;
mod sync;
mod tag;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use self::answers::{credentials::Credentials, link_batches::Urgency, links::Links, tags::Tags};
pub use self::client::condition::{Account, PullLimit, UpstreamCondition, UpstreamState};
pub use self::client::job::{Check, CheckProgress, Job, JobFailure, JobReport, Prefetch, PrefetchProgress};
pub use self::client::lease::{FillQuestion, FillTurn, FollowFill, HeldFill};
pub use self::client::node_report::NodeReport;
pub use self::client::sign_in::{PullScope, RegistryToken, SignIn, SignInRefusal, SignInRefused, SignInResult};
pub use self::client::stored::{ClaimedGarbage, Corruption, CorruptionKind, StoredContent};
pub use self::client::{InvalidNodeToken, NodeClient, NodeIdentity};
pub use self::connect::Control;
pub(crate) use self::content::{BlobRecorded, Unlinked};
pub use self::content::{
    ContentKind, Link, LinkLookup, Proof, ProofKind, ProvenLink, Recorded, Reference, RepositoryRef,
};
pub use self::credential::Credential;
pub use self::error::ControlError;
pub use self::jobs::Offers;
pub use self::liveness::ControlLiveness;
pub use self::memory::conditions::Conditions;
pub use self::policy::{
    GroupId, GroupPolicy, Policy, PolicyChange, PolicySnapshot, Revocation, UpstreamPolicy, VerifyingKey,
};
pub use self::reports::usage::{Pull, UsageCounter};
pub use self::sync::ensure_synced::{OutOfSync, SyncGuard};
pub use self::tag::{RefusalReason, Refused, ServeManifest, StaleReason, TagOutcome, TagResolution, TagVerdict};
