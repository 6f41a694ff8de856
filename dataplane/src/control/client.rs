//! Asking the control plane.

pub mod lease;
pub mod sign_in;
pub mod stored;
pub mod tag;
pub mod translate;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use roadstead_proto::{
    Digest, Tag, UpstreamHost,
    client::ControlReplicas,
    node::v1::{self as pb, node_service_client::NodeServiceClient},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::watch, time::timeout};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};
use tracing::{Instrument, info_span};

use self::translate::Problem;
use super::{
    Conditions, ControlError, Credential, GroupId, Link, PolicySnapshot, Pull, Recorded, Reference, RepositoryRef,
    SignIn, SignInResult,
};
use crate::control::{
    jobs::Offers,
    memory::{credentials::CredentialMemory, links::LinkCache, tags::TagMemory},
    reports::usage::{Batch, UsageCounter},
    sync::{
        liveness::Contact,
        staleness::{Doubt, QUIET},
    },
};
use crate::node_id::NodeId;
use crate::trace_context;

/// How long a call may take. Uncached pulls are to fail within ten seconds, upstream's part included.
const CALL_TIME: Duration = Duration::from_secs(4);
/// The same for calls that there is a way without, while calls fail.
const TROUBLED_CALL_TIME: Duration = Duration::from_millis(500);

/// The node token holds characters that no header can carry.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the node token may hold visible ASCII characters only")]
pub struct InvalidNodeToken;

/// The node's connection to the control plane, and what it remembers of it.
pub struct ControlClient {
    pub(super) service: NodeServiceClient<ControlReplicas>,
    pub(super) node_name: String,
    pub(super) node_id: NodeId,
    pub(super) policy: ArcSwap<PolicySnapshot>,
    pub(super) has_snapshot: watch::Sender<bool>,
    /// The revision of `policy`, told when that is in place.
    pub(super) applied: watch::Sender<i64>,
    pub(super) usage: UsageCounter,
    pub(super) offers: Offers,
    conditions: Arc<Conditions>,
    authorization: MetadataValue<Ascii>,
    pub(super) contact: Contact,
    /// Where what is known is kept.
    pub(super) folder: OnceLock<PathBuf>,
    pub(super) doubt: Doubt,
    pub(super) links: LinkCache,
    pub(super) tags: TagMemory,
    credentials: CredentialMemory,
}

impl ControlClient {
    /// Connects to `control` as the node that `node_token` belongs to. Nothing is known before [`Self::run`] runs.
    pub fn new(
        control: impl Into<ControlReplicas>,
        node_token: &SecretString,
        node_name: &str,
        node_id: NodeId,
    ) -> Result<Arc<Self>, InvalidNodeToken> {
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {}", node_token.expose_secret()).parse().map_err(|_| InvalidNodeToken)?;
        authorization.set_sensitive(true);
        Ok(Arc::new(Self {
            // An answer about an index brings a link for each of its 10,000 references at most, some 200 bytes each.
            service: NodeServiceClient::new(control.into()).max_decoding_message_size(64 * 1024 * 1024),
            node_name: node_name.to_owned(),
            node_id,
            policy: ArcSwap::default(),
            has_snapshot: watch::Sender::new(false),
            applied: watch::Sender::new(0),
            usage: UsageCounter::new(),
            offers: Offers::new(),
            conditions: Arc::default(),
            authorization,
            contact: Contact::new(),
            folder: OnceLock::new(),
            doubt: Doubt::default(),
            links: LinkCache::new(),
            tags: TagMemory::new(),
            credentials: CredentialMemory::new(),
        }))
    }

    /// What the control plane told last; empty before it said anything.
    pub fn policy(&self) -> Arc<PolicySnapshot> {
        self.policy.load_full()
    }

    /// This node's id.
    pub const fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// What is known of upstreams by credentials.
    pub const fn conditions(&self) -> &Arc<Conditions> {
        &self.conditions
    }

