//! The layers that every request passes, in the order of [`crate::http::pipeline`].

pub mod authenticate;
pub mod authorize;
pub mod ensure_synced;

use http::request::Parts;

use crate::route::Route;

/// A request whose route is known.
#[derive(Debug)]
pub struct Routed {
    /// What it is for.
    pub route: Route,
    /// GET or HEAD.
    pub read: Read,
    /// Its headers and URI.
    pub head: Parts,
}

/// How much of the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Headers and body.
    Get,
    /// Headers only.
    Head,
}
