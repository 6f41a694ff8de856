//! One pull on its way through a flow: what is wanted, by whom, and where upstream's side of it is asked.

use std::{fmt::Display, sync::Arc};

use http::StatusCode;
use parking_lot::Mutex;
use roadstead_proto::Reference;

use super::accept::ClientAccept;
use crate::{
    access::authorize::Permitted,
    control::{PolicySnapshot, Prefetch, RepositoryRef},
    respond::{Code, Conditions, OciError},
    route::Resource,
    upstream::Target,
};

/// The wanted content, with the repository under which its links, tags and counts are kept.
pub struct Wanted {
    pub permitted: Permitted,
    pub repository: RepositoryRef,
    /// No client pulls: the control plane wants the content here.
    pub is_prefetch: bool,
    /// The trouble that was met on the way, for the log.
    trouble: Mutex<Option<Arc<str>>>,
}

/// One pull on its way through a flow.
pub struct Pull {
    pub wanted: Wanted,
    /// The repository upstream, with the group's own credentials.
    pub target: Target,
}

impl Wanted {
    pub fn new(permitted: Permitted) -> Self {
        let repository = RepositoryRef {
            group: permitted.group.id.clone(),
            upstream: permitted.upstream.host.clone(),
            repository: permitted.repository.clone(),
        };
        Self { permitted, repository, is_prefetch: false, trouble: Mutex::default() }
    }

    /// Returns the target of a prefetch, by the same rules as a client's pull.
    pub fn for_prefetch(policy: &PolicySnapshot, prefetch: &Prefetch) -> Result<Self, OciError> {
        let permitted = Permitted::for_job(policy, &prefetch.repository, prefetch.reference.clone())?;
        Ok(Self { is_prefetch: true, ..Self::new(permitted) })
    }

    /// Notes a trouble: if there is an answer all the same, the log tells the cause.
    pub fn note_trouble(&self, trouble: impl Display) {
        *self.trouble.lock() = Some(trouble.to_string().into());
    }

    /// The same, unless one was met already.
    pub fn note_trouble_if_none(&self, trouble: &'static str) {
        self.trouble.lock().get_or_insert_with(|| trouble.into());
    }

    /// Forgets the trouble: it made no difference.
    pub fn forget_trouble(&self) {
        *self.trouble.lock() = None;
    }

    /// The trouble that was met.
    pub fn take_trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().take()
    }

    /// The route's name in metrics.
    pub fn route(&self) -> &'static str {
        match self.permitted.resource {
            Resource::Manifest(_) => "manifest",
            Resource::Blob(_) => "blob",
            Resource::Tags(_) => "tags",
            Resource::Referrers { .. } => "referrers",
        }
    }

    /// Fails in a frozen group, which is served only what is cached. Pulls by tag are judged by the control plane.
    pub fn may_ask_upstream(&self) -> Result<(), OciError> {
        let group = &self.permitted.group;
        if !group.frozen {
            return Ok(());
        }
        let message = format!("group {} is frozen: only what is cached can be pulled, and this is not", group.path);
        Err(OciError::new(StatusCode::FORBIDDEN, Code::Denied, message))
    }

    pub fn accept(&self) -> ClientAccept {
        ClientAccept::of(&self.permitted.head.headers)
    }

    pub fn conditions(&self) -> Conditions {
        Conditions::of(&self.permitted.head.headers)
    }

    /// The digest that is asked for, and whether as a manifest; `None` where a digest is not what is asked for.
    pub fn digest(&self) -> Option<(roadstead_proto::Digest, bool)> {
        match &self.permitted.resource {
            Resource::Blob(digest) => Some((*digest, false)),
            Resource::Manifest(Reference::Digest(digest)) => Some((*digest, true)),
            _ => None,
        }
    }
}
