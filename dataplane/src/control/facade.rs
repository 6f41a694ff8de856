//! The whole of [`Control`] under the names it had before its parts were taken separately; goes away with the last caller.

use std::sync::Arc;

use roadstead_proto::{Digest, Tag, UpstreamHost};

use super::{
    ClaimedGarbage, Conditions, Control, ControlError, Credential, Damage, FillQuestion, FillTurn, GroupId, HeldFill,
    Link, LinkLookup, OutOfSync, PolicySnapshot, Proof, Pull, Recorded, Reference, Refused, RepositoryRef,
    ServeManifest, StoredContent, TagOutcome, TagResolution, TagVerdict,
};

#[allow(missing_docs)]
impl Control {
    pub fn policy(&self) -> Arc<PolicySnapshot> {
        self.policy.current()
    }
    pub const fn conditions(&self) -> &Arc<Conditions> {
        &self.conditions
    }
    pub async fn wait_for_snapshot(&self) {
        self.policy.wait_for_snapshot().await;
    }
    pub fn remembered_link(&self, repository: &RepositoryRef, digest: &Digest) -> Option<Arc<Link>> {
        self.links.remembered(repository, digest)
    }
    pub async fn link(&self, repository: &RepositoryRef, digest: &Digest) -> Result<LinkLookup, ControlError> {
        self.links.get(repository, digest).await
    }
    pub async fn record_link(
        &self,
        repository: &RepositoryRef,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        proof: Proof,
    ) -> Result<Recorded, ControlError> {
        self.links.record(repository, link, references, tag, proof).await
    }
    pub fn remembered_credential(&self, group: &GroupId, upstream: &UpstreamHost) -> Option<Option<Arc<Credential>>> {
        self.credentials.remembered(group, upstream)
    }
    pub async fn credential(
        &self,
        group: &GroupId,
        upstream: &UpstreamHost,
    ) -> Result<Option<Arc<Credential>>, ControlError> {
        self.credentials.get(group, upstream).await
    }
    pub fn record_usage(&self, repository: &RepositoryRef, digest: &Digest, pull: Pull) {
        self.usage.record(repository, digest, pull);
    }
    pub fn is_in_doubt(&self) -> bool {
        self.sync.may_be_stale()
    }
    pub async fn settle(&self) -> Result<(), OutOfSync> {
        self.sync.ensure_synced().await
    }
    pub async fn resolve_tag(&self, repository: &RepositoryRef, tag: &Tag) -> Result<TagResolution, ControlError> {
        self.tags.resolve(repository, tag).await
    }
    pub async fn report_tag(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
    ) -> Result<TagVerdict, ControlError> {
        self.tags.report(repository, tag, outcome).await
    }
    pub fn remembered_tag(&self, repository: &RepositoryRef, tag: &Tag) -> Option<Result<ServeManifest, Refused>> {
        self.tags.remembered(repository, tag)
    }
    pub async fn claim_garbage(
        &self,
        store_id: &str,
        limit: u16,
        void_earlier: bool,
    ) -> Result<ClaimedGarbage, ControlError> {
        self.client.claim_garbage(store_id, limit, void_earlier).await
    }
    pub async fn confirm_garbage(&self, claim_id: &str, digests: &[Digest]) -> Result<(), ControlError> {
        self.client.confirm_garbage(claim_id, digests).await
    }
    pub async fn adopt_contents(
        &self,
        store_id: &str,
        found: impl IntoIterator<Item = StoredContent>,
    ) -> Result<(u64, Vec<Digest>), ControlError> {
        self.client.adopt_contents(store_id, found).await
    }
    pub async fn report_damage(
        &self,
        store_id: &str,
        damages: &[Damage],
        healed: &[Digest],
    ) -> Result<Vec<Digest>, ControlError> {
        self.client.report_damage(store_id, damages, healed).await
    }
    pub async fn claim_scrub(&self, store_id: &str, limit: u16) -> Result<Vec<StoredContent>, ControlError> {
        self.client.claim_scrub(store_id, limit).await
    }
    pub async fn group_contents(
        &self,
        group: &GroupId,
        after: Option<&Digest>,
    ) -> Result<(Vec<StoredContent>, u64), ControlError> {
        self.client.group_contents(group, after).await
    }
    pub async fn acquire_fill(&self, question: FillQuestion<'_>) -> Result<FillTurn, ControlError> {
        self.client.acquire_fill(question).await
    }
    pub async fn renew_fills(&self, held: &[HeldFill]) -> Result<Vec<HeldFill>, ControlError> {
        self.client.renew_fills(held).await
    }
    pub async fn release_fill(&self, fill: &HeldFill) -> Result<(), ControlError> {
        self.client.release_fill(fill).await
    }
}
