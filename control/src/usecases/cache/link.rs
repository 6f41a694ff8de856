//! Links: what a group may have, and the proof of it that nodes bring.

use roadstead_proto::{Digest, Tag};

use super::garbage::CLAIM_LIFETIME_MS;
use crate::{
    failpoint,
    rules::cache::content::{ContentKind, GroupRepository, Link, Reference},
    store::{
        Store,
        cache::{content, corruption, link},
        changes,
    },
    usecases::{PlaneError, PlaneResult, group_with, tags::freshness::manifest_linked},
};

/// Most references of one manifest.
pub const MAX_REFERENCES: usize = 10_000;

/// A group's links around one digest, all read at one moment.
#[derive(Debug)]
pub struct LinksFound {
    /// The link itself.
    pub link: Option<Link>,
    /// Of a manifest: the group's links to what it refers to.
    pub referenced: Vec<Link>,
    /// The group's link epoch.
    pub link_epoch: i64,
    /// Of what was recorded for a tag: for how long a node may serve it by that without asking anybody.
    pub unconfirmed_seconds: i64,
}

/// What came of recording a link.
#[derive(Debug)]
pub enum Recorded {
    /// It is recorded; of a manifest, these are the links to what it refers to.
    Linked(LinksFound),
    /// Links of the group were removed since the proof began: it has none.
    Outdated,
    /// The content is being deleted.
    BeingDeleted,
}

/// Whether a group has a link, and for a manifest which it has to what that refers to.
pub async fn find(store: &Store, place: &GroupRepository, digest: &Digest) -> PlaneResult<LinksFound> {
    let mut tx = store.read().await?;
    let group = group_with(&mut tx, &place.group_id).await?;
    let link = link::find(&mut tx, place, digest).await?;
    let referenced = match &link {
        Some(link) if link.kind == ContentKind::Manifest => link::referenced(&mut tx, place, digest).await?,
        _ => Vec::new(),
    };
    Ok(LinksFound { link, referenced, link_epoch: group.link_epoch, unconfirmed_seconds: 0 })
}

/// Records content that is stored and a group's right to it, proven since `proven_at`: a link epoch of the group.
pub async fn record(
    store: &Store,
    place: &GroupRepository,
    link: &Link,
    references: &[Reference],
    tag: Option<&Tag>,
    proven_at: i64,
    now_ms: i64,
) -> PlaneResult<Recorded> {
    if references.len() > MAX_REFERENCES {
        return Err(PlaneError::invalid("references", format!("at most {MAX_REFERENCES}")));
    }
    let mut tx = store.write_soon().await?;
    let group = group_with(&mut tx, &place.group_id).await?;
    if !content::put(&mut tx, link, now_ms - CLAIM_LIFETIME_MS).await? {
        return Ok(Recorded::BeingDeleted);
    }
    if proven_at != 0 && proven_at < group.link_epoch {
        // A purge must not be undone by who was on the way before it. The bytes are known of, so that they go some time.
        link::note_if_unlinked(&mut tx, &link.digest, now_ms).await?;
        tx.commit().await?;
        return Ok(Recorded::Outdated);
    }
    if link.kind == ContentKind::Manifest {
        content::put_references(&mut tx, &link.digest, references).await?;
    }
    corruption::heal(&mut tx, &link.digest, now_ms).await?;
    link::put(&mut tx, place, link, now_ms).await?;
    let (mut referenced, mut unconfirmed_seconds) = (Vec::new(), 0);
    if link.kind == ContentKind::Manifest {
        unconfirmed_seconds = manifest_linked(&mut tx, place, link.digest, tag, now_ms).await?;
        referenced = link::referenced(&mut tx, place, &link.digest).await?;
    }
    failpoint::reached("link_uncommitted");
    tx.commit().await?;
    failpoint::reached("link_committed");
    let link_epoch = group.link_epoch;
    Ok(Recorded::Linked(LinksFound { link: None, referenced, link_epoch, unconfirmed_seconds }))
}

/// The revision that there is now.
pub async fn revision(store: &Store) -> PlaneResult<i64> {
    Ok(changes::current_revision(&mut *store.read().await?).await?)
}
