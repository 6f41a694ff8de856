//! The repository, the upstream and the credentials of requests.

use std::sync::Arc;

use roadstead_proto::{Reference, RepositoryName, UpstreamHost};
use url::Url;

use crate::control::{Account, Credential, GroupId, RepositoryRef, UpstreamPolicy};

/// A repository of an upstream, and the credentials of the group on whose behalf it is asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target {
    /// The group.
    pub group: GroupId,
    /// The upstream.
    pub upstream: Arc<UpstreamPolicy>,
    /// The repository there.
    pub repository: RepositoryName,
    /// The group's credentials for the upstream; `None` if it has none.
    pub credential: Option<Arc<Credential>>,
    /// The group's link epoch when the pull began: what is proven for it holds for this epoch, not for later ones.
    pub link_epoch: i64,
}

impl Target {
    /// The upstream's host.
    pub fn host(&self) -> &UpstreamHost {
        &self.upstream.host
    }

    /// The account that the upstream counts its requests for.
    pub(super) fn account(&self) -> Account {
        let username = self.credential.as_ref().map(|credential| credential.username()).unwrap_or_default();
        Account { upstream: self.upstream.host.clone(), username: username.to_owned() }
    }

    /// The repository as the control plane knows it.
    pub fn repository_ref(&self) -> RepositoryRef {
        RepositoryRef {
            group: self.group.clone(),
            upstream: self.upstream.host.clone(),
            repository: self.repository.clone(),
        }
    }

    /// True if both are the same group's view of the same repository.
    pub fn same_source(&self, other: &Self) -> bool {
        self.group == other.group && self.host() == other.host() && self.repository == other.repository
    }

    /// Checks whether a proof for this one holds for the other: it has the same source, and no link was removed in between.
    pub fn covers(&self, other: &Self) -> bool {
        self.same_source(other) && self.link_epoch >= other.link_epoch
    }

    /// Returns the name that people give something of the repository: `library/alpine:9`.
    pub fn name_of(&self, reference: &Reference) -> String {
        let separator = if matches!(reference, Reference::Digest(_)) { '@' } else { ':' };
        format!("{}{separator}{reference}", self.repository)
    }

    /// The address of something of the repository. `resource` holds characters of tags, digests and paths only.
    pub(super) fn url(&self, resource: &str) -> Url {
        let mut url = self.upstream.url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}/v2/{}/{resource}", self.repository);
        url.set_path(&path);
        url
    }
}
