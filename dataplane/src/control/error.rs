//! What can go wrong between a node and the control plane.

/// A call to the control plane gave no answer, or none that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be reached, or cannot answer right now.
    #[error("the control plane cannot answer {call}: {message}")]
    Unavailable {
        /// The call.
        call: &'static str,
        /// What the transport or the other side said.
        message: String,
    },
    /// It did not answer in time.
    #[error("the control plane did not answer {call} in time")]
    Timeout {
        /// The call.
        call: &'static str,
    },
    /// It does not take this node's token.
    #[error("the control plane refuses this node's token at {call}: {message}")]
    NodeRefused {
        /// The call.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// What the call is about is not there (any more): the group, or the upstream.
    #[error("the control plane does not know what {call} is about: {message}")]
    NotFound {
        /// The call.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// It refuses the call as it is; a bug on one of the two sides, or different versions.
    #[error("the control plane refuses {call}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// Its answer makes no sense; a bug on one of the two sides, or different versions.
    #[error("the control plane's answer to {call} makes no sense: {problem}")]
    BadAnswer {
        /// The call.
        call: &'static str,
        /// What is wrong with it.
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

    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
