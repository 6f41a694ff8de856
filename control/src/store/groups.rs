//! Groups and memberships.

pub mod group;
pub mod member;
pub mod size;
