//! The meaning of a gRPC status for a node.

use std::error::Error;

use tonic::{Code, Status};

use crate::control::ControlError;

/// Returns the error that a call ended with.
pub(super) fn error_of(call: &'static str, status: &Status) -> ControlError {
    let message = shown(status);
    match status.code() {
        Code::DeadlineExceeded => ControlError::Timeout { call },
        Code::Unauthenticated | Code::PermissionDenied => ControlError::NodeRefused { call, message },
        Code::NotFound => ControlError::NotFound { call, message },
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => {
            ControlError::Refused { call, message }
        }
        _ => ControlError::Unavailable { call, message },
    }
}

/// Returns the status's message, with the innermost cause if it was made on this side of the wire: that a certificate is not
/// trusted, say.
fn shown(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    match cause.map(ToString::to_string) {
        Some(cause) if !status.message().contains(&cause) => format!("{}: {cause}", status.message()),
        _ => status.message().to_owned(),
    }
}
