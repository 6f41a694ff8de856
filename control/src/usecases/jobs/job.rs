//! Jobs that people ask for: trying credentials, and fetching an image ahead of pulls.

use roadstead_proto::{GroupPath, ImageName, Reference, RepositoryRef, UpstreamHost};
use secrecy::SecretString;

use crate::{
    jobs::{Job, JobError},
    rules::{access::Actor, groups::group::Group},
    store::audit,
    usecases::{
        UseCaseError, UseCaseResult, group_at,
        groups::image::repository_of,
        jobs::{JobRequests, exchange::JobHandle},
        tags::{freshness::refused, upstream_state},
    },
};

/// Most platforms of one prefetch.
const MAX_PLATFORMS: usize = 20;
/// Most characters of a platform.
const MAX_PLATFORM_CHARS: usize = 64;

impl JobRequests {
    /// Asks a node to try credentials.
    pub(crate) async fn verify_credential(
        &self,
        host: &UpstreamHost,
        username: &str,
        password: &SecretString,
    ) -> UseCaseResult<()> {
        let job = Job::VerifyCredential {
            upstream: host.to_string(),
            username: username.to_owned(),
            password: password.clone(),
        };
        let hint = "; `--no-verify` stores them untried";
        let ended = match self.exchange.post(job).await {
            Ok(waiting) => waiting.end().await,
            Err(UseCaseError::Job(error)) => Err(error),
            Err(other) => return Err(other),
        };
        ended.map_err(|error| {
            UseCaseError::Job(match error {
                JobError::Refused(said) => JobError::Refused(format!("{host} refuses these credentials: {said}")),
                JobError::Unavailable(said) | JobError::NotFound(said) | JobError::Limit(said) => {
                    JobError::Unavailable(format!(
                        "{host} cannot be asked whether these credentials are good: {said}{hint}"
                    ))
                }
                JobError::NoNode => JobError::Refused(format!("{}{hint}", JobError::NoNode)),
                JobError::Silent | JobError::TooMany => JobError::Unavailable(format!("{error}{hint}")),
            })
        })
    }

    /// Asks a node to fetch an image.
    pub async fn prefetch(
        &self,
        actor: &Actor,
        path: &GroupPath,
        image: &ImageName,
        reference: &Reference,
        platforms: Vec<String>,
    ) -> UseCaseResult<JobHandle> {
        check_platforms(&platforms)?;
        let group = group_at(&mut *self.store.read().await?, path).await?;
        let repository = repository_of(&group, image)?;
        let subject = format!("{repository} {reference}");
        let waiting = self.start_prefetch(&group, repository, reference.to_string(), platforms).await?;
        let mut tx = self.store.write().await?;
        audit::record(&mut tx, &actor.did("cache.prefetch", subject).of_group(path), self.clock.now_ms()).await?;
        tx.commit().await?;
        Ok(waiting)
    }

    /// As [`JobRequests::prefetch`], for an image that is resolved.
    pub(crate) async fn start_prefetch(
        &self,
        group: &Group,
        repository: RepositoryRef,
        reference: String,
        platforms: Vec<String>,
    ) -> UseCaseResult<JobHandle> {
        may_prefetch(group, &repository)?;
        let upstream =
            upstream_state::state(&mut *self.store.read().await?, &group.id, &repository.upstream, self.clock.now_ms())
                .await?;
        let host = &repository.upstream;
        if let Some(seconds) = upstream.pause_seconds(self.clock.now_ms()) {
            let message = format!("{host} asked to be left alone for {seconds} more seconds; prefetch then");
            return Err(UseCaseError::Job(JobError::Limit(message)));
        }
        if upstream.below_reserve {
            let message = format!(
                "what is left of the pull limit of {host} is kept for what people pull; see `upstream status`, and \
                 prefetch when it has been reset"
            );
            return Err(UseCaseError::Job(JobError::Limit(message)));
        }
        self.exchange.post(Job::Prefetch { repository, reference, platforms }).await
    }
}

/// Checks whether the group's settings allow an image to be fetched at all.
pub(crate) fn may_prefetch(group: &Group, repository: &RepositoryRef) -> UseCaseResult<()> {
    let (path, host) = (&group.path, &repository.upstream);
    let problem = if !group.settings.upstreams.contains(host) {
        format!("group {path} may not use upstream {host}; add it to the group's list first, with `group update`")
    } else if !group.settings.enabled {
        format!("the dependency proxy of group {path} is switched off; switch it on first, with `group update`")
    } else if group.settings.frozen {
        format!("group {path} is frozen and fetches nothing; unfreeze it first, with `group update --frozen false`")
    } else if let Some(refused) = refused(group, repository) {
        refused.to_string()
    } else {
        return Ok(());
    };
    Err(UseCaseError::Precondition(problem))
}

/// Platforms as a request names them: "linux/amd64", "linux/arm64/v8".
pub(crate) fn check_platforms(platforms: &[String]) -> UseCaseResult<()> {
    if platforms.len() > MAX_PLATFORMS {
        return Err(UseCaseError::invalid("platforms", format!("at most {MAX_PLATFORMS}")));
    }
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let good = |platform: &str| {
        let count = platform.split('/').count();
        (2..=3).contains(&count) && platform.len() <= MAX_PLATFORM_CHARS && platform.split('/').all(part)
    };
    match platforms.iter().find(|platform| !good(platform)) {
        None => Ok(()),
        Some(_) => Err(UseCaseError::invalid(
            "platforms",
            "must be OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as in linux/arm64/v8",
        )),
    }
}
