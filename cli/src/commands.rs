//! The commands, one file each.

pub mod admin_token;
pub mod audit;
pub mod backup;
pub mod cache;
pub mod ci_env;
pub mod completions;
mod confirm;
pub mod control;
pub mod database;
pub mod dataplane;
pub mod group;
pub mod keys;
pub mod login;
pub mod member;
pub mod mirror_config;
pub mod node;
pub mod oidc;
mod password;
mod registry;
mod request_id;
pub mod restore;
pub mod serve;
pub mod store;
pub mod token;
pub mod upstream;
pub mod user;
