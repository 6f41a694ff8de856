//! Messages of `roadstead.node.v1` about upstreams and jobs, to and from the control plane's own words.

use roadstead_proto::{
    UpstreamHost,
    node::v1,
    time::{duration_seconds, seconds, timestamp, timestamp_ms},
};
use secrecy::ExposeSecret as _;
use tonic::Status;

use crate::{
    api::errors::{invalid_field, parse},
    jobs::{CheckProgress, Job, JobError, Progress, Report},
    rules::upstreams::{
        pull_limit::Condition,
        status::{Health, NodeView},
    },
    usecases::upstreams::report::UpstreamReport,
};

/// Most characters of what an upstream calls whom it counts for, and of kinds of failures.
const MAX_WORD_CHARS: usize = 255;
/// Most characters of a node's message for people.
const MAX_MESSAGE_CHARS: usize = 1000;

pub fn condition(condition: &Condition) -> v1::UpstreamCondition {
    v1::UpstreamCondition {
        upstream: condition.upstream.clone(),
        username: condition.username.clone(),
        paused_until: timestamp(condition.paused_until_ms),
        limit: condition.limit,
        remaining: condition.remaining,
        source: condition.source.clone(),
        seen_at: timestamp(condition.seen_at_ms),
        window: seconds(condition.window_seconds),
    }
}

/// Cuts remote text down to printable characters and a bounded length.
fn words(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

pub fn report_in(report: v1::UpstreamReport) -> Result<UpstreamReport, Status> {
    let health = match report.state() {
        v1::UpstreamState::Unspecified => Health::Unknown,
        v1::UpstreamState::Good => Health::Good,
        v1::UpstreamState::Failing => Health::Failing,
        v1::UpstreamState::Open => Health::Open,
    };
    let told = report.condition.ok_or_else(|| invalid_field("reports.condition", "required"))?;
    let upstream: UpstreamHost = parse("reports.condition.upstream", &told.upstream)?;
    let condition = Condition {
        upstream: upstream.to_string(),
        username: words(&told.username, MAX_WORD_CHARS),
        source: words(&told.source, MAX_WORD_CHARS),
        paused_until_ms: timestamp_ms(told.paused_until),
        limit: told.limit,
        remaining: told.remaining,
        window_seconds: duration_seconds(told.window),
        seen_at_ms: timestamp_ms(told.seen_at),
    };
    let view = NodeView {
        upstream: condition.upstream.clone(),
        username: condition.username.clone(),
        health,
        last_error: words(&report.last_error, MAX_WORD_CHARS),
        last_failed_at_ms: timestamp_ms(report.last_failed_at),
        last_answered_at_ms: timestamp_ms(report.last_answered_at),
        reported_at_ms: 0,
    };
    let spent = report.spent.into_iter().map(|spend| (spend.group_id, spend.pulls)).collect();
    Ok(UpstreamReport { condition, view, spent })
}

/// A node's name as health is kept by it.
pub fn node_name(name: &str) -> String {
    words(name, MAX_WORD_CHARS)
}

pub fn job(job: Job) -> v1::ClaimJobResponse {
    use v1::claim_job_response::Job as Wire;
    let told = match job {
        Job::VerifyCredential { upstream, username, password } => Wire::VerifyCredential(v1::VerifyCredential {
            upstream,
            username,
            password: password.expose_secret().to_owned(),
        }),
        Job::Prefetch { repository, reference, platforms } => {
            Wire::Prefetch(v1::PrefetchJob { repository: Some((&repository).into()), reference, platforms })
        }
        Job::Check { group_id, deep } => Wire::Check(v1::CheckJob { group_id, deep }),
    };
    v1::ClaimJobResponse { job: Some(told) }
}

fn progress(progress: v1::PrefetchProgress) -> Progress {
    Progress {
        total_bytes: progress.total_bytes.max(0),
        cached_bytes: progress.cached_bytes.max(0),
        fetched_bytes: progress.fetched_bytes.max(0),
        objects: progress.objects.max(0),
        digest: words(&progress.digest, MAX_WORD_CHARS),
    }
}

fn checked(progress: v1::CheckProgress) -> CheckProgress {
    CheckProgress {
        total: progress.total.max(0),
        checked: progress.checked.max(0),
        read_bytes: progress.read_bytes.max(0),
    }
}

pub fn job_report(report: Option<v1::report_job_request::Report>) -> Result<Report, Status> {
    use v1::report_job_request::Report as Wire;
    Ok(match report.ok_or_else(|| invalid_field("report", "required"))? {
        Wire::Progress(told) => Report::Progress(progress(told)),
        Wire::Done(told) => Report::Done(progress(told)),
        Wire::CredentialGood(_) => Report::CredentialGood,
        Wire::Checking(told) => Report::Checking(checked(told)),
        Wire::Checked(told) => Report::Checked(checked(told)),
        Wire::Failed(failed) => {
            let message = words(&failed.message, MAX_MESSAGE_CHARS);
            Report::Failed(match failed.reason() {
                v1::JobFailure::Refused => JobError::Refused(message),
                v1::JobFailure::NotFound => JobError::NotFound(message),
                v1::JobFailure::Limit => JobError::Limit(message),
                v1::JobFailure::Unavailable | v1::JobFailure::Unspecified => JobError::Unavailable(message),
            })
        }
    })
}
