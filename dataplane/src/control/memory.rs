//! Answers of the control plane that a node remembers: links, tags, credentials, and conditions.

pub mod conditions;
pub mod credentials;
pub mod links;
pub mod tags;
