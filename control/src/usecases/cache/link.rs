//! Links: what a group may have, and the proof of it that nodes bring.

use roadstead_proto::{ContentKind, Descriptor, Digest, Link, RepositoryRef, Tag};

use super::garbage::CLAIM_LIFETIME_MS;
use crate::{
    failpoint,
    store::{
        Store,
        cache::{content, corruption, link},
        changes,
    },
    usecases::{UseCaseError, UseCaseResult, group_with, tags::freshness::manifest_linked},
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
    /// True if the content was fetched whole from the repository's upstream before.
    pub from_upstream: bool,
    /// Of what was recorded for a tag: for how long a node may serve it by that without asking anybody.
    pub unconfirmed_seconds: i64,
}

/// The proof of a group's right to content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkProof {
    /// All of it was fetched from the repository's upstream and hashed.
    Fetched,
    /// The repository's upstream answered a HEAD: a proof only for what was fetched from there before.
    Head,
}

/// A proof of a group's right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The kind of proof.
    pub kind: LinkProof,
    /// The group's link epoch when it began; 0 if that does not matter.
    pub link_epoch: i64,
}

/// The result of recording a link.
#[derive(Debug)]
pub enum Recorded {
    /// It is recorded; of a manifest, these are the links to what it refers to.
    Linked(LinksFound),
    /// Links of the group were removed since the proof began: it has none.
    Outdated,
    /// The content is being deleted.
    BeingDeleted,
    /// The proof is a HEAD, and the content was never fetched from that upstream: the group has to fetch it.
    Unproven,
}

/// Returns a group's link, and for a manifest the links to the content it refers to.
pub async fn find(store: &Store, repository: &RepositoryRef, digest: &Digest) -> UseCaseResult<LinksFound> {
    let mut tx = store.read().await?;
    let group = group_with(&mut tx, repository.group.as_str()).await?;
    let link = link::find(&mut tx, repository, digest).await?;
    let referenced = match &link {
        Some(link) if link.kind == ContentKind::Manifest => link::referenced(&mut tx, repository, digest).await?,
        _ => Vec::new(),
    };
    let from_upstream = content::is_from(&mut tx, digest, &repository.upstream).await?;
    Ok(LinksFound { link, referenced, link_epoch: group.link_epoch, from_upstream, unconfirmed_seconds: 0 })
}

/// Records content that is stored and a group's right to it, with its proof. A HEAD does not prove a right to content that
/// was never fetched from the same upstream, whoever asks.
pub async fn record(
    store: &Store,
    repository: &RepositoryRef,
    link: &Link,
    references: &[Descriptor],
    tag: Option<&Tag>,
    proof: Proof,
    now_ms: i64,
) -> UseCaseResult<Recorded> {
    if references.len() > MAX_REFERENCES {
        return Err(UseCaseError::invalid("references", format!("at most {MAX_REFERENCES}")));
    }
    let mut tx = store.write_soon().await?;
    let group = group_with(&mut tx, repository.group.as_str()).await?;
    if proof.kind == LinkProof::Head && !content::is_from(&mut tx, &link.digest, &repository.upstream).await? {
        return Ok(Recorded::Unproven);
    }
    if !content::put(&mut tx, link, now_ms - CLAIM_LIFETIME_MS).await? {
        return Ok(Recorded::BeingDeleted);
    }
    if proof.kind == LinkProof::Fetched {
        content::put_source(&mut tx, &link.digest, &repository.upstream).await?;
    }
    if proof.link_epoch != 0 && proof.link_epoch < group.link_epoch {
        // A purge must not be undone by who was on the way before it. The bytes are known of, so that they go some time.
        link::note_if_unlinked(&mut tx, &link.digest, now_ms).await?;
        tx.commit().await?;
        return Ok(Recorded::Outdated);
    }
    if link.kind == ContentKind::Manifest {
        content::put_references(&mut tx, &link.digest, references).await?;
    }
    corruption::heal(&mut tx, &link.digest, now_ms).await?;
    link::put(&mut tx, repository, link, now_ms).await?;
    let (mut referenced, mut unconfirmed_seconds) = (Vec::new(), 0);
    if link.kind == ContentKind::Manifest {
        unconfirmed_seconds = manifest_linked(&mut tx, repository, link.digest, tag, now_ms).await?;
        referenced = link::referenced(&mut tx, repository, &link.digest).await?;
    }
    failpoint::reached("link_uncommitted");
    tx.commit().await?;
    failpoint::reached("link_committed");
    let link_epoch = group.link_epoch;
    let from_upstream = true;
    Ok(Recorded::Linked(LinksFound { link: None, referenced, link_epoch, from_upstream, unconfirmed_seconds }))
}

/// The revision that there is now.
pub async fn revision(store: &Store) -> UseCaseResult<i64> {
    Ok(changes::current_revision(&mut *store.read().await?).await?.number)
}
