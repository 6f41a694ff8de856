//! One function a call.

use std::time::Duration;

use roadstead_proto::{Digest, Tag, UpstreamHost, node::v1 as pb};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    NodeClient, condition,
    condition::UpstreamReport,
    job::{self, Job, JobReport},
    lease::{self, FillQuestion, FillTurn, HeldFill},
    links::{self, LinksAnswer},
    node_report::{self, NodeReport},
    sign_in::{SignIn, SignInResult},
    status,
    stored::{self, ClaimedGarbage, Corruption, StoredContent},
    tags, translate,
    usage::{self, Batch},
    watch::{self, WatchStream},
};
use crate::control::{
    BlobRecorded, ControlError, Credential, GroupId, Link, PolicySnapshot, Proof, ProvenLink, Recorded, Reference,
    RepositoryRef, TagOutcome, TagResolution, TagVerdict, tag::Brought,
};

/// Timeout for opening the watch.
const OPEN_TIME: Duration = Duration::from_secs(5);

impl NodeClient {
    /// Opens the watch; it tells what changed since the revision of `have`, or everything if the control plane cannot tell that or
    /// `wants_snapshot`. `registry_url` is where clients reach this node; empty if that is not known.
    pub(crate) async fn watch(
        &self,
        registry_url: &str,
        have: &PolicySnapshot,
        wants_snapshot: bool,
    ) -> Result<WatchStream, ControlError> {
        let request = self.request(pb::WatchRequest {
            node_name: self.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resume_revision: have.revision(),
            registry_url: registry_url.to_owned(),
            node_id: self.node.id.to_string(),
            resume_mark: have.mark().to_string(),
            wants_snapshot,
        });
        match timeout(OPEN_TIME, self.service().watch(request)).await {
            Ok(Ok(response)) => Ok(WatchStream::new(response.into_inner())),
            Ok(Err(status)) => Err(status::error_of(watch::CALL, &status)),
            Err(_) => Err(ControlError::Timeout { call: watch::CALL }),
        }
    }

    /// Returns the revision that this node, which serves by `known`, comes to have.
    pub(crate) async fn current_revision(&self, known: &PolicySnapshot) -> Result<i64, ControlError> {
        let (known_revision, known_mark) = (known.revision(), known.mark().to_string());
        let request = self.request(pb::GetRevisionRequest { known_revision, known_mark });
        self.call("GetRevision", self.service().get_revision(request), |answer| Ok(answer.revision)).await
    }

    /// Checks credentials and gets a registry token for them. `has_another_way` says that there is something to do without
    /// an answer, so that none is waited for long while calls fail.
    pub async fn sign_in(&self, sign_in: SignIn, has_another_way: bool) -> Result<SignInResult, ControlError> {
        let request = self.request(translate::sign_in_to_pb(sign_in));
        let time = self.call_time(has_another_way);
        self.call_within(time, "SignIn", self.service().sign_in(request), translate::signed_in).await
    }

    /// Asks what to do about a pull by tag.
    pub(crate) async fn resolve_tag(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        has_another_way: bool,
    ) -> Result<(TagResolution, Option<Brought>), ControlError> {
        let request = self.request(pb::ResolveTagRequest {
            repository: Some(translate::repository_to_pb(repository)),
            tag: tag.to_string(),
            node_id: self.node.id.to_string(),
        });
        let time = self.call_time(has_another_way);
        self.call_within(time, "ResolveTag", self.service().resolve_tag(request), tags::read_resolution).await
    }

    /// Tells what upstream said of a tag, and asks what to do now.
    pub(crate) async fn report_tag(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
        has_another_way: bool,
    ) -> Result<(TagVerdict, Option<Brought>), ControlError> {
        let request = self.request(pb::ReportTagRequest {
            repository: Some(translate::repository_to_pb(repository)),
            tag: tag.to_string(),
            outcome: Some(translate::outcome_to_pb(outcome)),
        });
        let time = self.call_time(has_another_way);
        self.call_within(time, "ReportTag", self.service().report_tag(request), tags::read_verdict).await
    }

    /// Asks for the group's link to a digest.
    pub(crate) async fn get_links(
        &self,
        repository: &RepositoryRef,
        digest: &Digest,
    ) -> Result<LinksAnswer, ControlError> {
        let request = self.request(pb::GetLinksRequest {
            repository: Some(translate::repository_to_pb(repository)),
            digest: digest.to_string(),
        });
        self.call("GetLinks", self.service().get_links(request), |answer| links::read_links(digest, answer)).await
    }

