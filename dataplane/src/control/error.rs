//! The errors between a node and the control plane.

/// A failed call to the control plane.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// The control plane is unreachable, or cannot answer right now.
    #[error("the control plane is unavailable ({call}): {message}")]
    Unavailable {
        /// The call.
        call: &'static str,
        /// The message of the transport or the other side.
        message: String,
    },
    /// The control plane did not answer in time.
    #[error("the control plane did not answer {call} in time")]
    Timeout {
        /// The call.
        call: &'static str,
    },
    /// The control plane does not accept this node's token.
    #[error("the control plane refuses this node's token at {call}: {message}")]
    NodeRefused {
        /// The call.
        call: &'static str,
        /// Its message.
        message: String,
    },
    /// The subject of the call, a group or an upstream, does not exist or was deleted.
    #[error("the control plane does not have the subject of {call}: {message}")]
    NotFound {
        /// The call.
        call: &'static str,
        /// Its message.
        message: String,
    },
    /// The control plane refuses the call as it is; a bug on one of the two sides, or different versions.
    #[error("the control plane refuses {call}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its message.
        message: String,
    },
    /// The answer is invalid; a bug on one of the two sides, or different versions.
    #[error("the control plane's answer to {call} is invalid: {problem}")]
    BadAnswer {
        /// The call.
        call: &'static str,
        /// The fault.
        problem: String,
    },
}

impl ControlError {
    /// A stable word for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
            Self::NodeRefused { .. } => "node_refused",
            Self::NotFound { .. } => "not_found",
            Self::Refused { .. } => "refused",
            Self::BadAnswer { .. } => "bad_answer",
        }
    }

    /// True if the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
