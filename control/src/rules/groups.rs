//! Groups and their members.

pub mod group;
pub mod member;
