//! One check of a tag for all nodes, whichever control replica each of them talks to.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_tests::{
    client::Client,
    fleet::{Fleet, Purpose},
    hub::{Fault, Gate, Hub, Kind, When},
    image::Image,
    link::Mode,
};

use super::{open_fleet, pull, push};

/// Longest time for which nodes wait for another node's check with several replicas.
const WAIT: Duration = Duration::from_secs(1);
/// Most attempts.
const ROUNDS: u64 = 10;

/// Waits until so many requests are under way at all nodes together, for as long as that may take here.
async fn in_flight(fleet: &Fleet, requests: f64) {
    let counted = async {
        loop {
            let counts = fleet.nodes.iter().map(|node| node.metric("roadstead_requests_in_flight", &[]));
            if join_all(counts).await.iter().sum::<f64>() >= requests {
                return;
            }
        }
    };
    // Later than that nobody waits anyway.
    let _ = tokio::time::timeout(WAIT, counted).await;
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
    for is_cold in [false, true, false] {
        let mut told = String::new();
        let mut is_shared = false;
        for round in 0..ROUNDS {
            let image = if is_cold { Image::small(10 + round) } else { image.clone() };
            let repository = if is_cold { format!("cold-{round}") } else { name.to_owned() };
            hub.push(&format!("library/{repository}"), "latest", &image);
            check_at_once(&hub, &fleet, &clients, &repository, &image).await;
            let heads = hub.count(&When::head(Kind::Manifest).at("latest"));
            let gets = hub.count(&When::get(Kind::Manifest).at(&image.digest()));
            // On a busy machine who waited may have had to ask for itself, and who came late asks anew; where nothing is
            // shared, two ask in every round.
            is_shared = (heads, gets) == (1, usize::from(is_cold));
            if is_shared {
                break;
            }
            told = format!("{repository}: {heads} HEADs, {gets} GETs\n{}", hub.log());
        }
        assert!(is_shared, "in none of {ROUNDS} rounds: {told}\n{}", fleet.logs());
    }
}

/// Twelve pulls of a tag at all nodes while upstream holds back its answer.
async fn check_at_once(hub: &Hub, fleet: &Fleet, clients: &[Client], repository: &str, image: &Image) {
    join_all(clients.iter().map(|client| client.token(repository))).await;
    hub.clear_faults();
    hub.forget_requests();
    let gate = Gate::closed();
    hub.fault(When::head(Kind::Manifest).at("latest"), Fault::HoldAnswer(gate.clone()));
    let pulls = join_all((0..12).map(|n| clients[n % 3].manifest(repository, "latest")));
    let opened = async {
        in_flight(fleet, 12.0).await;
        // Who came in before these has got as far as they have: to the control plane, where all but one wait.
        let others = clients.iter().map(|client| client.manifest("other", "stable"));
        for other in join_all(others).await {
            other.expect(200);
        }
        gate.open();
    };
    for pulled in tokio::join!(pulls, opened).0 {
        assert_eq!(pulled.expect(200).body, image.manifest);
    }
}