    /// Records a link.
    pub(crate) async fn record_link(
        &self,
        repository: &RepositoryRef,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        proof: Proof,
    ) -> Result<(Recorded, Brought), ControlError> {
        let request = self.request(pb::RecordLinkRequest {
            repository: Some(translate::repository_to_pb(repository)),
            link: Some(translate::link_to_pb(link)),
            references: references.iter().map(translate::reference_to_pb).collect(),
            tag: tag.map(Tag::to_string).unwrap_or_default(),
            link_epoch: proof.link_epoch,
            proof: translate::proof_to_pb(proof.kind).into(),
        });
        self.call("RecordLink", self.service().record_link(request), links::read_recorded).await
    }

    /// Records links to blobs; each has its own result.
    pub(crate) async fn record_links(&self, proven: &[ProvenLink]) -> Result<Vec<BlobRecorded>, ControlError> {
        let request = self.request(pb::RecordLinksRequest { links: proven.iter().map(links::proven_to_pb).collect() });
        let read = |answer| links::read_results(proven.len(), answer);
        self.call("RecordLinks", self.service().record_links(request), read).await
    }

    /// Asks for the group's credentials for an upstream, and the epoch at which they were read.
    pub(crate) async fn get_credential(
        &self,
        group: &GroupId,
        upstream: &UpstreamHost,
    ) -> Result<(Option<Credential>, i64), ControlError> {
        let message = pb::GetCredentialRequest { group_id: group.to_string(), upstream: upstream.to_string() };
        let read = |answer: pb::GetCredentialResponse| {
            let is_there = !answer.username.is_empty() || !answer.password.is_empty();
            let credential = is_there.then(|| Credential::new(answer.username, answer.password.into()));
            Ok((credential, answer.credential_epoch))
        };
        self.call("GetCredential", self.service().get_credential(self.request(message)), read).await
    }

    /// Reports pulls.
    pub(crate) async fn record_usage(&self, batch: &Batch) -> Result<(), ControlError> {
        let request = self.request(usage::batch_to_pb(batch));
        self.call("RecordUsage", self.service().record_usage(request), |_| Ok(())).await
    }

    /// Reports what this node learnt of upstreams.
    pub(crate) async fn report_upstreams(&self, batch: Uuid, reports: &[UpstreamReport]) -> Result<(), ControlError> {
        let request = self.request(pb::ReportUpstreamsRequest {
            batch_id: batch.to_string(),
            reports: reports.iter().map(condition::report_to_pb).collect(),
            node_name: self.node.name.clone(),
        });
        self.call("ReportUpstreams", self.service().report_upstreams(request), |_| Ok(())).await
    }

    /// Reports how this node is.
    pub async fn report_node(&self, report: NodeReport) -> Result<(), ControlError> {
        let request = self.request(node_report::report_to_pb(report, &self.node));
        self.call("ReportNode", self.service().report_node(request), |_| Ok(())).await
    }

    /// Asks for the right to fetch a blob or manifest for all nodes.
    pub async fn acquire_fill(&self, question: FillQuestion<'_>) -> Result<FillTurn, ControlError> {
        let request = self.request(pb::AcquireFillRequest {
            digest: question.digest.to_string(),
            node_id: self.node.id.to_string(),
            repository: Some(translate::repository_to_pb(question.repository)),
            lost_node_id: question.lost_node_id.to_owned(),
            peer_url: question.peer_url.to_owned(),
            link_epoch: question.link_epoch,
        });
        self.call("AcquireFill", self.service().acquire_fill(request), lease::read_turn).await
    }

    /// Renews leases, and returns those that were lost.
    pub async fn renew_fills(&self, held: &[HeldFill]) -> Result<Vec<HeldFill>, ControlError> {
        let fills = held.iter().map(lease::held_to_pb).collect();
        let request = self.request(pb::RenewFillsRequest { node_id: self.node.id.to_string(), fills });
        self.call("RenewFills", self.service().renew_fills(request), lease::read_lost).await
    }

    /// Gives a lease back.
    pub async fn release_fill(&self, fill: &HeldFill) -> Result<(), ControlError> {
        let fill = Some(lease::held_to_pb(fill));
        let request = self.request(pb::ReleaseFillRequest { node_id: self.node.id.to_string(), fill });
        self.call("ReleaseFill", self.service().release_fill(request), |_| Ok(())).await
    }

