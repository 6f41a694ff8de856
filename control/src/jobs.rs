//! The words of jobs: things that only a node can do (ask an upstream, fetch an image), which somebody here waits for.

pub mod stored;

use roadstead_proto::RepositoryRef;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// The task.
#[derive(Clone, Debug)]
pub enum Job {
    /// Try credentials at an upstream.
    VerifyCredential {
        /// The upstream's host.
        upstream: String,
        /// User name.
        username: String,
        /// Password or token.
        password: SecretString,
    },
    /// Fetch an image into the cache.
    Prefetch {
        /// The group and repository.
        repository: RepositoryRef,
        /// Tag or digest.
        reference: String,
        /// Only these; empty means all.
        platforms: Vec<String>,
    },
    /// Look whether a group's content is in the store.
    Check {
        /// The group's id.
        group_id: String,
        /// Read and hash all bytes.
        deep: bool,
    },
}

/// The progress of a prefetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Progress {
    /// Bytes of the image, so far as they are known.
    pub total_bytes: i64,
    /// Of those, here now.
    pub cached_bytes: i64,
    /// Of those, fetched by this job.
    pub fetched_bytes: i64,
    /// Manifests and blobs that are here now.
    pub objects: i64,
    /// The digest of the tag; empty until it is known.
    pub digest: String,
}

/// The progress of a check. Corruption that it found is reported before this counts it as checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CheckProgress {
    /// Contents to be checked.
    pub total: i64,
    /// Contents checked.
    pub checked: i64,
    /// Bytes read.
    pub read_bytes: i64,
}

/// The report of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Report {
    /// It goes on.
    Progress(Progress),
    /// An image is fetched.
    Done(Progress),
    /// A check goes on.
    Checking(CheckProgress),
    /// A check is through.
    Checked(CheckProgress),
    /// Credentials are good.
    CredentialGood,
    /// It failed.
    Failed(JobError),
}

impl Report {
    /// True if it is the last one.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Progress(_) | Self::Checking(_))
    }
}

/// The reason for which a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, thiserror::Error)]
pub enum JobError {
    /// No node was connected that could do it.
    #[error("no node is connected that could do this; start one, or try again in a moment")]
    NoNode,
    /// A node took it on and fell silent.
    #[error("the node that took this on fell silent; try again")]
    Silent,
    /// Too many wait already.
    #[error("too many such requests are under way; try again in a moment")]
    TooMany,
    /// Upstream refuses.
    #[error("{0}")]
    Refused(String),
    /// Upstream cannot be asked, or the node could not do it.
    #[error("{0}")]
    Unavailable(String),
    /// The image does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The pull limit does not allow it now.
    #[error("{0}")]
    Limit(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_shows_no_password() {
        let job = Job::VerifyCredential { upstream: "a.io".into(), username: "me".into(), password: "secret".into() };
        assert!(!format!("{job:?}").contains("secret"));
    }
}
