//! What the end-to-end tests stand on: a fake hub with faults and exact counts ([`hub`]), images made on the spot
//! ([`image`]), the product's processes ([`cluster`]), a registry client that shows every header ([`client`]), the
//! control port ([`api`]), an issuer of ID tokens ([`issuer`]), and real servers and clients ([`engines`]). Everything
//! listens on loopback, on ports and in folders of its own, and is stopped when its handle is dropped.
//!
//! A panic here is a failed test: helpers unwrap instead of handing errors around.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod api;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod engines;
pub mod hub;
pub mod image;
pub mod issuer;
pub mod ports;
pub mod process;
pub mod small_disk;
