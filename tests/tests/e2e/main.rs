//! The product as its users see it: the real executable, asked over HTTP, gRPC and its command line, in front of a fake
//! hub that counts and misbehaves, with real clients. One binary, for linking takes long; one module for each promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access_changes;
mod access_log;
mod access_table;
mod admin_api;
mod backup;
mod blob_fill;
mod blob_hit;
mod broken_fill;
mod brute_force;
mod call_counts;
mod certificates;
mod chaos;
mod ci_jobs;
mod cluster_fill;
mod command_line;
mod conformance;
mod connections;
mod control_outage;
mod crash_and_disk;
mod crash_points;
mod crate_directions;
mod database_copy;
mod deploy;
mod fair_shares;
mod fake_hub;
mod fixtures;
mod fleet_soak;
mod floods;
mod freshness;
mod healing;
mod hedge;
mod isolation;
mod large_settings;
mod logins;
mod lying_upstream;
mod manifest_checks;
mod manifest_pull;
mod mirrors;
mod observability;
mod oidc;
mod outage_matrix;
mod outages;
mod prefetch;
mod private_registry;
mod pull_limits;
mod purge;
mod real_clients;
mod retention;
mod s3;
mod saved_login;
mod secrets;
mod secure_upstream;
mod sign_in;
mod soak;
mod store_copy;
mod stored_bytes;
mod tls_control;
mod trouble;
mod two_processes;
mod unreadable;
mod upstream_auth;
mod upstream_health;
mod upstream_lists;
mod upstream_quirks;
mod usage;

use std::time::Duration;

use roadstead_tests::{
    client::Answer,
    cluster::Cluster,
    eventually::{self, eventually_some},
    hub::{AuthMode, Hub, HubOptions},
};

/// A hub that wants no authentication, so that every request counted is one that matters, and the product before it.
async fn open_pair() -> (Hub, Cluster) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    (hub, cluster)
}

/// Asks until the answer has this status, at most 5 s: changes reach nodes a moment later.
async fn soon(status: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    within(Duration::from_secs(5), status, ask).await
}

async fn within(at_most: Duration, status: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    let asked = eventually_some(async || {
        let answer = ask().await;
        if answer.status.as_u16() == status { Ok(answer) } else { Err(format!("still {answer:?}")) }
    });
    eventually::within(at_most, format_args!("status {status}"), asked).await
}
