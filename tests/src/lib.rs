//! The base of the end-to-end tests: a fake hub with faults and exact counts ([`hub`]), generated images ([`image`]), the
//! server's processes ([`cluster`]; many of them: [`fleet`]), a registry client that shows every header ([`client`]), the
//! control port ([`api`]), an issuer of ID tokens ([`issuer`]), real servers and clients ([`engines`]), PostgreSQL and S3
//! ([`postgres`], [`seaweed`]), and connections that misbehave or are balanced ([`link`], [`balancer`]). Everything listens
//! on loopback, on ports and in folders of its own, and is stopped when its handle is dropped.
//!
//! A panic here is a failed test: helpers unwrap instead of handing errors around.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod api;
pub mod balancer;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod engines;
pub mod eventually;
pub mod fleet;
pub mod hub;
pub mod image;
pub mod issuer;
pub mod link;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod seaweed;
pub mod small_disk;
pub mod store_files;
