//! The control plane through its real router: a gRPC client over an in-memory connection, as `roadstead serve` joins
//! its two planes.

// Helpers of tests are tests too: a failure there fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod audit;
mod audit_of_changes;
mod cache;
mod constraints;
mod corruption;
mod daily_usage;
mod fills;
mod freshness;
mod garbage;
mod groups;
mod guessing;
mod harness;
mod inventory;
mod issuer;
mod jobs;
mod keys;
mod large_purge;
mod lifecycle;
mod limits;
mod link;
mod members;
mod nodes;
mod observe;
mod oidc;
mod outage;
mod pulls;
mod reading;
mod rename;
mod repeats;
mod replicas;
mod rest;
mod retention;
mod rotation;
mod rpcs;
mod sign_in;
mod start;
mod timeline;
mod tokens;
mod upstream_reports;
mod upstreams;
mod users;
mod watch;
