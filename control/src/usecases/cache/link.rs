//! Links: what a group may have, and the proof of it that nodes bring.

use std::collections::HashMap;

use roadstead_proto::{ContentKind, Descriptor, Digest, GroupId, Link, RepositoryRef, Tag};

use super::garbage::CLAIM_LIFETIME_MS;
pub use crate::store::cache::link::Unlinked;
use crate::{
    failpoint,
    store::{
        Connection, Store, WriteTx,
        cache::{content, corruption, link},
        changes,
        groups::group,
    },
    usecases::{UseCaseError, UseCaseResult, group_with, tags::freshness::manifest_linked},
};

/// Most references of one manifest.
pub const MAX_REFERENCES: usize = 10_000;
/// Most links of one call.
pub const MAX_LINKS: usize = 100;

/// A group's links around one digest, all read at one moment.
#[derive(Debug)]
pub struct LinksFound {
    /// The link itself.
    pub link: Option<Link>,
    /// The group's links to what the manifest refers to: the linked one that was asked for, or one that refers to the blob.
    pub referenced: Vec<Link>,
    /// Content that the same manifest refers to, without a link of the group.
    pub unlinked: Vec<Unlinked>,
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

/// A right that a node proves.
#[derive(Clone, Debug)]
pub struct ProvenLink {
    /// The group and repository.
    pub repository: RepositoryRef,
    /// The content.
    pub link: Link,
    /// The proof.
    pub proof: Proof,
}

/// The result of recording the link to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobRecorded {
    /// It is recorded; this is the group's link epoch.
    Linked(i64),
    /// See [`Recorded::Outdated`].
    Outdated,
    /// See [`Recorded::BeingDeleted`].
    BeingDeleted,
    /// See [`Recorded::Unproven`].
    Unproven,
    /// The group does not exist.
    NoGroup,
}

/// The result of looking at a proof.
enum Proving {
    Proven,
    Outdated,
    BeingDeleted,
    Unproven,
}

/// Returns a group's link, and what is known of the content that is pulled together with that: for a linked manifest the content
/// that it refers to; for a blob without a link what else the manifest refers to that refers to it.
pub async fn find(store: &Store, repository: &RepositoryRef, digest: &Digest) -> UseCaseResult<LinksFound> {
    let mut tx = store.read().await?;
    let group = group_with(&mut tx, repository.group.as_str()).await?;
    let link = link::find(&mut tx, repository, digest).await?;
    let manifest = match &link {
        Some(link) if link.kind == ContentKind::Manifest => Some(*digest),
        Some(_) => None,
        None => link::referring(&mut tx, repository, digest).await?,
    };
    let (referenced, unlinked) = match &manifest {
        Some(manifest) => around(&mut tx, repository, manifest).await?,
        None => Default::default(),
    };
    let from_upstream = content::is_from(&mut tx, digest, &repository.upstream).await?;
    let link_epoch = group.link_epoch;
    Ok(LinksFound { link, referenced, unlinked, link_epoch, from_upstream, unconfirmed_seconds: 0 })
}

