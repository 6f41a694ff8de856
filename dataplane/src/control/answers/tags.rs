//! The decisions on pulls by tag.

use std::sync::Arc;

use roadstead_proto::Tag;

use crate::{
    control::{
        ControlError, RefusalReason, Refused, RepositoryRef, ServeManifest, TagOutcome, TagResolution, TagVerdict,
        client::NodeClient,
        memory::{
            links::LinkMemory,
            tags::{AskedAt, TagMemory},
        },
        tag::Brought,
    },
    singleflight::next_run::NextRun,
};

/// Decisions about tags. The control plane makes them; they are remembered for as long as it says that they hold, and for the
/// time when it is unavailable.
pub struct Tags {
    asked: Arc<Asked>,
    resolving: NextRun<(RepositoryRef, Tag), Result<TagResolution, ControlError>>,
}

impl Tags {
    pub(crate) fn new(client: Arc<NodeClient>, memory: Arc<TagMemory>, links: Arc<LinkMemory>) -> Self {
        Self { asked: Arc::new(Asked { client, memory, links }), resolving: NextRun::default() }
    }

    /// Returns what to do about a pull by tag. While the control plane's last decision holds, that is repeated without a
    /// call; otherwise the control plane is asked. Those who ask at the same time share a call; none gets an answer to a call that
    /// was sent before it asked, so that each hears of every change that came before its pull.
    pub async fn resolve(&self, repository: &RepositoryRef, tag: &Tag) -> Result<TagResolution, ControlError> {
        if let Some(serve) = self.asked.memory.fresh(repository, tag) {
            return Ok(TagResolution::Serve(serve));
        }
        let key = (repository.clone(), tag.clone());
        let (asked, (repository, tag)) = (Arc::clone(&self.asked), key.clone());
        let work = move || async move { asked.resolve(&repository, &tag).await };
        let lost = |_| ControlError::Unavailable { call: "ResolveTag", message: "the call was lost".to_owned() };
        self.resolving.run(key, work).await.map_err(lost)?
    }

    /// Tells what upstream said of a tag, and asks what to do now.
    pub async fn report(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
    ) -> Result<TagVerdict, ControlError> {
        self.asked.report(repository, tag, outcome).await
    }

    /// Returns what to do about a pull by tag while the control plane is unavailable; `None` if nothing is remembered of the
    /// tag, or it is void by now.
    pub fn remembered(&self, repository: &RepositoryRef, tag: &Tag) -> Option<Result<ServeManifest, Refused>> {
        self.asked.memory.get(repository, tag)
    }

    /// Returns the tags of a repository that are remembered to be cached, in no order.
    pub fn remembered_tags(&self, repository: &RepositoryRef) -> Vec<String> {
        self.asked.memory.of_repository(repository)
    }
}

/// Asks, and remembers the answers.
struct Asked {
    client: Arc<NodeClient>,
    memory: Arc<TagMemory>,
    links: Arc<LinkMemory>,
}

impl Asked {
    async fn resolve(&self, repository: &RepositoryRef, tag: &Tag) -> Result<TagResolution, ControlError> {
        let has_another_way = self.memory.get(repository, tag).is_some();
        let asked = self.memory.asking(repository);
        let (resolution, brought) = self.client.resolve_tag(repository, tag, has_another_way).await?;
        match &resolution {
            TagResolution::Serve(serve) => self.remember(repository, tag, serve, brought, asked),
            TagResolution::Refuse(refused) => self.refused(repository, tag, refused),
            TagResolution::Revalidate { .. } | TagResolution::Fetch(_) => {}
        }
        Ok(resolution)
    }

    async fn report(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
    ) -> Result<TagVerdict, ControlError> {
        let has_another_way = self.memory.get(repository, tag).is_some();
        let asked = self.memory.asking(repository);
        let (verdict, brought) = self.client.report_tag(repository, tag, outcome, has_another_way).await?;
        match &verdict {
            TagVerdict::Serve(serve) => self.remember(repository, tag, serve, brought, asked),
            TagVerdict::Refuse(refused) => self.refused(repository, tag, refused),
            TagVerdict::Fetch(_) => {}
        }
        Ok(verdict)
    }

    fn remember(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        serve: &ServeManifest,
        brought: Option<Brought>,
        asked: Option<AskedAt>,
    ) {
        let Some(brought) = brought else { return };
        self.memory.remember(repository, tag, &serve.manifest, serve.age, &brought, asked.as_ref());
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