    /// Whether the control plane has told anything yet.
    pub fn has_snapshot(&self) -> bool {
        *self.has_snapshot.borrow()
    }

    /// Waits until the control plane has told something.
    pub async fn wait_for_snapshot(&self) {
        // The sender lives as long as `self`: this cannot fail.
        let _ = self.has_snapshot.subscribe().wait_for(|has| *has).await;
    }

    /// Time since the last word from the control plane, or since the start if there was none.
    pub fn last_contact(&self) -> Duration {
        self.contact.silent_for()
    }

    /// When that was; differs from word to word.
    pub(super) fn last_word(&self) -> u64 {
        self.contact.last_word()
    }

    pub(super) fn heard(&self) {
        if self.last_contact() > QUIET {
            self.doubt.raise();
        }
        self.contact.heard();
    }

    /// The time by which it is judged whether a token has expired: while the control plane is away, that of its last word.
    pub fn judged_at(&self) -> SystemTime {
        self.contact.judged_at()
    }

    /// For how long nothing was heard although the control plane answers calls: by so much this node is behind.
    pub fn lag(&self) -> Option<Duration> {
        self.contact.lag()
    }

    /// Checks credentials and gets a registry token for them. `has_another_way` says that there is something to do without an
    /// answer, so that none is waited for long while calls fail.
    pub async fn sign_in(&self, sign_in: SignIn, has_another_way: bool) -> Result<SignInResult, ControlError> {
        let request = self.request(translate::sign_in_to_pb(sign_in));
        let time = self.call_time(has_another_way);
        let answer = self.call_within(time, "SignIn", self.service.clone().sign_in(request)).await?;
        translate::signed_in(answer).map_err(bad_answer("SignIn"))
    }

    /// The group's link to a digest, if it is remembered and no link of the group was removed since. Asks nobody.
    pub fn remembered_link(&self, at: &RepositoryRef, digest: &Digest) -> Option<Arc<Link>> {
        let policy = self.policy.load();
        let group = policy.group_by_id(&at.group)?;
        self.links.get(at, digest, group.link_epoch)
    }

    /// The group's link to a digest, remembered or asked for. For a manifest, the links to what it refers to are
    /// remembered along with it. That there is none is not remembered: any node may record it at any time.
    pub async fn link(&self, at: &RepositoryRef, digest: &Digest) -> Result<Option<Arc<Link>>, ControlError> {
        const CALL: &str = "GetLinks";
        if let Some(link) = self.remembered_link(at, digest) {
            return Ok(Some(link));
        }
        let message =
            pb::GetLinksRequest { repository: Some(translate::repository_to_pb(at)), digest: digest.to_string() };
        let answer = self.call(CALL, self.service.clone().get_links(self.request(message))).await?;
        let link = answer.link.map(translate::link).transpose().map_err(bad_answer(CALL))?;
        let referenced = translate::links(answer.referenced).map_err(bad_answer(CALL))?;
        if link.as_ref().is_some_and(|link| link.digest != *digest) {
            return Err(bad_answer(CALL)(format!("{digest} was asked for")));
        }
        self.remember(at, link.iter().cloned().chain(referenced), answer.link_epoch);
        Ok(link)
    }

