//! What is to be done about pulls by tag.

use std::sync::Arc;

use roadstead_proto::Tag;

use crate::control::{
    ControlError, RefusalReason, Refused, RepositoryRef, ServeManifest, TagOutcome, TagResolution, TagVerdict,
    client::NodeClient,
    memory::{links::LinkMemory, tags::TagMemory},
    tag::Brought,
};

/// Decisions about tags. The control plane makes them; they are remembered for the time when it is unavailable.
pub struct Tags {
    client: Arc<NodeClient>,
    memory: Arc<TagMemory>,
    links: Arc<LinkMemory>,
}

impl Tags {
    pub(crate) const fn new(client: Arc<NodeClient>, memory: Arc<TagMemory>, links: Arc<LinkMemory>) -> Self {
        Self { client, memory, links }
    }

    /// Asks what to do about a pull by tag.
    pub async fn resolve(&self, repository: &RepositoryRef, tag: &Tag) -> Result<TagResolution, ControlError> {
        let has_another_way = self.remembered(repository, tag).is_some();
        let (resolution, brought) = self.client.resolve_tag(repository, tag, has_another_way).await?;
        match &resolution {
            TagResolution::Serve(serve) => self.remember(repository, tag, serve, brought),
            TagResolution::Refuse(refused) => self.refused(repository, tag, refused),
            TagResolution::Revalidate { .. } | TagResolution::Fetch(_) => {}
        }
        Ok(resolution)
    }

    /// Tells what upstream said of a tag, and asks what to do now.
    pub async fn report(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
    ) -> Result<TagVerdict, ControlError> {
        let has_another_way = self.remembered(repository, tag).is_some();
        let (verdict, brought) = self.client.report_tag(repository, tag, outcome, has_another_way).await?;
        match &verdict {
            TagVerdict::Serve(serve) => self.remember(repository, tag, serve, brought),
            TagVerdict::Refuse(refused) => self.refused(repository, tag, refused),
            TagVerdict::Fetch(_) => {}
        }
        Ok(verdict)
    }

    /// Returns what to do about a pull by tag while the control plane is unavailable; `None` if nothing is remembered of the
    /// tag, or it is void by now.
    pub fn remembered(&self, repository: &RepositoryRef, tag: &Tag) -> Option<Result<ServeManifest, Refused>> {
        self.memory.get(repository, tag)
    }

    fn remember(&self, repository: &RepositoryRef, tag: &Tag, serve: &ServeManifest, brought: Option<Brought>) {
        let Some(brought) = brought else { return };
        self.memory.remember(repository, tag, &serve.manifest, serve.age, &brought);
        let all = brought.referenced.into_iter().chain([Arc::clone(&serve.manifest)]);
        self.links.put(repository, all, brought.link_epoch);
    }

    /// A refusal for what upstream says, or the group's rules, ends what the tag resolved to; trouble does not.
    fn refused(&self, repository: &RepositoryRef, tag: &Tag, refused: &Refused) {
        if !matches!(refused.reason, RefusalReason::RateLimited | RefusalReason::UpstreamUnavailable) {
            self.memory.forget(repository, tag);
        }
    }
}
