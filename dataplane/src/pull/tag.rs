//! A manifest by tag: the control plane decides, upstream is asked by HEAD, and fetched from only what is new.

use std::sync::Arc;

use roadstead_proto::{Digest, Reference, Tag};
use tokio::time::timeout;

use super::{Pull, Puller, control_failed};
use crate::{
    control::{
        ControlClient, ControlError, RefusalReason, Refused, ServeManifest, TagOutcome, TagResolution, TagVerdict,
    },
    layers::Read,
    respond::{Answer, CacheStatus, Code, Freshness, OciError},
    upstream::{Accept, ManifestHead, Target, UpstreamError},
};

/// What asking upstream about a tag came to.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// What upstream said; `None` where a HEAD is of no use there.
    head: Result<Option<ManifestHead>, UpstreamError>,
    /// What the control plane makes of that.
    verdict: Result<TagVerdict, Arc<ControlError>>,
}

impl Puller {
    pub(super) async fn manifest_by_tag(&self, pull: &Pull, tag: Tag) -> Result<Answer, OciError> {
        let resolved =
            self.control.resolve_tag(&pull.wanted.repository, &tag).await.map_err(|error| control_failed(&error))?;
        let is_cached = match resolved {
            TagResolution::Serve(serve) => return self.serve_tag(pull, &tag, &serve, CacheStatus::Hit).await,
            TagResolution::Refuse(refused) => return Err(OciError::from_refusal(&refused)),
            TagResolution::Revalidate { cached } => cached.is_some(),
        };
        let checked = self.check(pull, &tag);
        let checked = if is_cached {
            match timeout(self.revalidate_timeout, checked).await {
                Ok(checked) => checked?,
                // The check goes on; this client has waited long enough for something that is here.
                Err(_) => return self.serve_unconfirmed(pull, &tag).await,
            }
        } else {
            checked.await?
        };
        self.decided(pull, tag, checked).await
    }

    /// Asks upstream by HEAD and reports; concurrent pulls of the tag share that.
    async fn check(&self, pull: &Pull, tag: &Tag) -> Result<Checked, OciError> {
        let (upstream, control, target) = (Arc::clone(&self.upstream), Arc::clone(&self.control), pull.target.clone());
        let (accept, asked) = (pull.wanted.accept(), tag.clone());
        let work = move || async move {
            let reference = Reference::Tag(asked.clone());
            let head = upstream.head_manifest(&target, &reference, Accept::Widened(accept.lines())).await;
            let verdict = match &head {
                Ok(Some(found)) => {
                    control.report_tag(&target.repository_ref(), &asked, TagOutcome::Found(found.digest)).await
                }
                // A GET will tell.
                Ok(None) => Ok(TagVerdict::Fetch),
                Err(error) => report_failure(&control, &target, &asked, error).await,
            };
            Checked { head, verdict: verdict.map_err(Arc::new) }
        };
        let key = (pull.wanted.repository.clone(), tag.clone());
        Ok(self.tag_checks.run(key, work).await?.0)
    }

    async fn decided(&self, pull: &Pull, tag: Tag, checked: Checked) -> Result<Answer, OciError> {
        match checked.verdict.map_err(|error| control_failed(&error))? {
            TagVerdict::Serve(serve) => self.serve_tag(pull, &tag, &serve, CacheStatus::Revalidated).await,
            TagVerdict::Refuse(refused) => Err(match checked.head {
                Err(error) => OciError::from_upstream(&error, Code::ManifestUnknown),
                Ok(_) => OciError::from_refusal(&refused),
            }),
            TagVerdict::Fetch => self.fetch_tag(pull, tag, checked.head.ok().flatten()).await,
        }
    }