/// Returns the content that a manifest refers to: with a link of the group, and without.
async fn around(
    db: &mut Connection,
    repository: &RepositoryRef,
    manifest: &Digest,
) -> UseCaseResult<(Vec<Link>, Vec<Unlinked>)> {
    let referenced = link::referenced(db, repository, manifest).await?;
    Ok((referenced, link::unlinked(db, repository, manifest).await?))
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
    match prove(&mut tx, repository, link, proof, group.link_epoch, now_ms).await? {
        Proving::Proven => {}
        Proving::Unproven => return Ok(Recorded::Unproven),
        Proving::BeingDeleted => return Ok(Recorded::BeingDeleted),
        Proving::Outdated => {
            tx.commit().await?;
            return Ok(Recorded::Outdated);
        }
    }
    if link.kind == ContentKind::Manifest {
        content::put_references(&mut tx, &link.digest, references).await?;
    }
    put(&mut tx, repository, link, now_ms).await?;
    let (mut referenced, mut unlinked, mut unconfirmed_seconds) = (Vec::new(), Vec::new(), 0);
    if link.kind == ContentKind::Manifest {
        unconfirmed_seconds = manifest_linked(&mut tx, repository, link.digest, tag, now_ms).await?;
        (referenced, unlinked) = around(&mut tx, repository, &link.digest).await?;
    }
    failpoint::reached("link_uncommitted");
    tx.commit().await?;
    failpoint::reached("link_committed");
    let (link_epoch, from_upstream) = (group.link_epoch, true);
    Ok(Recorded::Linked(LinksFound {
        link: None,
        referenced,
        unlinked,
        link_epoch,
        from_upstream,
        unconfirmed_seconds,
    }))
}

/// Records blobs that are stored and groups' rights to them, each with its proof, in one transaction. Each has its own result.
pub async fn record_blobs(store: &Store, proven: &[ProvenLink], now_ms: i64) -> UseCaseResult<Vec<BlobRecorded>> {
    let mut tx = store.write_soon().await?;
    let mut epochs: HashMap<&GroupId, Option<i64>> = HashMap::new();
    let mut results = Vec::with_capacity(proven.len());
    for ProvenLink { repository, link, proof } in proven {
        let epoch = match epochs.get(&repository.group) {
            Some(epoch) => *epoch,
            None => {
                let group = group::by_id(&mut tx, repository.group.as_str()).await?;
                *epochs.entry(&repository.group).or_insert(group.map(|group| group.link_epoch))
            }
        };
        let Some(link_epoch) = epoch else {
            results.push(BlobRecorded::NoGroup);
            continue;
        };
        results.push(match prove(&mut tx, repository, link, *proof, link_epoch, now_ms).await? {
            Proving::Proven => {
                put(&mut tx, repository, link, now_ms).await?;
                BlobRecorded::Linked(link_epoch)
            }
            Proving::Outdated => BlobRecorded::Outdated,
            Proving::BeingDeleted => BlobRecorded::BeingDeleted,
            Proving::Unproven => BlobRecorded::Unproven,
        });
    }
    failpoint::reached("link_uncommitted");
    tx.commit().await?;
    failpoint::reached("link_committed");
    Ok(results)
}

/// Looks at the proof of a right, and records the content.
async fn prove(
    tx: &mut WriteTx,
    repository: &RepositoryRef,
    link: &Link,
    proof: Proof,
    link_epoch: i64,
    now_ms: i64,
) -> UseCaseResult<Proving> {
    if proof.kind == LinkProof::Head && !content::is_from(tx, &link.digest, &repository.upstream).await? {
        return Ok(Proving::Unproven);
    }
    if !content::put(tx, link, now_ms - CLAIM_LIFETIME_MS).await? {
        return Ok(Proving::BeingDeleted);
    }
    if proof.kind == LinkProof::Fetched {
        content::put_source(tx, &link.digest, &repository.upstream).await?;
    }
    if proof.link_epoch != 0 && proof.link_epoch < link_epoch {
        // A purge must not be undone by who was on the way before it. The bytes are known of, so that they go some time.
        link::note_if_unlinked(tx, &link.digest, now_ms).await?;
        return Ok(Proving::Outdated);
    }
    Ok(Proving::Proven)
}

async fn put(tx: &mut WriteTx, repository: &RepositoryRef, link: &Link, now_ms: i64) -> UseCaseResult<()> {
    corruption::heal(tx, &link.digest, now_ms).await?;
    Ok(link::put(tx, repository, link, now_ms).await?)
}

/// The revision that there is now.
pub async fn revision(store: &Store) -> UseCaseResult<i64> {
    Ok(changes::current_revision(&mut *store.read().await?).await?.number)
}
