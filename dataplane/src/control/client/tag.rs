//! Asking the control plane about tags, and remembering what it says for the time when it is away.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use roadstead_proto::{Tag, node::v1 as pb};

use super::translate::{self, Served};
use crate::control::{
    ControlClient, ControlError, Link, RefusalReason, Refused, RepositoryRef, ServeManifest, TagOutcome, TagResolution,
    TagVerdict, client::bad_answer, memory::tags::Meaning,
};

impl ControlClient {
    /// Asks what to do about a pull by tag.
    pub async fn resolve_tag(&self, at: &RepositoryRef, tag: &Tag) -> Result<TagResolution, ControlError> {
        const CALL: &str = "ResolveTag";
        use pb::resolve_tag_response::Decision;
        let message = pb::ResolveTagRequest {
            repository: Some(translate::repository_to_pb(at)),
            tag: tag.to_string(),
            node_id: self.node_id.to_string(),
        };
        let time = self.call_time(self.remembered_tag(at, tag).is_some());
        let answer = self.call_within(time, CALL, self.service.clone().resolve_tag(self.request(message))).await?;
        match answer.decision {
            Some(Decision::Serve(serve)) => Ok(TagResolution::Serve(self.serve(CALL, at, tag, serve)?)),
            Some(Decision::Revalidate(pb::Revalidate { cached_digest })) => {
                let cached = (!cached_digest.is_empty()).then(|| translate::digest(&cached_digest)).transpose();
                Ok(TagResolution::Revalidate { cached: cached.map_err(bad_answer(CALL))? })
            }
            Some(Decision::Refuse(refuse)) => Ok(TagResolution::Refuse(self.refused(CALL, at, tag, refuse)?)),
            Some(Decision::Fetch(pb::FetchManifest { digest })) => {
                translate::digest(&digest).map(TagResolution::Fetch).map_err(bad_answer(CALL))
            }
            None => Err(bad_answer(CALL)("there is no decision".to_owned())),
        }
    }

    /// Tells what upstream said of a tag, and asks what to do now.
    pub async fn report_tag(
        &self,
        at: &RepositoryRef,
        tag: &Tag,
        outcome: TagOutcome,
    ) -> Result<TagVerdict, ControlError> {
        const CALL: &str = "ReportTag";
        use pb::report_tag_response::Decision;
        let message = pb::ReportTagRequest {
            repository: Some(translate::repository_to_pb(at)),
            tag: tag.to_string(),
            outcome: Some(translate::outcome_to_pb(outcome)),
        };
        let time = self.call_time(self.remembered_tag(at, tag).is_some());
        let answer = self.call_within(time, CALL, self.service.clone().report_tag(self.request(message))).await?;
        match answer.decision {
            Some(Decision::Serve(serve)) => Ok(TagVerdict::Serve(self.serve(CALL, at, tag, serve)?)),
            Some(Decision::Fetch(pb::FetchManifest { digest })) => {
                let digest = (!digest.is_empty()).then(|| translate::digest(&digest)).transpose();
                digest.map(TagVerdict::Fetch).map_err(bad_answer(CALL))
            }
            Some(Decision::Refuse(refuse)) => Ok(TagVerdict::Refuse(self.refused(CALL, at, tag, refuse)?)),
            None => Err(bad_answer(CALL)("there is no decision".to_owned())),
        }
    }

    /// What to do about a pull by tag while the control plane cannot be asked; `None` if nothing is remembered of the tag, or it
    /// is void by now. Asks nobody.
    pub fn remembered_tag(&self, at: &RepositoryRef, tag: &Tag) -> Option<Result<ServeManifest, Refused>> {
        let epoch = self.policy.load().group_by_id(&at.group)?.link_epoch;
        self.tags.resolve(at, tag, epoch, SystemTime::now())
    }

    fn serve(
        &self,
        call: &'static str,
        at: &RepositoryRef,
        tag: &Tag,
        serve: pb::ServeManifest,
    ) -> Result<ServeManifest, ControlError> {
        let Served { manifest, referenced, link_epoch, unconfirmed } =
            translate::serve(serve).map_err(bad_answer(call))?;
        self.remember_tag(at, tag, &manifest.manifest, link_epoch, manifest.age, unconfirmed);
        self.remember(at, referenced.into_iter().chain([Arc::clone(&manifest.manifest)]), link_epoch);
        Ok(manifest)
    }

    /// A refusal for what upstream says, or the group's rules, ends what the tag meant; trouble does not.
    fn refused(
        &self,
        call: &'static str,
        at: &RepositoryRef,
        tag: &Tag,
        refuse: pb::Refuse,
    ) -> Result<Refused, ControlError> {
        use RefusalReason::{RateLimited, UpstreamUnavailable};
        let refused = translate::refuse(refuse).map_err(bad_answer(call))?;
        if !matches!(refused.reason, RateLimited | UpstreamUnavailable) {
            self.tags.forget(at, tag);
        }
        Ok(refused)
    }

    pub(crate) fn remember_tag(
        &self,
        at: &RepositoryRef,
        tag: &Tag,
        manifest: &Arc<Link>,
        link_epoch: i64,
        age: Duration,
        good_for: Duration,
    ) {
        let Some(group) = self.policy.load().group_by_id(&at.group).cloned() else { return };
        let now = SystemTime::now();
        if good_for.is_zero() {
            return self.tags.forget(at, tag);
        }
        let (Some(confirmed_at), Some(good_until)) = (now.checked_sub(age), now.checked_add(good_for)) else { return };
        let meaning = Meaning { manifest: Arc::clone(manifest), link_epoch, confirmed_at, good_until };
        self.tags.put(at, tag, meaning, group.link_epoch);
    }
}
