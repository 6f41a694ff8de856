//! Errors as callers see them: one place turns every one into a `tonic::Status`.

use roadstead_proto::{GroupPath, InvalidField};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use tracing::error;

use super::refused_changes;
use crate::{
    auth::password::PasswordError,
    jobs::JobError,
    rules::{
        access::{Action, Actor, Denied},
        violation::Violation,
    },
    store::Store,
    usecases::{UseCaseError, access},
};

/// A use case's error. Logs internal faults here, once, and shows them without their details.
pub fn from_use_case(problem: UseCaseError) -> Status {
    match problem {
        UseCaseError::NotFound { .. } => Status::not_found(problem.to_string()),
        UseCaseError::AlreadyExists { .. } => Status::already_exists(problem.to_string()),
        UseCaseError::Invalid(violations) => invalid(violations),
        UseCaseError::Precondition(message) => Status::failed_precondition(message),
        UseCaseError::Changed { .. } => Status::aborted(problem.to_string()),
        UseCaseError::Denied(problem) => denied(problem),
        UseCaseError::Job(problem) => job(problem),
        UseCaseError::TooManyFailures(problem) => {
            let details = ErrorDetails::with_retry_info(Some(problem.retry_after));
            Status::with_error_details(Code::ResourceExhausted, problem.to_string(), details)
        }
        UseCaseError::Password(PasswordError::Busy) => Status::unavailable(problem.to_string()),
        UseCaseError::Store(problem) if problem.retryable() => {
            error!(error = %problem, "the database failed a call");
            Status::unavailable("the control plane's database is not available right now; try again")
        }
        UseCaseError::Keys(problem) => Status::unavailable(problem.to_string()),
        UseCaseError::Store(_)
        | UseCaseError::Seal(_)
        | UseCaseError::Key(_)
        | UseCaseError::Password(_)
        | UseCaseError::Random(_) => {
            error!(error = %problem, "a call failed inside the control plane");
            Status::internal("internal error of the control plane; see its log")
        }
    }
}

/// Translates the error of a job.
pub fn job(problem: JobError) -> Status {
    let message = problem.to_string();
    match problem {
        JobError::NoNode | JobError::Refused(_) => Status::failed_precondition(message),
        JobError::Silent | JobError::Unavailable(_) => Status::unavailable(message),
        JobError::NotFound(_) => Status::not_found(message),
        JobError::Limit(_) | JobError::TooMany => Status::resource_exhausted(message),
    }
}

/// Fields that cannot be as they are, with `google.rpc.BadRequest`.
pub fn invalid(violations: Vec<Violation>) -> Status {
    let message = violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>().join("; ");
    let fields: Vec<_> = violations.into_iter().map(|v| FieldViolation::new(v.field, v.message)).collect();
    Status::with_error_details(Code::InvalidArgument, message, ErrorDetails::with_bad_request(fields))
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
    match problem {
        Denied::NoSuchGroup { .. } => Status::not_found(problem.to_string()),
        _ => Status::permission_denied(problem.to_string()),
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
