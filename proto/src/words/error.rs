//! The stable reasons that every refusal carries.

use super::words;
use crate::v1;

/// The domain of the reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "roadstead";

words! {
    /// The reason for which a call was refused or failed; the text is the reason in `google.rpc.ErrorInfo`.
    ErrorReason, v1::ErrorReason, "reason for an error" {
        /// The call needs credentials, or those given are wrong, expired or revoked.
        Unauthenticated = "UNAUTHENTICATED",
        /// The caller may not do this.
        PermissionDenied = "PERMISSION_DENIED",
        /// The named object does not exist, as far as the caller may know.
        NotFound = "NOT_FOUND",
        /// The name is taken.
        AlreadyExists = "ALREADY_EXISTS",
        /// Fields of the request are invalid.
        InvalidFields = "INVALID_FIELDS",
        /// Something else has to be done first.
        PreconditionFailed = "PRECONDITION_FAILED",
        /// Somebody changed the object in between.
        EtagMismatch = "ETAG_MISMATCH",
        /// Too many failed attempts to sign in.
        TooManyFailures = "TOO_MANY_FAILURES",
        /// No node is connected that could do this.
        NoNode = "NO_NODE",
        /// The node that took this on stopped reporting.
        NodeSilent = "NODE_SILENT",
        /// Too many such requests are being worked on.
        TooManyJobs = "TOO_MANY_JOBS",
        /// Upstream denied access.
        UpstreamRefused = "UPSTREAM_REFUSED",
        /// Upstream is unavailable, or the node could not do this.
        UpstreamUnavailable = "UPSTREAM_UNAVAILABLE",
        /// Upstream has no such image.
        UpstreamNotFound = "UPSTREAM_NOT_FOUND",
        /// The pull limit of upstream does not allow this now.
        PullLimit = "PULL_LIMIT",
        /// The control plane cannot do this now.
        Unavailable = "UNAVAILABLE",
        /// The control plane failed.
        Internal = "INTERNAL",
        /// A limit of the installation does not allow more.
        LimitReached = "LIMIT_REACHED",
    }
}
