//! The flag `--request-id` of commands that create something.

use clap::Args;

/// An id that the caller chooses for a call.
#[derive(Debug, Args)]
pub struct RequestId {
    /// Own id for this call, such as a UUID; within an hour, a repeat prints the first result and creates nothing again
    #[arg(long = "request-id", value_name = "ID", default_value = "", hide_default_value = true)]
    pub id: String,
}
