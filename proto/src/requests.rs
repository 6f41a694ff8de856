//! Short constructors for requests that are made often.

use crate::v1::{HostList, PurgeCacheRequest, PurgeFilter, UpdateUpstreamRequest, purge_cache_request::Scope};

/// Share of a pull limit that is reserved for content that is not cached unless an administrator says otherwise, in percent.
pub const DEFAULT_RESERVE_PERCENT: i32 = 10;

impl PurgeCacheRequest {
    /// Purges everything that the group at this path has cached.
    pub fn whole_group(path: impl Into<String>) -> Self {
        Self { scope: Some(Scope::WholeGroup(path.into())), dry_run: false }
    }

    /// Purges everything that all groups have cached.
    pub const fn all_groups() -> Self {
        Self { scope: Some(Scope::AllGroups(true)), dry_run: false }
    }

    /// Purges the content that a filter selects.
    pub const fn selected(filter: PurgeFilter) -> Self {
        Self { scope: Some(Scope::Filter(filter)), dry_run: false }
    }

    /// Returns the same request; with `dry_run` it counts and removes nothing.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }
}

impl UpdateUpstreamRequest {
    /// Adds an upstream, or replaces all its settings: every setting that the caller does not change has its default.
    pub fn replacing(host: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            allow_missing: true,
            url: Some(url.into()),
            token_hosts: Some(HostList::default()),
            ca_pem: Some(String::new()),
            redirect_hosts: Some(HostList::default()),
            reserve_percent: Some(DEFAULT_RESERVE_PERCENT),
            ..Self::default()
        }
    }
}
