//! A manifest by tag: the control plane decides, upstream is asked by HEAD, and fetched from only what is new.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{Algorithm, Digest, Reference, Tag};
use tokio::time::timeout;

use super::{fetch::Fetched, manifest::Manifests, outage::Outage, references, request::Pull};
use crate::{
    access::Read,
    control::{
        ContentKind, ControlError, Link, RefusalReason, Refused, RepositoryRef, ServeManifest, TagOutcome,
        TagResolution, TagVerdict, Tags,
    },
    respond::{Answer, CacheStatus, Code, Content, Freshness, OciError},
    singleflight::{Role, Singleflight},
    upstream::{Accept, ManifestHead, Target, UpstreamClient, UpstreamError},
};

/// The result of asking upstream about a tag.
#[derive(Clone, Debug)]
struct Checked {
    /// Upstream's answer; `None` if a HEAD does not work there.
    head: Result<Option<ManifestHead>, UpstreamError>,
    /// The control plane's decision.
    verdict: Result<TagVerdict, Arc<ControlError>>,
}

/// The flow of a manifest by tag.
pub struct TagFlow {
    decisions: Arc<Tags>,
    upstream: Arc<UpstreamClient>,
    manifests: Arc<Manifests>,
    outage: Arc<Outage>,
    /// Longest wait of a cached tag for upstream.
    revalidate_timeout: Duration,
    // Who shares an answer began at the same link epoch: what was asked before a purge is nobody's answer after it.
    checks: Singleflight<(RepositoryRef, Tag, i64), Checked>,
}

impl TagFlow {
    pub fn new(
        decisions: Arc<Tags>,
        upstream: Arc<UpstreamClient>,
        manifests: Arc<Manifests>,
        outage: Arc<Outage>,
        revalidate_timeout: Duration,
    ) -> Self {
        Self { decisions, upstream, manifests, outage, revalidate_timeout, checks: Singleflight::default() }
    }

    /// Answers with what `tag` resolves to.
    pub async fn answer(&self, pull: &Pull, tag: Tag) -> Result<Answer, OciError> {
        let resolved = match self.decisions.resolve(&pull.wanted.repository, &tag).await {
            Ok(resolved) => resolved,
            Err(error) => return self.outage.answer(&pull.wanted, &error).await,
        };
        let cached = match resolved {
            TagResolution::Serve(serve) => return self.serve_tag(pull, &tag, &serve, CacheStatus::Hit).await,
            TagResolution::Refuse(refused) => return Err(OciError::from_refusal(&refused)),
            TagResolution::Fetch(digest) => return self.fetch_pinned(pull, digest).await,
            TagResolution::Revalidate { cached } => cached,
        };
        if cached.is_none() {
            return self.check_and_decide(pull, &tag, false).await;
        }
        match timeout(self.revalidate_timeout, self.check_and_decide(pull, &tag, true)).await {
            Ok(answered) => answered,
            // Checking, or fetching, goes on; this client has waited long enough for something that is here.
            Err(_) => self.serve_unconfirmed(pull, &tag).await,
        }
    }

    async fn check_and_decide(&self, pull: &Pull, tag: &Tag, is_cached: bool) -> Result<Answer, OciError> {
        let checked = self.check(pull, tag).await?;
        if let Err(error) = &checked.head {
            pull.wanted.note_trouble(error);
        }
        let verdict = match checked.verdict {
            Ok(verdict) => verdict,
            Err(error) => return self.outage.answer(&pull.wanted, &error).await,
        };
        match verdict {
            TagVerdict::Serve(serve) => self.serve_tag(pull, tag, &serve, CacheStatus::Revalidated).await,
            TagVerdict::Refuse(refused) => Err(match checked.head {
                Err(error) if !refused.is_ours() => OciError::from_upstream(&error, Code::ManifestUnknown),
                _ => OciError::from_refusal(&refused),
            }),
            TagVerdict::Fetch(Some(digest)) => self.fetch_pinned(pull, digest).await,
            TagVerdict::Fetch(None) => self.fetch_tag(pull, tag, checked.head.ok().flatten(), is_cached).await,
        }
    }

    /// Fetches what a tag is to mean, whatever it means upstream.
    async fn fetch_pinned(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        self.manifests.by_digest(pull, digest).await.map(Content::found_by_tag)
    }

