//! Stored content, links to it, and the totals kept beside the links.

pub mod content;
pub mod corruption;
pub mod garbage;
pub mod inventory;
pub mod link;
pub mod list;
pub mod retention;
pub mod totals;
pub mod usage;
