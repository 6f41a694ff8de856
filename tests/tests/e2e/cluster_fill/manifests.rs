//! One GET per manifest for all nodes: manifests are what pull limits count.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use roadstead_tests::{
    hub::{AuthMode, Fault, Gate, Hub, Kind, When},
    image::{Format, Image, Index, digest},
    link::Mode,
};

use super::node::{Node, began, in_flight, owner, three, until_asked};

/// An image whose manifests upstream holds back until the gate is opened.
fn held_back(hub: &Hub, seed: u64) -> (Image, String, Gate) {
    let (image, gate) = (Image::small(seed), Gate::closed());
    let name = hub.push("library/app", "latest", &image);
    hub.fault(When::get(Kind::Manifest), Fault::HoldAnswer(gate.clone()));
    (image, name, gate)
}

#[tokio::test]
async fn sixty_clients_pulling_one_cold_image_cost_one_head_and_one_get_each() {
    let (hub, _cluster, nodes, _) = three(AuthMode::Open).await;
    let index = Index::two_platforms(Format::Oci, 1);
    let name = hub.push_index("library/app", "latest", &index);
    let (checked, gate) = (Gate::closed(), Gate::closed());
    hub.fault(When::head(Kind::Manifest), Fault::HoldAnswer(checked.clone()));
    hub.fault(When::get(Kind::Manifest).at(&name), Fault::HoldAnswer(gate.clone()));
    let clients: Vec<_> = (0..60).map(|n| nodes[n % 3].anonymous()).collect();
    join_all(clients.iter().map(|client| client.token("app"))).await;
    let pulls = join_all(clients.iter().map(async |client| {
        assert_eq!(client.manifest("app", "latest").await.expect(200).body, index.manifest);
        for image in &index.images {
            let manifest = client.manifest("app", &image.digest()).await.expect(200);
            assert_eq!((&manifest.body, manifest.header("content-type")), (&image.manifest, &*image.media_type));
            for blob in image.blobs() {
                assert_eq!(client.blob("app", &digest(blob)).await.expect(200).body, *blob);
            }
        }
    }));
    let opened = async {
        // All ask for the tag, and then two nodes wait for the manifest of the third.
        in_flight(&nodes, 60.0).await;
        checked.open();
        until_asked(&nodes, 2).await;
        gate.open();
    };
    tokio::join!(pulls, opened);
    let blobs: usize = index.images.iter().map(|image| image.blobs().count()).sum();
    let counts = [When::head(Kind::Manifest), When::get(Kind::Manifest), When::head(Kind::Blob), When::get(Kind::Blob)];
    assert_eq!(counts.map(|when| hub.count(&when)), [1, 3, 0, blobs], "{}", hub.log());
    for asked in std::iter::once(name).chain(index.images.iter().map(Image::digest)) {
        assert_eq!(hub.count(&When::get(Kind::Manifest).at(&asked)), 1, "{asked}:\n{}", hub.log());
    }
    let fetches = (3 + blobs) as f64;
    assert_eq!(began(&nodes).await, [fetches, 2.0 * fetches, 0.0]);
    // And each node has it for itself now.
    for node in &nodes {
        assert_eq!(node.anonymous().manifest("app", &index.images[0].digest()).await.expect(200).cache(), "hit");
    }
}

#[tokio::test]
async fn a_cold_manifest_by_digest_costs_one_get_and_a_dead_owner_one_more() {
    let (hub, _cluster, mut nodes, _) = three(AuthMode::Open).await;
    let (image, name, gate) = held_back(&hub, 2);
    let clients: Vec<_> = nodes.iter().map(Node::anonymous).collect();
    let pulls: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let name = name.clone();
            tokio::spawn(async move { client.try_pull("app", &format!("manifests/{name}"), &[]).await })
        })
        .collect();
    hub.wait_for(&When::get(Kind::Manifest), 1).await;
    until_asked(&nodes, 2).await;
    let owner = owner(&nodes).await;
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "{}", hub.log());
    nodes[owner].daemon.kill();
    hub.wait_for(&When::get(Kind::Manifest), 2).await;
    gate.open();
    for (index, pull) in pulls.into_iter().enumerate() {
        let pulled = tokio::time::timeout(Duration::from_secs(30), pull).await.unwrap().unwrap();
        if index != owner {
            assert_eq!(pulled.unwrap().expect(200).body, image.manifest);
        }
    }
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 2, "{}", hub.log());
    assert_eq!(hub.count(&When::head(Kind::Manifest)), 0, "{}", hub.log());
}

#[tokio::test]
async fn nodes_that_cannot_reach_each_other_fetch_manifests_themselves_and_that_is_counted() {
    let (hub, _cluster, nodes, _) = three(AuthMode::Open).await;
    for node in &nodes {
        node.link.set(Mode::Refuse).await;
    }
    let (image, name, gate) = held_back(&hub, 3);
    let clients: Vec<_> = nodes.iter().map(Node::anonymous).collect();
    let pulls = join_all(clients.iter().map(|client| client.manifest("app", &name)));
    let opened = async {
        hub.wait_for(&When::get(Kind::Manifest), 3).await;
        gate.open();
    };
    for pulled in tokio::join!(pulls, opened).0 {
        assert_eq!(pulled.expect(200).body, image.manifest);
    }
    assert_eq!((began(&nodes).await, hub.count(&When::get(Kind::Manifest))), ([1.0, 2.0, 2.0], 3), "{}", hub.log());
}

#[tokio::test]
async fn a_group_on_another_node_proves_its_right_to_a_manifest_or_gets_nothing() {
    let (hub, cluster, nodes, _) = three(AuthMode::Bearer).await;
    let image = Image::small(4);
    let name = hub.push("secret/app", "latest", &image);
    hub.make_private("secret/app", &["alice", "bob"]);
    let mut clients = Vec::new();
    for (node, (group, user)) in nodes.iter().zip([("one", Some("alice")), ("two", None), ("three", Some("bob"))]) {
        cluster.create_group(group).await;
        if let Some(user) = user {
            hub.add_user(user, &format!("{user}s-password"));
            let login = ["upstream", "login", group, "docker.io", "--username", user, "--password-stdin"];
            cluster.cli_with_input(&login, &format!("{user}s-password\n")).await.ok();
        }
        clients.push(node.client(group, &cluster.create_token(group).await));
    }
    // The others come while the lease of the first is still good.
    assert_eq!(clients[0].manifest("secret/app", &name).await.expect(200).body, image.manifest);
    let (refused, proven) =
        tokio::join!(clients[1].manifest("secret/app", &name), clients[2].manifest("secret/app", &name));
    assert!(matches!(refused.status.as_u16(), 401 | 403 | 404), "{refused:?}");
    let proven = proven.expect(200);
    assert_eq!((&proven.body, proven.header("content-type")), (&image.manifest, &*image.media_type));
    let good = hub.requests(&When::get(Kind::Manifest)).iter().filter(|request| request.status() == 200).count();
    assert_eq!(good, 1, "{}", hub.log());
    assert_eq!(nodes[2].began("peer").await, 1.0, "{}", hub.log());
    let refused = clients[1].ask(Method::GET, "secret/app", &format!("manifests/{name}"), &[]).await;
    assert!(matches!(refused.status.as_u16(), 401 | 403 | 404), "{refused:?}");
}
