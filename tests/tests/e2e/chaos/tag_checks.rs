//! One check of a tag for all nodes, whichever control replica each of them talks to.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_tests::{
    client::Client,
    fleet::{Fleet, Purpose},
    hub::{Fault, Gate, Kind, When},
    image::Image,
    link::Mode,
};

use super::{open_fleet, pull, push};

/// Waits until so many requests are under way at all nodes together.
async fn in_flight(fleet: &Fleet, requests: f64) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let counts = fleet.nodes.iter().map(|node| node.metric("roadstead_requests_in_flight", &[]));
            if join_all(counts).await.iter().sum::<f64>() >= requests {
                return;
            }
        }
    });
    assert!(waited.await.is_ok(), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_at_different_replicas_share_one_head_and_one_get_of_the_manifest() {
    let (hub, fleet) = open_fleet().await;
    // Each of two nodes knows another replica only; the third goes to both in turn.
    for (node, cut) in [(0, 1), (1, 0)] {
        fleet.nodes[node].links(Purpose::Control).nth(cut).unwrap().set(Mode::Refuse).await;
    }
    let clients: Vec<Client> = fleet.nodes.iter().map(|node| node.anonymous()).collect();
    let (name, image) = push(&hub, "warm", 1);
    for client in &clients {
        pull(client, name, &image).await;
    }
    hub.push("library/other", "stable", &Image::small(3));
    join_all(clients.iter().map(|client| client.token("other"))).await;
    fleet.cli(&["group", "update", "default", "--max-age", "0s"]).await.ok();
    for (repository, is_cold) in [("warm", false), ("cold", true), ("warm", false)] {
        let image = if is_cold { Image::small(2) } else { image.clone() };
        hub.push(&format!("library/{repository}"), "latest", &image);
        join_all(clients.iter().map(|client| client.token(repository))).await;
        hub.clear_faults();
        hub.forget_requests();
        let gate = Gate::closed();
        hub.fault(When::head(Kind::Manifest).at("latest"), Fault::HoldAnswer(gate.clone()));
        let pulls = join_all((0..12).map(|n| clients[n % 3].manifest(repository, "latest")));
        let opened = async {
            // Others wait no longer than a second: as soon as all are here.
            in_flight(&fleet, 12.0).await;
            // Who came in before these has got as far as they have: to the control plane, where all but one wait.
            let others = clients.iter().map(|client| client.manifest("other", "stable"));
            for other in join_all(others).await {
                other.expect(200);
            }
            gate.open();
        };
        for pulled in tokio::join!(pulls, opened).0 {
            let pulled = pulled.expect(200);
            assert_eq!(pulled.body, image.manifest);
            assert_ne!(pulled.cache(), "stale", "{pulled:?}");
        }
        let heads: Vec<_> = hub.requests(&When::head(Kind::Manifest).at("latest"));
        assert_eq!(heads.len(), 1, "{repository}:\n{}\n{}", hub.log(), fleet.logs());
        let gets = hub.count(&When::get(Kind::Manifest).at(&image.digest()));
        assert_eq!(gets, usize::from(is_cold), "{repository}:\n{}", hub.log());
    }
}