    /// Asks upstream by HEAD and reports; concurrent pulls of the tag share that.
    async fn check(&self, pull: &Pull, tag: &Tag) -> Result<Checked, OciError> {
        let (upstream, decisions, target) =
            (Arc::clone(&self.upstream), Arc::clone(&self.decisions), pull.target.clone());
        let (accept, asked) = (pull.wanted.accept(), tag.clone());
        let work = move || async move {
            let reference = Reference::Tag(asked.clone());
            let head = upstream.head_manifest(&target, &reference, Accept::Widened(accept.lines())).await;
            let verdict = match &head {
                Ok(Some(found)) => {
                    decisions.report(&target.repository_ref(), &asked, TagOutcome::Found(found.digest)).await
                }
                // A GET will tell.
                Ok(None) => Ok(TagVerdict::Fetch(None)),
                Err(error) => report_failure(&decisions, &target, &asked, error).await,
            };
            Checked { head, verdict: verdict.map_err(Arc::new) }
        };
        let key = (pull.wanted.repository.clone(), tag.clone(), pull.target.link_epoch);
        Ok(self.checks.run(key, work).await?.0)
    }

    /// Fetches what the tag means now: by the digest that the HEAD told, or by the tag where it told none. Content that is
    /// not cached at all is described to a client that sent a HEAD. If an older digest is cached, the new one is fetched
    /// first: the client will ask for the digest that it hears of, and cannot go back then.
    async fn fetch_tag(
        &self,
        pull: &Pull,
        tag: &Tag,
        head: Option<ManifestHead>,
        is_cached: bool,
    ) -> Result<Answer, OciError> {
        if pull.wanted.permitted.read == Read::Head
            && !is_cached
            && let Some(ManifestHead { digest, size_bytes: Some(size), media_type: Some(media_type) }) = &head
            && pull.wanted.accept().takes(media_type)
        {
            return Ok(self.manifests.described(pull, digest, *size, media_type, false));
        }
        let was_found = head.is_some();
        let reference = head.map_or_else(|| Reference::Tag(tag.clone()), |head| Reference::Digest(head.digest));
        let (mut fetched, mut role) = self.manifests.fetcher.fetch(pull, reference, Some(tag.clone())).await?;
        if was_found && fetched.as_ref().is_err_and(|error| error.is_about_content()) {
            // The HEAD was wrong, or the tag has moved since: what a GET of the tag brings decides.
            let by_tag = Reference::Tag(tag.clone());
            (fetched, role) = self.manifests.fetcher.fetch(pull, by_tag, Some(tag.clone())).await?;
        }
        let error = match fetched {
            Ok(fetched) => return self.arrived(pull, tag, &fetched, role).await,
            Err(error) => error,
        };
        let outcome = match error.tag_outcome() {
            // It has just said that it has the tag: whatever this is, the tag is not gone.
            TagOutcome::NotFound if was_found => TagOutcome::Unavailable { kind: "contradiction", retry_after: None },
            outcome => outcome,
        };
        pull.wanted.note_trouble(&error);
        // What the tag meant before is better than nothing.
        match self.decisions.report(&pull.wanted.repository, tag, outcome).await {
            Ok(TagVerdict::Serve(serve)) => self.serve_tag(pull, tag, &serve, CacheStatus::Stale).await,
            _ => Err(error.to_answer()),
        }
    }

    /// Answers with what has just arrived, or with what upstream has instead for a client that does not take that.
    async fn arrived(&self, pull: &Pull, tag: &Tag, fetched: &Fetched, role: Role) -> Result<Answer, OciError> {
        if !pull.wanted.accept().takes(&fetched.media_type)
            && let Some(other) = self.negotiated(pull, tag, &fetched.digest).await?
        {
            return Ok(other);
        }
        Ok(self.manifests.arrived(pull, fetched, role, false))
    }

