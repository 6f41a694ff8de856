//! PostgreSQL hangs, and dies.

use std::time::{Duration, Instant};

use roadstead_tests::{
    client::Client,
    fleet::{Fleet, Purpose},
    image::digest,
    link::Mode,
};

use super::{open_fleet, pull, push};

/// Duration of the database's silence.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest time for an answer meanwhile: a refusal must not come late.
const PATIENCE: Duration = Duration::from_secs(15);

/// Clients of every node who are signed in and have pulled.
async fn warm_clients(fleet: &Fleet, name: &str, image: &roadstead_tests::image::Image) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in &fleet.nodes {
        let client = node.anonymous();
        pull(&client, name, image).await;
        client.manifest(name, &image.digest()).await.expect(200);
        client.token("other").await;
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_pulls_go_on_while_postgresql_is_silent_and_all_recovers_by_itself() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    let (other, other_image) = push(&hub, "other", 2);
    let clients = warm_clients(&fleet, name, &image).await;
    let layer = digest(&image.layers[0]);

    for control in &fleet.controls {
        control.set_links(Purpose::Database, Mode::BlackHole).await;
    }
    let silent_since = Instant::now();
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while silent_since.elapsed() < SILENCE {
        for client in &clients {
            let asked = Instant::now();
            assert_eq!(client.manifest(name, &image.digest()).await.expect(200).body, image.manifest);
            assert_eq!(client.blob(name, &layer).await.expect(200).body, image.layers[0]);
            slowest = asked.elapsed().max(slowest);
        }
        if rounds == 0 {
            // By tag, too: as it was last known.
            let asked = Instant::now();
            assert_eq!(clients[0].manifest(name, "latest").await.expect(200).body, image.manifest);
            // What is not known cannot be found out: said clearly, and in time.
            let refused = clients[1].manifest(other, "latest").await;
            assert!(refused.status.is_server_error(), "{refused:?}");
            assert!(
                refused.json()["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()),
                "{refused:?}"
            );
            assert!(asked.elapsed() < 2 * PATIENCE, "{:?}", asked.elapsed());
            let asked = Instant::now();
            let said = fleet.cli(&["group", "list"]).await.failed();
            assert!(said.contains("database"), "{said}");
            assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
        }
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(slowest < Duration::from_secs(5), "a cached pull took {slowest:?}");

    for control in &fleet.controls {
        control.set_links(Purpose::Database, Mode::Pass).await;
    }
    for control in &fleet.controls {
        control.ready().await;
    }
    for client in &clients {
        crate::within(Duration::from_secs(20), 200, async || client.manifest(other, "latest").await).await;
        pull(client, other, &other_image).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_is_got_over() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    let clients = warm_clients(&fleet, name, &image).await;
    fleet.postgres.kill();
    for client in &clients {
        assert_eq!(client.manifest(name, &image.digest()).await.expect(200).body, image.manifest);
    }
    let said = fleet.cli(&["group", "list"]).await.failed();
    assert!(said.contains("database"), "{said}");
    fleet.postgres.restart().await;
    for control in &fleet.controls {
        control.ready().await;
    }
    fleet.cli(&["group", "create", "acme"]).await.ok();
    let (cold, cold_image) = push(&hub, "cold", 3);
    for node in &fleet.nodes {
        let client = node.anonymous();
        crate::within(Duration::from_secs(20), 200, async || client.sign_in(cold).await).await;
        crate::within(Duration::from_secs(20), 200, async || client.manifest(cold, "latest").await).await;
        pull(&client, cold, &cold_image).await;
    }
}
