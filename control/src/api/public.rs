//! The services of `roadstead.v1`, one file each.

pub mod audit;
pub mod cache;
pub mod check_stream;
pub mod cluster;
pub mod convert;
pub mod group;
pub mod list;
pub mod member;
pub mod oidc;
pub mod page;
pub mod prefetch_stream;
pub mod request_id;
pub mod tag_settings;
pub mod time;
pub mod token;
pub mod upstream;
pub mod user;