    /// Serves a cached tag although upstream has not answered in time.
    async fn serve_unconfirmed(&self, pull: &Pull, tag: &Tag) -> Result<Answer, OciError> {
        let (upstream, limit) = (pull.target.host(), self.revalidate_timeout);
        pull.wanted.note_trouble(format!("{upstream} did not confirm the tag within {limit:?}"));
        let outcome = TagOutcome::Unavailable { kind: "revalidate_timeout", retry_after: None };
        let decision = self.decisions.report(&pull.wanted.repository, tag, outcome).await;
        let decision = match decision {
            Ok(decision) => decision,
            Err(error) => return self.outage.answer(&pull.wanted, &error).await,
        };
        match decision {
            TagVerdict::Serve(serve) => self.serve_tag(pull, tag, &serve, CacheStatus::Stale).await,
            TagVerdict::Refuse(refused) => Err(OciError::from_refusal(&refused)),
            TagVerdict::Fetch(_) => {
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
        match serve.stale {
            Some(reason) => pull.wanted.note_trouble_if_none(reason.cause()),
            None => pull.wanted.forget_trouble(),
        }
        let freshness = Freshness { status, age: Some(serve.age), stale: serve.stale, immutable: false };
        if !pull.wanted.accept().takes(&serve.manifest.media_type) {
            let other = match status {
                CacheStatus::Revalidated => self.negotiated(pull, tag, &serve.manifest.digest).await?,
                _ => self.picked(pull, &serve.manifest, freshness).await?,
            };
            if let Some(other) = other {
                return Ok(other);
            }
        }
        self.manifests.linked(pull, &serve.manifest, Some(freshness)).await
    }

    /// Fetches upstream's manifest for a client that does not accept the cached one: registries choose by `Accept`, for
    /// example one platform's manifest instead of the index. `None` if upstream would send the same.
    async fn negotiated(&self, pull: &Pull, tag: &Tag, cached: &Digest) -> Result<Option<Answer>, OciError> {
        match self.offered(pull, tag).await {
            Ok((digest, offered)) if digest != *cached && pull.wanted.accept().takes(&offered) => {
                Box::pin(self.manifests.by_digest(pull, digest)).await.map(Content::found_by_tag).map(Some)
            }
            Err(error @ UpstreamError::NotFound { .. }) => Err(OciError::from_upstream(&error, Code::ManifestUnknown)),
            _ => Ok(None),
        }
    }

    /// Digest and media type of what upstream has for exactly what the client accepts.
    async fn offered(&self, pull: &Pull, tag: &Tag) -> Result<(Digest, String), UpstreamError> {
        let (accept, reference) = (pull.wanted.accept(), Reference::Tag(tag.clone()));
        let head = self.upstream.head_manifest(&pull.target, &reference, Accept::Exactly(accept.lines())).await?;
        if let Some(ManifestHead { digest, media_type: Some(offered), .. }) = head {
            return Ok((digest, offered));
        }
        let got = self.upstream.get_manifest(&pull.target, &reference, Accept::Exactly(accept.lines())).await?;
        Ok((Digest::of(Algorithm::Sha256, &got.body), got.media_type.unwrap_or_default()))
    }

    /// Does the same where upstream is not to be asked about the tag: an index gives what it lists for linux/amd64, as
    /// registries do. `None` if that is not to be had, or not what the client takes either.
    async fn picked(&self, pull: &Pull, cached: &Link, freshness: Freshness) -> Result<Option<Answer>, OciError> {
        let Some(blob) = self.manifests.stored.open(&cached.digest).await? else { return Ok(None) };
        let Ok(content) = blob.read_all().await else { return Ok(None) };
        let listed = references::parse(&content).map(|parsed| parsed.references).unwrap_or_default();
        let usual = listed.iter().find(|it| it.kind == ContentKind::Manifest && it.platform == "linux/amd64");
        let Some(usual) = usual else { return Ok(None) };
        let link = self.manifests.rights.link(pull, &usual.digest).await?.link();
        match link.filter(|link| !link.media_type.is_empty()) {
            Some(link) if pull.wanted.accept().takes(&link.media_type) => {
                self.manifests.linked(pull, &link, Some(freshness)).await.map(Some)
            }
            None if freshness.stale.is_none() => {
                let fetched = Box::pin(self.manifests.by_digest(pull, usual.digest)).await;
                Ok(fetched.ok().map(Content::found_by_tag))
            }
            _ => Ok(None),
        }
    }
}

/// Tells the control plane that upstream could not or would not say, or send, what a tag means.
async fn report_failure(
    decisions: &Tags,
    target: &Target,
    tag: &Tag,
    error: &UpstreamError,
) -> Result<TagVerdict, ControlError> {
    decisions.report(&target.repository_ref(), tag, error.tag_outcome()).await
}
