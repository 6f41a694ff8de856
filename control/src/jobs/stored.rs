//! Jobs and reports as the database has them: JSON. The task may contain a password, so whoever stores it
//! seals it.

use roadstead_proto::RepositoryRef;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Job;

#[derive(Deserialize, Serialize)]
enum Stored {
    VerifyCredential { upstream: String, username: String, password: String },
    Prefetch { group_id: String, upstream: String, repository: String, reference: String, platforms: Vec<String> },
    Check { group_id: String, deep: bool },
}

/// The task, with all its secrets.
pub fn write(job: &Job) -> Option<SecretString> {
    let stored = match job.clone() {
        Job::VerifyCredential { upstream, username, password } => {
            Stored::VerifyCredential { upstream, username, password: password.expose_secret().to_owned() }
        }
        Job::Prefetch { repository, reference, platforms } => Stored::Prefetch {
            group_id: repository.group.to_string(),
            upstream: repository.upstream.to_string(),
            repository: repository.repository.to_string(),
            reference,
            platforms,
        },
        Job::Check { group_id, deep } => Stored::Check { group_id, deep },
    };
    serde_json::to_string(&stored).ok().map(Into::into)
}

/// Returns the stored job; `None` if another version wrote an unknown one.
pub fn read(text: &[u8]) -> Option<Job> {
    Some(match serde_json::from_slice(text).ok()? {
        Stored::VerifyCredential { upstream, username, password } => {
            Job::VerifyCredential { upstream, username, password: password.into() }
        }
        Stored::Prefetch { group_id, upstream, repository, reference, platforms } => {
            let repository = RepositoryRef {
                group: group_id.into(),
                upstream: upstream.parse().ok()?,
                repository: repository.parse().ok()?,
            };
            Job::Prefetch { repository, reference, platforms }
        }
        Stored::Check { group_id, deep } => Job::Check { group_id, deep },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{CheckProgress, JobError, Progress, Report};

    #[test]
    fn jobs_and_reports_are_read_as_they_were_written() {
        let repository = RepositoryRef {
            group: "g".into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        };
        for job in [
            Job::VerifyCredential { upstream: "a.io".into(), username: "me".into(), password: "p\"w".into() },
            Job::Prefetch { repository, reference: "3".into(), platforms: vec!["linux/arm64".into()] },
            Job::Check { group_id: "g".into(), deep: true },
        ] {
            let written = write(&job).unwrap();
            let read = read(written.expose_secret().as_bytes()).unwrap();
            assert_eq!(write(&read).unwrap().expose_secret(), written.expose_secret());
        }
        assert!(read(b"{\"Unknown\":{}}").is_none());
        for report in [
            Report::Progress(Progress { digest: "sha256:x".into(), total_bytes: 1, ..Progress::default() }),
            Report::Failed(JobError::Limit("later".into())),
            Report::CredentialGood,
            Report::Checking(CheckProgress { checked: 2, ..CheckProgress::default() }),
        ] {
            let text = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        }
    }
}
