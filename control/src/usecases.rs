//! The use cases of the control plane, grouped by noun: each is one function that reads, asks a rule, writes, and
//! commits.
//!
//! A function takes what it needs: the store, the time, and the owner of state where there is some
//! ([`audit::AuditLog`],
//! [`identity::credentials::Authenticator`], [`tags::checks::TagChecks`], [`cluster::node::NodeRegistry`],
//! [`cache::retention::Retention`], …). Callers decide beforehand who may call; a few functions ask a rule of access
//! themselves, where that depends on stored facts.

pub mod access;
pub mod audit;
mod batch;
pub mod cache;
pub mod cluster;
pub mod first_start;
pub mod groups;
pub mod identity;
pub mod jobs;
pub mod key_rotation;
pub mod maintenance;
mod request;
mod room;
pub mod tags;
pub mod upstreams;

use roadstead_proto::GroupPath;

use crate::{
    auth::{key_ring::KeyError, password::PasswordError, seal::SealError},
    jobs::JobError,
    oidc::KeysUnavailable,
    rules::{
        groups::group::Group, identity::login_throttle::TooManyFailures, limits::LimitReached, violation::Violation,
    },
    store::{Connection, StoreError},
};

/// The body of a refusal.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// The named object does not exist.
    #[error("there is no {what} {name}{}", if hint.is_empty() { String::new() } else { format!("; {hint}") })]
    NotFound {
        /// The kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// The next step.
        hint: &'static str,
    },
    /// The name is taken.
    #[error("{what} {name} is there already; {hint}")]
    AlreadyExists {
        /// The kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// The next step.
        hint: &'static str,
    },
    /// The request cannot be as it is.
    #[error("{}", .0.iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// Something else must be done first.
    #[error("{0}")]
    Precondition(String),
    /// Somebody else changed it in between.
    #[error("{what} {name} was changed by somebody else; read it again and repeat the change with its new etag")]
    Changed {
        /// The kind of object.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The caller may not do that to this object, whether or not it is there.
    #[error(transparent)]
    Denied(#[from] crate::rules::access::Denied),
    /// A job failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored secret cannot be made or read.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A registry token cannot be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys that would verify an ID token are unavailable.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
    /// Whoever tries failed too often.
    #[error(transparent)]
    TooManyFailures(#[from] TooManyFailures),
    /// There would be more of something than is allowed.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// A password cannot be hashed or checked.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The system gives no random numbers.
    #[error("the random number generator of the system failed: {0}")]
    Random(#[from] getrandom::Error),
}

/// The result of every use case.
pub type UseCaseResult<T> = Result<T, UseCaseError>;

impl UseCaseError {
    fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, message)])
    }

    fn no_token(id: &str) -> Self {
        Self::NotFound {
            what: "token",
            name: id.to_owned(),
            hint: "it may be revoked already; `token list` shows those there are",
        }
    }

    fn group_exists(path: &GroupPath) -> Self {
        Self::AlreadyExists { what: "group", name: path.to_string(), hint: "change it with `group update`" }
    }

    fn no_group(path: &GroupPath) -> Self {
        Self::NotFound { what: "group", name: path.to_string(), hint: "`group list` shows those there are" }
    }
}

/// One page of a list, and whether more follow.
#[derive(Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// True if there are more after them.
    pub more: bool,
}

impl<T> Page<T> {
    /// Of items of which one more than `limit` was asked for.
    fn cut(mut items: Vec<T>, limit: i64) -> Self {
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}

/// The group at `path`, or the error that it does not exist.
async fn group_at(db: &mut Connection, path: &GroupPath) -> UseCaseResult<Group> {
    crate::store::groups::group::by_path(db, path).await?.ok_or_else(|| UseCaseError::no_group(path))
}

/// The group with this id, or the error that it does not exist.
async fn group_with(db: &mut Connection, id: &str) -> UseCaseResult<Group> {
    crate::store::groups::group::by_id(db, id).await?.ok_or_else(|| UseCaseError::NotFound {
        what: "group with id",
        name: id.to_owned(),
        hint: "it was deleted",
    })
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
