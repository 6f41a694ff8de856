//! Short constructors for requests that are made often.

use crate::v1::{PurgeCacheRequest, PurgeFilter, purge_cache_request::Scope};

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
