//! Takes what retention has planned: some images a transaction, so that others write in between.
//!
//! It guarantees that
//! - each transaction looks again, and leaves an image that was pulled, protected or pinned since it was planned;
//! - each image that goes is on record, by whom and why, in the transaction that takes it;
//! - it goes on only while its term lasts.

use roadstead_proto::RepositoryRef;

use std::time::{Duration, Instant};

use super::{
    purge::{remove, void_links},
    retention::{Retained, Retention, look},
};
use crate::{
    rules::{
        access::Actor,
        audit::Entry,
        cache::{
            purge::Inventory,
            retention::{Eviction, Image, Reason, Shelf},
        },
        groups::group::Group,
    },
    store::{WriteTx, audit, groups::group},
    usecases::{UseCaseError, UseCaseResult, cluster::leader::RETENTION},
};

/// Images that one transaction takes at most.
const IMAGES_AT_ONCE: usize = 100;
/// Links after which a transaction ends with the image that it is at.
const LINKS_AT_ONCE: i64 = 1000;
/// The same, by time.
const TIME_AT_ONCE: Duration = Duration::from_millis(500);
/// So many, the least recently pulled first, are taken repository by repository: looking at one serves all of its
/// images.
const WINDOW: usize = 1000;

/// A repository, as a transaction has found it and left it.
struct Opened {
    repository: RepositoryRef,
    /// None if the group is gone.
    found: Option<(Group, Inventory, Shelf)>,
}

impl Retention {
    /// Takes what was planned and is still to go; `actor` asked for it, or nobody did.
    pub(crate) async fn evict(
        &self,
        mut planned: Vec<Eviction<RepositoryRef>>,
        epoch: i64,
        actor: Option<&Actor>,
    ) -> UseCaseResult<Retained> {
        let mut done = Retained::default();
        for window in planned.chunks_mut(WINDOW) {
            window.sort_by(|a, b| a.repository.cmp(&b.repository));
            let mut rest = &*window;
            while !rest.is_empty() {
                rest = self.evict_some(rest, epoch, actor, &mut done).await?;
            }
        }
        done.evictions.sort_by_key(|gone| gone.last_used_ms);
        Ok(done)
    }

    /// Takes what one transaction may. Answers what is left to take.
    async fn evict_some<'a>(
        &self,
        mut rest: &'a [Eviction<RepositoryRef>],
        epoch: i64,
        actor: Option<&Actor>,
        done: &mut Retained,
    ) -> UseCaseResult<&'a [Eviction<RepositoryRef>]> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        if !self.leader.keep_term(&mut tx, RETENTION, epoch).await? {
            return Err(UseCaseError::Precondition("another replica goes on with retention".to_owned()));
        }
        let began = Instant::now();
        let (mut taking, mut images, mut links) = (Duration::ZERO, 0, 0);
        let mut opened: Option<Opened> = None;
        let mut changed: Vec<String> = Vec::new();
        let mut gone = Retained::default();
        while let Some((planned, after)) = rest.split_first() {
            if images >= IMAGES_AT_ONCE || links >= LINKS_AT_ONCE || taking >= TIME_AT_ONCE {
                break;
            }
            let at = match opened.take().filter(|at| at.repository == planned.repository) {
                Some(at) => at,
                // To look at one more may take long as well.
                None if images > 0 && began.elapsed() >= TIME_AT_ONCE => break,
                None => open(&mut tx, &planned.repository).await?,
            };
            let at = opened.insert(at);
            rest = after;
            images += 1;
            let began = Instant::now();
            let Some((group, held, shelf)) = &mut at.found else { continue };
            let still = |image: &&Image| !image.is_kept && image.last_used_ms <= planned.last_used_ms;
            if shelf.get(&planned.root).filter(still).is_none() {
                continue;
            }
            let Some(selection) = shelf.take(&planned.root) else { continue };
            let purged = remove(&mut tx, &planned.repository, held, &selection, now_ms).await?;
            let why = match planned.reason {
                Reason::Age => "cache.expire",
                Reason::Room => "cache.evict",
            };
            let entry = match actor {
                Some(actor) => actor.did(why, planned.repository.to_string()),
                None => Entry::by_server(why, planned.repository.to_string()),
            };
            audit::record(&mut tx, &entry.of_group(&group.path).detail(purged.to_string()), now_ms).await?;
            if !changed.contains(&group.id) {
                changed.push(group.id.clone());
            }
            links += purged.manifests + purged.blobs;
            gone.manifests += purged.manifests;
            gone.bytes += purged.bytes;
            gone.evictions.push(Eviction { bytes: purged.bytes, manifests: purged.manifests, ..planned.clone() });
            taking += began.elapsed();
        }
        // Once for all of them: nodes ask again for every link of the group.
        for id in &changed {
            void_links(&mut tx, id, now_ms).await?;
        }
        tx.commit().await?;
        done.manifests += gone.manifests;
        done.bytes += gone.bytes;
        done.evictions.append(&mut gone.evictions);
        Ok(rest)
    }
}

async fn open(tx: &mut WriteTx, repository: &RepositoryRef) -> UseCaseResult<Opened> {
    let found = match group::by_id(tx, repository.group.as_str()).await? {
        Some(group) => {
            let (held, images) = look(tx, &group, repository).await?;
            Some((group, held, Shelf::new(images)))
        }
        None => None,
    };
    Ok(Opened { repository: repository.clone(), found })
}