    /// Fetches what the tag means now: by the digest that the HEAD told, or by the tag where it told none.
    async fn fetch_tag(&self, pull: &Pull, tag: Tag, head: Option<ManifestHead>) -> Result<Answer, OciError> {
        if pull.wanted.permitted.read == Read::Head
            && let Some(ManifestHead { digest, size_bytes: Some(size), media_type: Some(media_type) }) = &head
        {
            return Ok(self.described(pull, digest, *size, media_type, false));
        }
        let reference = head.map_or_else(|| Reference::Tag(tag.clone()), |head| Reference::Digest(head.digest));
        let (fetched, role) = self.fetch_manifest(pull, reference, Some(tag.clone())).await?;
        let error = match fetched {
            Ok(fetched) => return Ok(self.arrived(pull, &fetched, role, false)),
            Err(error) => error,
        };
        // What the tag meant before is better than nothing.
        match self.control.report_tag(&pull.wanted.repository, &tag, error.tag_outcome()).await {
            Ok(TagVerdict::Serve(serve)) => self.serve_tag(pull, &tag, &serve, CacheStatus::Stale).await,
            _ => Err(error.to_answer()),
        }
    }

    /// Serves a cached tag although upstream has not answered in time.
    async fn serve_unconfirmed(&self, pull: &Pull, tag: &Tag) -> Result<Answer, OciError> {
        let outcome = TagOutcome::Unavailable { kind: "revalidate_timeout", retry_after: None };
        let decision = self.control.report_tag(&pull.wanted.repository, tag, outcome).await;
        match decision.map_err(|error| control_failed(&error))? {
            TagVerdict::Serve(serve) => self.serve_tag(pull, tag, &serve, CacheStatus::Stale).await,
            TagVerdict::Refuse(refused) => Err(OciError::from_refusal(&refused)),
            TagVerdict::Fetch => {
                let message = format!("{} did not answer in time", pull.target.host());
                let reason = RefusalReason::UpstreamUnavailable;
                Err(OciError::from_refusal(&Refused { reason, message, retry_after: None }))
            }
        }
    }

    async fn serve_tag(
        &self,
        pull: &Pull,
        tag: &Tag,
        serve: &ServeManifest,
        status: CacheStatus,
    ) -> Result<Answer, OciError> {
        let status = if serve.stale.is_some() { CacheStatus::Stale } else { status };
        if let Some(reason) = serve.stale {
            tracing::warn!(%tag, ?reason, age_seconds = serve.age.as_secs(), upstream = %pull.target.host(), "serving a cached tag that could not be checked");
        } else if let Some(answer) =
            self.negotiated(pull, tag, &serve.manifest.digest, &serve.manifest.media_type).await?
        {
            return Ok(answer);
        }
        let freshness = Freshness { status, age: Some(serve.age), stale: serve.stale, immutable: false };
        self.linked_manifest(pull, &serve.manifest, Some(freshness)).await
    }

    /// What upstream has for a client that does not take what is cached: registries pick by `Accept`, say one
    /// platform's manifest instead of the index. `None` if upstream would send the same.
    async fn negotiated(
        &self,
        pull: &Pull,
        tag: &Tag,
        cached: &Digest,
        media_type: &str,
    ) -> Result<Option<Answer>, OciError> {
        let accept = pull.wanted.accept();
        if accept.takes(media_type) {
            return Ok(None);
        }
        let reference = Reference::Tag(tag.clone());
        match self.upstream.head_manifest(&pull.target, &reference, Accept::Exactly(accept.lines())).await {
            Ok(Some(ManifestHead { digest, media_type: Some(offered), .. }))
                if digest != *cached && accept.takes(&offered) =>
            {
                Box::pin(self.manifest_by_digest(pull, digest)).await.map(Some)
            }
            Err(error @ UpstreamError::NotFound { .. }) => Err(OciError::from_upstream(&error, Code::ManifestUnknown)),
            _ => Ok(None),
        }
    }
}

/// Tells the control plane that upstream could not or would not say, or send, what a tag means.
async fn report_failure(
    control: &ControlClient,
    target: &Target,
    tag: &Tag,
    error: &UpstreamError,
) -> Result<TagVerdict, ControlError> {
    control.report_tag(&target.repository_ref(), tag, error.tag_outcome()).await
}
