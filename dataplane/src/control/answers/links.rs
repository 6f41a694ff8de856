//! The rights that groups have to content.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{Digest, Tag};
use tokio::time::Instant;

use super::link_batches::{LinkBatches, Urgency};
use crate::control::{
    ControlError, Link, LinkLookup, Proof, ProvenLink, Recorded, Reference, RepositoryRef,
    client::NodeClient,
    memory::{links::LinkMemory, tags::TagMemory},
};

/// Links, as the control plane keeps them.
pub struct Links {
    client: Arc<NodeClient>,
    memory: Arc<LinkMemory>,
    tags: Arc<TagMemory>,
    batches: LinkBatches,
}

impl Links {
    pub(crate) fn new(client: Arc<NodeClient>, memory: Arc<LinkMemory>, tags: Arc<TagMemory>) -> Self {
        let batches = LinkBatches::new(Arc::clone(&client));
        Self { client, memory, tags, batches }
    }

    /// Returns the group's link to a digest, if it is remembered and no link of the group was removed since.
    pub fn remembered(&self, repository: &RepositoryRef, digest: &Digest) -> Option<Arc<Link>> {
        self.memory.get(repository, digest)
    }

    /// Returns what is known without a question: the group's link to a digest, or that it was missing a moment ago.
    pub fn lookup(&self, repository: &RepositoryRef, digest: &Digest) -> Option<LinkLookup> {
        self.memory.lookup(repository, digest)
    }

    /// Asks for the group's link to a digest. The answer also tells of other content: links are remembered for as
    /// long as they hold, missing ones for a moment, because any node may record them at any time.
    pub async fn get(&self, repository: &RepositoryRef, digest: &Digest) -> Result<LinkLookup, ControlError> {
        if let Some(known) = self.lookup(repository, digest) {
            return Ok(known);
        }
        let asked_at = Instant::now();
        let answer = self.client.get_links(repository, digest).await?;
        let all = answer.link.iter().cloned().chain(answer.referenced);
        self.memory.put(repository, all, answer.link_epoch);
        self.memory.put_missing(repository, &answer.unlinked, answer.link_epoch, asked_at);
        Ok(match answer.link {
            Some(link) => LinkLookup::Linked(link),
            None => LinkLookup::Unlinked { is_from_upstream: answer.is_from_upstream },
        })
    }

    /// Records a manifest that is stored and the group's right to it, with its proof, what it refers to and the tag it was
    /// fetched for.
    pub async fn record(
        &self,
        repository: &RepositoryRef,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        proof: Proof,
    ) -> Result<Recorded, ControlError> {
        let asked_at = Instant::now();
        let (recorded, brought) = self.client.record_link(repository, link, references, tag, proof).await?;
        if recorded == Recorded::Recorded {
            let link = Arc::new(link.clone());
            if let Some(tag) = tag {
                self.tags.remember(repository, tag, &link, Duration::ZERO, &brought, None);
            }
            self.memory.put_missing(repository, &brought.unlinked, brought.link_epoch, asked_at);
            self.memory.arrived(&link.digest);
            self.memory.put(repository, brought.referenced.into_iter().chain([link]), brought.link_epoch);
        }
        Ok(recorded)
    }

    /// Records a blob that is stored and the group's right to it, with its proof, in one call with others.
    pub async fn record_blob(
        &self,
        repository: &RepositoryRef,
        link: &Link,
        proof: Proof,
        urgency: Urgency,
    ) -> Result<Recorded, ControlError> {
        let proven = ProvenLink { repository: repository.clone(), link: link.clone(), proof };
        let (recorded, link_epoch) = self.batches.record(proven, urgency).await?;
        if recorded == Recorded::Recorded {
            self.memory.arrived(&link.digest);
            self.memory.put(repository, [Arc::new(link.clone())], link_epoch);
        }
        Ok(recorded)
    }

    /// Sends links that wait for others, and keeps none waiting from here on: the node stops.
    pub fn hurry(&self) {
        self.batches.hurry();
    }
}
