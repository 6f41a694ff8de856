//! Two control replicas, three nodes, PostgreSQL and S3, any of which may die, hang or be cut off while clients pull.

mod back_in_time;
mod clocks;
mod control_replicas;
mod database;
mod one_fill;
mod purge_while_cut_off;
mod rolling_restart;
mod store;
mod tag_checks;

use roadstead_tests::{
    client::Client,
    fleet::{Fleet, FleetOptions},
    hub::{AuthMode, Hub, HubOptions},
    image::{Image, digest},
};

/// A hub that wants no authentication, and a fleet before it.
async fn open_fleet() -> (Hub, Fleet) {
    open_fleet_with(FleetOptions::default()).await
}

async fn open_fleet_with(options: FleetOptions) -> (Hub, Fleet) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let fleet = Fleet::start_with(&hub, options).await;
    (hub, fleet)
}

/// A repository at the hub, and its image with the tag `latest`.
fn push(hub: &Hub, name: &'static str, seed: u64) -> (&'static str, Image) {
    let image = Image::small(seed);
    hub.push(&format!("library/{name}"), "latest", &image);
    (name, image)
}

/// Pulls all of an image; every byte has to be right.
async fn pull(client: &Client, name: &str, image: &Image) {
    assert_eq!(client.manifest(name, "latest").await.expect(200).body, image.manifest);
    for blob in image.blobs() {
        assert_eq!(client.blob(name, &digest(blob)).await.expect(200).body, *blob);
    }
}