    /// Claims stored content that nobody links any more, for the caller to delete. `void_earlier` says that nobody here
    /// works on an earlier claim.
    pub async fn claim_garbage(
        &self,
        store_id: &str,
        limit: u16,
        void_earlier: bool,
    ) -> Result<ClaimedGarbage, ControlError> {
        let request = self.request(pb::ClaimGarbageRequest {
            limit: limit.into(),
            node_id: self.node.id.to_string(),
            store_id: store_id.to_owned(),
            void_earlier,
        });
        let read = |answer: pb::ClaimGarbageResponse| {
            Ok(ClaimedGarbage { digests: stored::digests(&answer.digests)?, claim_id: answer.claim_id })
        };
        self.call("ClaimGarbage", self.service().claim_garbage(request), read).await
    }

    /// Confirms that claimed content was deleted.
    pub async fn confirm_garbage(&self, claim_id: &str, digests: &[Digest]) -> Result<(), ControlError> {
        let digests = digests.iter().map(Digest::to_string).collect();
        let request = self.request(pb::ConfirmGarbageRequest { digests, claim_id: claim_id.to_owned() });
        self.call("ConfirmGarbage", self.service().confirm_garbage(request), |_| Ok(())).await
    }

    /// Tells of contents that were found in the store; what nobody knows becomes garbage. Returns how much that was, and
    /// which linked contents have another size.
    pub async fn adopt_contents(
        &self,
        store_id: &str,
        found: impl IntoIterator<Item = StoredContent>,
    ) -> Result<(u64, Vec<Digest>), ControlError> {
        let contents = found.into_iter().map(stored::content_to_pb).collect();
        let request = self.request(pb::AdoptContentsRequest { contents, store_id: store_id.to_owned() });
        let read = |answer: pb::AdoptContentsResponse| {
            let wrong_size = stored::digests(&answer.wrong_size_digests)?;
            Ok((translate::unsigned("a count", answer.adopted)?, wrong_size))
        };
        self.call("AdoptContents", self.service().adopt_contents(request), read).await
    }

    /// Reports what is not in the store as it should be, and what was fetched again. Returns which corruption counts.
    pub async fn report_corruption(
        &self,
        store_id: &str,
        corruptions: &[Corruption],
        healed: &[Digest],
    ) -> Result<Vec<Digest>, ControlError> {
        let request = self.request(pb::ReportCorruptionRequest {
            corruptions: corruptions.iter().map(stored::corruption_to_pb).collect(),
            healed_digests: healed.iter().map(Digest::to_string).collect(),
            store_id: store_id.to_owned(),
        });
        let read = |answer: pb::ReportCorruptionResponse| stored::digests(&answer.recorded_digests);
        self.call("ReportCorruption", self.service().report_corruption(request), read).await
    }

    /// Returns which linked contents to hash next; none if all were hashed lately.
    pub async fn claim_scrub(&self, store_id: &str, limit: u16) -> Result<Vec<StoredContent>, ControlError> {
        let request = self.request(pb::ClaimScrubRequest { limit: limit.into(), store_id: store_id.to_owned() });
        let read = |answer: pb::ClaimScrubResponse| stored::contents(answer.contents);
        self.call("ClaimScrub", self.service().claim_scrub(request), read).await
    }

    /// Returns the next contents that a group links, in the order of digests, and how many there are in all.
    pub async fn group_contents(
        &self,
        group: &GroupId,
        after: Option<&Digest>,
    ) -> Result<(Vec<StoredContent>, u64), ControlError> {
        let after_digest = after.map(Digest::to_string).unwrap_or_default();
        let request =
            self.request(pb::ListGroupContentsRequest { group_id: group.to_string(), after_digest, limit: 0 });
        let read = |answer: pb::ListGroupContentsResponse| {
            Ok((stored::contents(answer.contents)?, translate::unsigned("a count", answer.total)?))
        };
        self.call("ListGroupContents", self.service().list_group_contents(request), read).await
    }

    /// Claims a job; `None` if another node has it, or nobody waits for it any more.
    pub async fn claim_job(&self, id: &str) -> Result<Option<Job>, ControlError> {
        let request = self.request(pb::ClaimJobRequest { id: id.to_owned() });
        match self.call("ClaimJob", self.service().claim_job(request), job::read_job).await {
            Err(ControlError::NotFound { .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Tells of a job. False if nobody waits for it any more.
    pub async fn report_job(&self, id: &str, report: &JobReport) -> Result<bool, ControlError> {
        let report = Some(job::report_to_pb(report));
        let request = self.request(pb::ReportJobRequest { id: id.to_owned(), report });
        match self.call("ReportJob", self.service().report_job(request), |_| Ok(())).await {
            Err(ControlError::NotFound { .. }) => Ok(false),
            answer => answer.map(|()| true),
        }
    }
}
