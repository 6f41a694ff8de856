//! Groups, their members, and their names.

pub mod group;
pub mod image;
pub mod image_prefix;
pub mod member;
pub mod rename;
