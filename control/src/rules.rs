//! The rules of the control plane: plain functions over plain data, grouped by noun. None of them does I/O.

pub mod access;
pub mod audit;
pub mod cache;
pub mod cluster;
pub mod groups;
pub mod identity;
pub mod jobs;
pub mod limits;
pub mod request;
pub mod tags;
pub mod upstreams;
pub mod violation;
