//! Tags: freshness, checks shared by nodes, and history.

pub mod checks;
pub mod freshness;
pub mod history;
pub mod upstream_state;
