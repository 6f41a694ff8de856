//! Jobs: what the control plane wants some node to do. It offers them to all nodes in the watch, and whoever claims one
//! first has it.

use std::sync::Arc;

use roadstead_proto::{
    Reference, UpstreamHost,
    node::v1::{self as pb, claim_job_response::Job as Claimed, report_job_request::Report},
};
use secrecy::SecretString;

use super::translate;
use crate::control::{Credential, GroupId, RepositoryRef};

/// The task.
#[derive(Debug)]
pub enum Job {
    /// Try credentials.
    VerifyCredential {
        /// At this upstream.
        upstream: UpstreamHost,
        /// These.
        credential: Arc<Credential>,
    },
    /// Fetch an image into the cache.
    Prefetch(Prefetch),
    /// Look whether a group's content is in the store.
    Check(Check),
}

/// The group whose content to check.
#[derive(Clone, Debug)]
pub struct Check {
    /// The group.
    pub group: GroupId,
    /// Read and hash all bytes.
    pub deep: bool,
}

/// The progress of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// Contents to be checked.
    pub total: u64,
    /// Contents checked.
    pub checked: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// Which image to fetch.
#[derive(Clone, Debug)]
pub struct Prefetch {
    /// The repository.
    pub repository: RepositoryRef,
    /// Tag or digest.
    pub reference: Reference,
    /// Only these platforms of an index; all if the list is empty.
    pub platforms: Vec<String>,
}

/// The progress of a prefetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefetchProgress {
    /// Bytes of the image, so far as they are known.
    pub total_bytes: u64,
    /// Of those, here now.
    pub cached_bytes: u64,
    /// Of those, fetched by this prefetch.
    pub fetched_bytes: u64,
    /// Manifests and blobs that are here now.
    pub objects: u64,
    /// The digest that the reference resolves to; empty until it is known.
    pub digest: String,
}

/// The reason for the failure of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFailure {
    /// Upstream, or the group's rules, refuse it.
    Refused,
    /// Upstream cannot be asked.
    Unavailable,
    /// The image does not exist.
    NotFound,
    /// The pull limit does not allow it now.
    Limit,
}

/// A report of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobReport {
    /// It goes on.
    Progress(PrefetchProgress),
    /// The image is here.
    Done(PrefetchProgress),
    /// A check goes on.
    Checking(CheckProgress),
    /// A check is through.
    Checked(CheckProgress),
    /// The credentials were accepted.
    CredentialGood,
    /// It failed.
    Failed(JobFailure, String),
}

pub(super) fn read_job(answer: pb::ClaimJobResponse) -> Result<Job, translate::Problem> {
    match answer.job.ok_or("there is no job")? {
        Claimed::VerifyCredential(pb::VerifyCredential { upstream, username, password }) => {
            let credential = Arc::new(Credential::new(username, SecretString::from(password)));
            Ok(Job::VerifyCredential { upstream: translate::host(&upstream)?, credential })
        }
        Claimed::Prefetch(pb::PrefetchJob { repository, reference, platforms }) => {
            let repository = translate::repository(repository.ok_or("there is no repository")?)?;
            let reference = reference.parse().map_err(|error| format!("{reference:?}: {error}"))?;
            Ok(Job::Prefetch(Prefetch { repository, reference, platforms }))
        }
        Claimed::Check(pb::CheckJob { group_id, deep }) => {
            Ok(Job::Check(Check { group: GroupId::from(group_id.as_str()), deep }))
        }
    }
}

pub(super) fn report_to_pb(report: &JobReport) -> Report {
    match report {
        JobReport::Progress(progress) => Report::Progress(progress_to_pb(progress)),
        JobReport::Done(progress) => Report::Done(progress_to_pb(progress)),
        JobReport::Checking(progress) => Report::Checking(check_to_pb(progress)),
        JobReport::Checked(progress) => Report::Checked(check_to_pb(progress)),
        JobReport::CredentialGood => Report::CredentialGood(pb::CredentialGood {}),
        JobReport::Failed(reason, message) => {
            let reason = match reason {
                JobFailure::Refused => pb::JobFailure::Refused,
                JobFailure::Unavailable => pb::JobFailure::Unavailable,
                JobFailure::NotFound => pb::JobFailure::NotFound,
                JobFailure::Limit => pb::JobFailure::Limit,
            };
            Report::Failed(pb::JobFailed { reason: reason.into(), message: message.clone() })
        }
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn check_to_pb(progress: &CheckProgress) -> pb::CheckProgress {
    pb::CheckProgress {
        total: number(progress.total),
        checked: number(progress.checked),
        read_bytes: number(progress.read_bytes),
    }
}

fn progress_to_pb(progress: &PrefetchProgress) -> pb::PrefetchProgress {
    pb::PrefetchProgress {
        total_bytes: number(progress.total_bytes),
        cached_bytes: number(progress.cached_bytes),
        fetched_bytes: number(progress.fetched_bytes),
        objects: number(progress.objects),
        digest: progress.digest.clone(),
    }
}
