//! The node's side of `NodeService`: what the control plane told it, and what it asks.
//!
//! Guarantees: the [`PolicySnapshot`] is whole, immutable and read without waiting; links and credentials are
//! remembered only while the group's epochs say that they hold; pulls are counted without waiting, and each batch of
//! counts is counted once. What any node learns of pull limits and pauses is known to all ([`Conditions`]). Protobuf types
//! stay in `translate`, `errand` and `report`. Who may pull and what is served stay with the callers
//! and the control plane.

mod chance;
mod client;
mod condition;
mod contact;
pub(crate) mod contact_metric;
mod content;
mod credential;
mod doubt;
mod errand;
mod error;
mod fills;
mod heartbeat;
mod links;
mod lookup;
mod policy;
mod replicas;
mod report;
mod saved;
mod sign_in;
mod stored;
mod tag;
mod tag_calls;
mod tag_memory;
pub(crate) mod trace_context;
mod translate;
mod usage;
mod watch;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use client::{ControlClient, InvalidNodeToken};
pub use condition::{Account, Conditions, PullLimit, UpstreamCondition, UpstreamState};
pub use content::{ContentKind, Link, Recorded, Reference, RepositoryRef};
pub use credential::Credential;
pub use doubt::Behind;
pub use errand::{Check, CheckProgress, Errand, ErrandFailure, ErrandReport, Prefetch, PrefetchProgress};
pub use error::ControlError;
pub use fills::{FillQuestion, FillTurn, FollowFill};
pub use heartbeat::NodeReport;
pub use policy::{GroupId, GroupPolicy, PolicyChange, PolicySnapshot, Revocation, UpstreamPolicy, VerifyingKey};
pub use replicas::{ControlReplicas, MayRepeat};
pub use sign_in::{PullScope, RegistryToken, SignIn, SignInRefusal, SignInRefused, SignInResult};
pub use stored::{ClaimedGarbage, Damage, DamageKind, StoredContent};
pub use tag::{RefusalReason, Refused, ServeManifest, StaleReason, TagOutcome, TagResolution, TagVerdict};
pub use usage::Pull;
