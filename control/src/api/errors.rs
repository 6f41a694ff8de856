//! Errors as callers see them: one place turns every one into a `tonic::Status`, with a stable reason (`google.rpc.ErrorInfo`)
//! for programs and a message for people.

use std::collections::HashMap;

use roadstead_proto::{ERROR_DOMAIN, ErrorReason, GroupPath, InvalidField};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use tracing::error;

use super::refused_changes;
use crate::{
    auth::password::PasswordError,
    jobs::JobError,
    rules::{
        access::{Action, Actor, Denied},
        limits::LimitReached,
        violation::Violation,
    },
    store::Store,
    usecases::{UseCaseError, access},
};

/// Refuses a call, with a stable reason.
pub fn refusal(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    with_details(code, reason, message, ErrorDetails::new())
}

/// Refuses a call because of one object; the metadata of the reason names its kind and its name.
fn about(code: Code, reason: ErrorReason, message: String, kind: &str, name: &str) -> Status {
    let metadata = HashMap::from([("kind".to_owned(), kind.to_owned()), ("name".to_owned(), name.to_owned())]);
    let details = ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// Refuses a call, with a stable reason and further details.
fn with_details(code: Code, reason: ErrorReason, message: impl Into<String>, mut details: ErrorDetails) -> Status {
    details.set_error_info(reason.as_str(), ERROR_DOMAIN, HashMap::new());
    Status::with_error_details(code, message.into(), details)
}

/// Refuses a caller who gave no valid credentials.
pub fn unauthenticated(message: impl Into<String>) -> Status {
    refusal(Code::Unauthenticated, ErrorReason::Unauthenticated, message)
}

/// Reports an internal error; `message` is shown to the caller.
pub fn internal(message: &str) -> Status {
    refusal(Code::Internal, ErrorReason::Internal, message)
}

/// Translates a use case's error. Logs internal faults here, once, and shows them without their details.
pub fn from_use_case(problem: UseCaseError) -> Status {
    let message = problem.to_string();
    match problem {
        UseCaseError::NotFound { what, name, .. } => about(Code::NotFound, ErrorReason::NotFound, message, what, &name),
        UseCaseError::AlreadyExists { what, name, .. } => {
            about(Code::AlreadyExists, ErrorReason::AlreadyExists, message, what, &name)
        }
        UseCaseError::Invalid(violations) => invalid(violations),
        UseCaseError::Precondition(message) => {
            refusal(Code::FailedPrecondition, ErrorReason::PreconditionFailed, message)
        }
        UseCaseError::Changed { what, name, .. } => {
            about(Code::Aborted, ErrorReason::EtagMismatch, message, what, &name)
        }
        UseCaseError::Denied(problem) => denied(problem),
        UseCaseError::Job(problem) => job(problem),
        UseCaseError::TooManyFailures(problem) => {
            let details = ErrorDetails::with_retry_info(Some(problem.retry_after));
            with_details(Code::ResourceExhausted, ErrorReason::TooManyFailures, message, details)
        }
        UseCaseError::Limit(problem) => limit_reached(&problem),
        UseCaseError::Password(PasswordError::Busy) | UseCaseError::Keys(_) => {
            refusal(Code::Unavailable, ErrorReason::Unavailable, message)
        }
        UseCaseError::Store(problem) if problem.retryable() => {
            error!(error = %problem, "the database failed a call");
            let message = "the control plane's database is not available right now; try again";
            refusal(Code::Unavailable, ErrorReason::Unavailable, message)
        }
        UseCaseError::Store(_)
        | UseCaseError::Seal(_)
        | UseCaseError::Key(_)
        | UseCaseError::Password(_)
        | UseCaseError::Random(_) => {
            error!(error = %message, "a call failed inside the control plane");
            internal("internal error of the control plane; see its log")
        }
    }
}

/// Refuses what would be more than a limit allows; the metadata of the reason names the flag.
fn limit_reached(problem: &LimitReached) -> Status {
    let metadata = HashMap::from([
        ("flag".to_owned(), problem.limit.flag().to_owned()),
        ("most".to_owned(), problem.most.to_string()),
    ]);
    let details = ErrorDetails::with_error_info(ErrorReason::LimitReached.as_str(), ERROR_DOMAIN, metadata);
    Status::with_error_details(Code::ResourceExhausted, problem.to_string(), details)
}

/// Translates the error of a job.
pub fn job(problem: JobError) -> Status {
    let (code, reason) = match problem {
        JobError::NoNode => (Code::FailedPrecondition, ErrorReason::NoNode),
        JobError::Refused(_) => (Code::FailedPrecondition, ErrorReason::UpstreamRefused),
        JobError::Silent => (Code::Unavailable, ErrorReason::NodeSilent),
        JobError::Unavailable(_) => (Code::Unavailable, ErrorReason::UpstreamUnavailable),
        JobError::NotFound(_) => (Code::NotFound, ErrorReason::UpstreamNotFound),
        JobError::Limit(_) => (Code::ResourceExhausted, ErrorReason::PullLimit),
        JobError::TooMany => (Code::ResourceExhausted, ErrorReason::TooManyJobs),
    };
    refusal(code, reason, problem.to_string())
}

/// Fields that cannot be as they are, with `google.rpc.BadRequest`.
pub fn invalid(violations: Vec<Violation>) -> Status {
    let message = violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>().join("; ");
    let fields: Vec<_> = violations.into_iter().map(|v| FieldViolation::new(v.field, v.message)).collect();
    with_details(Code::InvalidArgument, ErrorReason::InvalidFields, message, ErrorDetails::with_bad_request(fields))
}

/// One field that cannot be as it is.
pub fn invalid_field(field: &str, message: impl Into<String>) -> Status {
    invalid(vec![Violation::new(field, message)])
}

/// A field of a message within the field `parent`.
pub fn invalid_within(parent: &str, problem: InvalidField) -> Status {
    let InvalidField { field, message } = problem.within(parent);
    invalid(vec![Violation::new(field, message)])
}

/// Collects what is wrong with the fields of one request, so that all of it is named at once.
#[derive(Default)]
pub struct Wrong(pub Vec<Violation>);

impl Wrong {
    /// Returns the parsed field; notes the problem if parsing failed.
    pub fn note<T>(&mut self, parsed: Result<T, Status>) -> Option<T> {
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(status) => {
                let found = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
                self.0.extend(found.into_iter().map(|v| Violation::new(v.field, v.description)));
                None
            }
        }
    }

    /// Refuses the request if anything was noted.
    pub fn finish(self) -> Result<(), Status> {
        if self.0.is_empty() { Ok(()) } else { Err(invalid(self.0)) }
    }
}

/// The caller may not do that.
pub fn denied(problem: Denied) -> Status {
    let message = problem.to_string();
    match problem {
        Denied::NoSuchGroup { path } => about(Code::NotFound, ErrorReason::NotFound, message, "group", path.as_str()),
        _ => refusal(Code::PermissionDenied, ErrorReason::PermissionDenied, message),
    }
}

/// Refuses callers who could do this to no group at all.
pub fn allow(caller: &Actor, action: Action) -> Result<(), Status> {
    caller.principal.may(action).map_err(denied)
}

/// The group that a request names, if the caller may do this to it, there or not.
pub async fn allow_on(
    store: &Store,
    caller: &Actor,
    action: Action,
    field: &str,
    path: &str,
) -> Result<GroupPath, Status> {
    // Noted first, so that the record of a refusal names the group whatever the refusal is for.
    if let Ok(path) = path.parse() {
        refused_changes::concerns(&path);
    }
    allow(caller, action)?;
    let path = parse(field, path)?;
    access::authorize(store, caller, action, &path).await.map_err(from_use_case)?;
    Ok(path)
}

/// Parses a field.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| invalid_field(field, error.to_string()))
}

/// Parses a field that may be empty.
pub fn parse_optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}
