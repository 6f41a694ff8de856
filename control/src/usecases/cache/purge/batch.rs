//! The parts of a purge: what is selected is read first, without holding up anybody, and removed in small transactions.

use std::collections::{BTreeMap, VecDeque};

use roadstead_proto::{ContentKind, Digest, RepositoryRef};
use tokio::time::Instant;

use super::{Purged, ROWS_AT_ONCE, TIME_AT_ONCE};
use crate::{
    rules::cache::purge::{self, Filter, Inventory, Selection},
    store::{
        Store, WriteTx,
        cache::{inventory, link},
        tags::{history, tag},
    },
    usecases::UseCaseResult,
};

/// One thing to remove.
enum Item {
    /// A tag, if it still resolves to this digest.
    Tag(String, Digest),
    /// A link.
    Link(Digest, ContentKind),
    /// Everything else that is known of the repository's tags.
    History,
}

/// The rest of a purge.
pub(super) struct Work {
    repositories: Vec<RepositoryRef>,
    filter: Filter,
    /// The selected content of repositories that are read.
    selected: VecDeque<(RepositoryRef, Item)>,
}

impl Work {
    pub(super) const fn new(repositories: Vec<RepositoryRef>, filter: Filter) -> Self {
        Self { repositories, filter, selected: VecDeque::new() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.repositories.is_empty() && self.selected.is_empty()
    }

    /// Selects until there is enough for a transaction, or nothing more.
    pub(super) async fn read(&mut self, store: &Store) -> UseCaseResult<()> {
        while self.selected.len() < ROWS_AT_ONCE
            && let Some(repository) = self.repositories.pop()
        {
            let held = inventory::load(&mut *store.read().await?, &repository).await?;
            let selection = purge::select(&held, &self.filter);
            self.select(&repository, &held, selection);
        }
        Ok(())
    }

    fn select(&mut self, repository: &RepositoryRef, held: &Inventory, selection: Selection) {
        let tags = selection.tags.into_iter().filter_map(|tag| {
            let digest = *held.tags.get(&tag)?;
            Some(Item::Tag(tag, digest))
        });
        // Manifests before what they refer to, so that whatever a new one refers to can be told.
        let (mut manifests, mut blobs) = (Vec::new(), Vec::new());
        for digest in selection.digests {
            match held.links.get(&digest).map(|held| held.kind) {
                Some(ContentKind::Manifest) => manifests.push(Item::Link(digest, ContentKind::Manifest)),
                _ => blobs.push(Item::Link(digest, ContentKind::Blob)),
            }
        }
        let history = self.filter.takes_all().then_some(Item::History);
        let items = tags.chain(manifests).chain(blobs).chain(history);
        self.selected.extend(items.map(|item| (repository.clone(), item)));
    }

    /// Removes as much as one transaction may.
    pub(super) async fn take(&mut self, tx: &mut WriteTx, now_ms: i64) -> UseCaseResult<Purged> {
        let (mut purged, began, mut rows) = (Purged::default(), Instant::now(), 0);
        while let Some((repository, item)) = self.selected.pop_front() {
            purged += self.remove(tx, &repository, item, now_ms).await?;
            rows += 1;
            if rows >= ROWS_AT_ONCE || began.elapsed() >= TIME_AT_ONCE {
                break;
            }
        }
        Ok(purged)
    }

    /// Removes one thing, unless it has changed since it was selected so that it would not be any more.
    async fn remove(
        &self,
        tx: &mut WriteTx,
        repository: &RepositoryRef,
        item: Item,
        now_ms: i64,
    ) -> UseCaseResult<Purged> {
        let mut purged = Purged::default();
        match item {
            Item::Tag(tag, digest) => {
                purged.tags += i64::from(tag::delete_if(tx, repository, &tag, &digest).await?);
            }
            Item::Link(digest, kind) => {
                let Some(found) = link::need(tx, repository, &digest).await? else { return Ok(purged) };
                let is_manifest = kind == ContentKind::Manifest;
                let was_used =
                    is_manifest && self.filter.used_before_ms.is_some_and(|before| found.last_used_ms >= before);
                let is_needed = !is_manifest && found.parents > 0 && self.filter.digest != Some(digest);
                if was_used || is_needed {
                    return Ok(purged);
                }
                link::delete(tx, repository, &digest, now_ms).await?;
                // Counted when the group's last link to it goes, so that each digest counts once.
                purged.bytes += link::size_if_unheld(tx, repository.group.as_str(), &digest).await?;
                match kind {
                    ContentKind::Manifest => purged.manifests += 1,
                    ContentKind::Blob => purged.blobs += 1,
                }
            }
            Item::History => {
                tag::delete_meaningless(tx, repository).await?;
                history::forget(tx, repository).await?;
            }
        }
        Ok(purged)
    }
}

/// Counts what a purge would take, by reading only.
pub(super) async fn count(
    store: &Store,
    group_id: &str,
    repositories: Vec<RepositoryRef>,
    filter: &Filter,
) -> UseCaseResult<Purged> {
    let (mut purged, mut links) = (Purged::default(), BTreeMap::<Digest, i64>::new());
    for repository in repositories {
        // One repository is one moment; a whole group need not be.
        let held = inventory::load(&mut *store.read().await?, &repository).await?;
        let selection = purge::select(&held, filter);
        purged.tags += i64::try_from(selection.tags.len()).unwrap_or(i64::MAX);
        for digest in selection.digests {
            match held.links.get(&digest).map(|held| held.kind) {
                Some(ContentKind::Manifest) => purged.manifests += 1,
                _ => purged.blobs += 1,
            }
            *links.entry(digest).or_default() += 1;
        }
    }
    let digests: Vec<_> = links.into_iter().collect();
    for some in digests.chunks(ROWS_AT_ONCE) {
        purged.bytes += link::bytes_if_unlinked(&mut *store.read().await?, group_id, some).await?;
    }
    Ok(purged)
}
