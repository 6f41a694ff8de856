//! Explanations of failed calls, in one line with the next step.

use std::error::Error;

use roadstead_proto::{ERROR_DOMAIN, ErrorReason};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::credential::Credential;
use crate::output::plain;

/// Explains a status to the person who typed the command.
pub fn explain(status: &Status, control: &str, credential: &Credential) -> String {
    let said = plain(status.message());
    if let Some(cause) = local_cause(status) {
        let next = tls_hint(control, &cause);
        return match (status.code(), next) {
            (Code::Unavailable, next) => {
                let next = next.unwrap_or("is `roadstead serve` running?");
                format!("cannot reach the control plane at {control}: {cause}; {next}")
            }
            (_, Some(next)) => format!("talking to the control plane at {control} failed: {cause}; {next}"),
            (_, None) => format!("talking to the control plane at {control} failed: {cause}"),
        };
    }
    if is_not_grpc(status) {
        return format!("{control} is not a Roadstead control plane; is --control right?");
    }
    match reason(status) {
        Some(ErrorReason::Unauthenticated) => {
            let next = credential.next_step();
            format!("the control plane at {control} does not accept {credential}: {said}; {next}")
        }
        Some(ErrorReason::InvalidFields) => violations(status).unwrap_or_else(|| said.into_owned()),
        Some(ErrorReason::PermissionDenied) => format!("{said}; {credential} may not do this"),
        Some(
            ErrorReason::Unavailable
            | ErrorReason::TooManyFailures
            | ErrorReason::PullLimit
            | ErrorReason::UpstreamUnavailable,
        ) => format!("{said}; try again later"),
        Some(ErrorReason::Internal) => format!("the control plane at {control} failed: {said}; its log says why"),
        // The message names the next step.
        Some(_) => said.into_owned(),
        None => without_reason(status, control, &said),
    }
}

/// The reason that the control plane gives for a refusal.
fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    info.reason.parse().ok()
}

/// Explains a status without a reason: it was made by the client's own library, by a proxy on the way, or by another version.
fn without_reason(status: &Status, control: &str, said: &str) -> String {
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => {
            format!(
                "the control plane at {control} did not answer in time; it is unknown whether it carried out the command"
            )
        }
        Code::Unimplemented => {
            let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
            format!(
                "{control} does not know this command{said}; is it the control plane (--control), and of the same version?"
            )
        }
        Code::Unavailable | Code::ResourceExhausted => format!("{said}; try again later"),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            format!("the control plane at {control} failed: {said}; its log says why")
        }
        _ => said.to_owned(),
    }
}

/// Returns the next step after a failed TLS handshake, by the words of the error.
fn tls_hint(control: &str, cause: &str) -> Option<&'static str> {
    let says = |signs: &[&str]| signs.iter().any(|sign| cause.contains(sign));
    if says(&["CaUsedAsEndEntity"]) {
        Some("its certificate is that of a CA: issue a server certificate, without CA:TRUE")
    } else if says(&["invalid peer certificate"]) {
        Some("is its certificate's issuer in --control-ca-file, and the name in the URL in the certificate?")
    } else if says(&["CertificateRequired", "HandshakeFailure"]) {
        Some("it requires a client certificate: give --control-client-cert and --control-client-key")
    } else if says(&["UnknownCA", "DecryptError", "BadCertificate"]) {
        Some("it does not accept the certificate of --control-client-cert")
    } else if says(&["InvalidContentType"]) {
        Some("it does not speak TLS: write http://")
    } else if control.starts_with("http://")
        && says(&["frame with invalid", "connection reset", "closed", "broken pipe"])
    {
        Some("if it has a certificate, write https://")
    } else if control.starts_with("https://") && says(&["connection reset", "closed", "broken pipe"]) {
        // Its reason for closing the connection may get lost.
        Some(
            "if it requires a client certificate, give one that it accepts: --control-client-cert and --control-client-key",
        )
    } else {
        None
    }
}

/// Returns the innermost cause of a status that was created locally and not by the server.
fn local_cause(status: &Status) -> Option<String> {
    let mut cause = status.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

/// True if the answer was not gRPC, for example from the registry port or the metrics port. tonic has no type for this.
fn is_not_grpc(status: &Status) -> bool {
    ["protocol error", "grpc-status header missing"].iter().any(|sign| status.message().starts_with(sign))
}

/// Lists each invalid field with its fault.
fn violations(status: &Status) -> Option<String> {
    let found = status.get_details_bad_request()?.field_violations;
    let shown: Vec<_> = found.iter().map(|it| format!("{}: {}", plain(&it.field), plain(&it.description))).collect();
    (!shown.is_empty()).then(|| shown.join("; "))
}

#[cfg(test)]
mod tests;
