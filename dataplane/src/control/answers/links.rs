//! The rights that groups have to content.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{Digest, Tag};

use crate::control::{
    ControlError, Link, LinkLookup, Proof, Recorded, Reference, RepositoryRef,
    client::NodeClient,
    memory::{links::LinkMemory, tags::TagMemory},
};

/// Links, as the control plane keeps them.
pub struct Links {
    client: Arc<NodeClient>,
    memory: Arc<LinkMemory>,
    tags: Arc<TagMemory>,
}

impl Links {
    pub(crate) const fn new(client: Arc<NodeClient>, memory: Arc<LinkMemory>, tags: Arc<TagMemory>) -> Self {
        Self { client, memory, tags }
    }

    /// Returns the group's link to a digest, if it is remembered and no link of the group was removed since.
    pub fn remembered(&self, repository: &RepositoryRef, digest: &Digest) -> Option<Arc<Link>> {
        self.memory.get(repository, digest)
    }

    /// Returns the group's link to a digest, remembered or asked for. For a manifest, the links to what it refers to are
    /// remembered along with it. A missing link is not remembered: any node may record it at any time.
    pub async fn get(&self, repository: &RepositoryRef, digest: &Digest) -> Result<LinkLookup, ControlError> {
        if let Some(link) = self.remembered(repository, digest) {
            return Ok(LinkLookup::Linked(link));
        }
        let answer = self.client.get_links(repository, digest).await?;
        let all = answer.link.iter().cloned().chain(answer.referenced);
        self.memory.put(repository, all, answer.link_epoch);
        Ok(match answer.link {
            Some(link) => LinkLookup::Linked(link),
            None => LinkLookup::Unlinked { is_from_upstream: answer.is_from_upstream },
        })
    }

    /// Records content that is stored and the group's right to it, with its proof; for a manifest, what it refers to and the
    /// tag it was fetched for.
    pub async fn record(
        &self,
        repository: &RepositoryRef,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        proof: Proof,
    ) -> Result<Recorded, ControlError> {
        let (recorded, brought) = self.client.record_link(repository, link, references, tag, proof).await?;
        if recorded == Recorded::Recorded {
            let link = Arc::new(link.clone());
            if let Some(tag) = tag {
                self.tags.remember(repository, tag, &link, Duration::ZERO, &brought, None);
            }
            self.memory.put(repository, brought.referenced.into_iter().chain([link]), brought.link_epoch);
        }
        Ok(recorded)
    }
}