    /// Records content that is stored and the group's right to it, proven since it had the link epoch `proven_at`; for a
    /// manifest, what it refers to and the tag it was fetched for.
    pub async fn record_link(
        &self,
        at: &RepositoryRef,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        proven_at: i64,
    ) -> Result<Recorded, ControlError> {
        const CALL: &str = "RecordLink";
        let message = pb::RecordLinkRequest {
            repository: Some(translate::repository_to_pb(at)),
            link: Some(translate::link_to_pb(link)),
            references: references.iter().map(translate::reference_to_pb).collect(),
            tag: tag.map(Tag::to_string).unwrap_or_default(),
            link_epoch: proven_at,
        };
        let answer = self.call(CALL, self.service.clone().record_link(self.request(message))).await?;
        if answer.outdated {
            return Ok(Recorded::Outdated);
        }
        if !answer.recorded {
            return Ok(Recorded::BeingDeleted);
        }
        let referenced = translate::links(answer.referenced).map_err(bad_answer(CALL))?;
        let link = Arc::new(link.clone());
        if let Some(tag) = tag {
            let good_for = Duration::from_secs(u64::try_from(answer.unconfirmed_seconds).unwrap_or_default());
            self.remember_tag(at, tag, &link, answer.link_epoch, Duration::ZERO, good_for);
        }
        self.remember(at, referenced.into_iter().chain([link]), answer.link_epoch);
        Ok(Recorded::Recorded)
    }

    /// The group's credentials for an upstream, if they are remembered; the inner `None` if it has none.
    pub fn remembered_credential(&self, group: &GroupId, upstream: &UpstreamHost) -> Option<Option<Arc<Credential>>> {
        let epoch = self.policy.load().group_by_id(group).map(|group| group.credential_epoch)?;
        self.credentials.get(group, upstream, epoch)
    }

    /// The group's credentials for an upstream, remembered or asked for; `None` if it has none.
    pub async fn credential(
        &self,
        group: &GroupId,
        upstream: &UpstreamHost,
    ) -> Result<Option<Arc<Credential>>, ControlError> {
        if let Some(known) = self.remembered_credential(group, upstream) {
            return Ok(known);
        }
        let message = pb::GetCredentialRequest { group_id: group.to_string(), upstream: upstream.to_string() };
        let answer = self.call("GetCredential", self.service.clone().get_credential(self.request(message))).await?;
        let is_there = !answer.username.is_empty() || !answer.password.is_empty();
        let credential = is_there.then(|| Arc::new(Credential::new(answer.username, answer.password.into())));
        self.credentials.put(group, upstream, answer.credential_epoch, credential.clone());
        Ok(credential)
    }

    /// Counts a pull. Never waits for the control plane.
    pub fn record_usage(&self, at: &RepositoryRef, digest: &Digest, pull: Pull) {
        self.usage.record(at, digest, pull);
    }

    pub(super) async fn send_usage(&self, batch: &Batch) -> Result<(), ControlError> {
        let request = self.request(translate::batch_to_pb(batch));
        self.call("RecordUsage", self.service.clone().record_usage(request)).await.map(|_| ())
    }

    /// The message as a call of this node, within the current trace.
    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        trace_context::inject(metadata.as_mut());
        metadata.insert("authorization", self.authorization.clone());
        request
    }

    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ControlError> {
        self.call_within(CALL_TIME, name, answer).await
    }

    pub(super) async fn call_within<T>(
        &self,
        time: Duration,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ControlError> {
        let answer = answer.instrument(info_span!("control", rpc.method = name));
        let answer = match timeout(time, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(ControlError::from_status(name, &status)),
            Err(_) => Err(ControlError::Timeout { call: name }),
        };
        match &answer {
            Err(error) if error.retryable() => self.contact.unanswered(),
            _ => {
                self.contact.answered();
                self.doubt.answered();
            }
        }
        answer
    }

    pub(super) fn call_time(&self, has_another_way: bool) -> Duration {
        if has_another_way && self.contact.is_troubled() { TROUBLED_CALL_TIME } else { CALL_TIME }
    }

    pub(super) fn remember(&self, at: &RepositoryRef, links: impl IntoIterator<Item = Arc<Link>>, read_at: i64) {
        let policy = self.policy.load();
        let Some(group) = policy.group_by_id(&at.group) else { return };
        for link in links {
            self.links.put(at, link, read_at, group.link_epoch);
        }
    }
}

pub(super) fn bad_answer(call: &'static str) -> impl Fn(Problem) -> ControlError {
    move |problem| ControlError::BadAnswer { call, problem }
}
