//! One download for all nodes: three nodes, each with a store of its own, and one control plane.

mod manifests;
pub(crate) mod node;
mod peer_tls;
mod trouble;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use roadstead_proto::node::v1::{
    AcquireFillRequest, RepositoryRef, acquire_fill_response::Result as Turn, node_service_client::NodeServiceClient,
};
use roadstead_tests::{
    api, client,
    hub::{AuthMode, Fault, Gate, Kind, When},
    image::{Image, random_bytes},
    link::Mode,
};

use self::node::{Node, three};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn sixty_clients_of_three_nodes_on_one_cold_blob_cost_upstream_one_get() {
    let (hub, _cluster, nodes, _) = three(AuthMode::Open).await;
    let blob = random_bytes(1, 4 * MIB);
    let name = hub.push_blob("library/app", blob.clone());
    let clients: Vec<_> = (0..60).map(|n| nodes[n % 3].anonymous()).collect();
    let pulls = join_all(clients.iter().map(|client| client.blob("app", &name))).await;
    for pulled in pulls {
        assert_eq!(pulled.expect(200).body, blob);
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
    // And each node has it for itself now.
    for node in &nodes {
        assert_eq!(node.anonymous().blob_hit("app", &name).await.body, blob);
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

#[tokio::test]
async fn when_the_owner_is_killed_a_follower_goes_on_from_the_bytes_it_has() {
    let (hub, _cluster, mut nodes, _) = three(AuthMode::Open).await;
    let blob = random_bytes(2, 16 * MIB);
    let name = hub.push_blob("library/app", blob.clone());
    hub.fault(When::get(Kind::Blob), Fault::Slow(256 * 1024, Duration::from_millis(100)));
    let clients: Vec<_> = nodes.iter().map(|node| (node.anonymous(), name.clone())).collect();
    let pulls: Vec<_> = clients
        .into_iter()
        .map(|(client, name)| tokio::spawn(async move { client.try_blob("app", &name).await }))
        .collect();
    hub.wait_until(|hub| hub.bytes_sent(&When::get(Kind::Blob)) > 6 * MIB as u64, "a third of the blob").await;
    let mut owner = None;
    for (index, node) in nodes.iter().enumerate() {
        if node.began("upstream").await > 0.0 {
            assert_eq!(owner.replace(index), None, "two nodes fetch:\n{}", hub.log());
        }
    }
    let owner = owner.unwrap();
    nodes[owner].daemon.kill();
    for (index, pull) in pulls.into_iter().enumerate() {
        let pulled = tokio::time::timeout(Duration::from_secs(60), pull).await.unwrap().unwrap();
        if index != owner {
            assert_eq!(pulled.unwrap().expect(200).body, blob);
        }
    }
    let sent = hub.bytes_sent(&When::get(Kind::Blob));
    assert!(sent <= blob.len() as u64 * 6 / 5, "{sent} bytes were sent:\n{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), 2, "{}", hub.log());
}

#[tokio::test]
async fn nodes_that_cannot_reach_each_other_pull_all_the_same_and_that_is_counted() {
    let (hub, _cluster, nodes, _) = three(AuthMode::Open).await;
    for node in &nodes {
        node.link.set(Mode::BlackHole).await;
    }
    let blob = random_bytes(3, 2 * MIB);
    let name = hub.push_blob("library/app", blob.clone());
    hub.fault(When::get(Kind::Blob), Fault::Slow(64 * 1024, Duration::from_millis(250)));
    let clients: Vec<_> = nodes.iter().map(Node::anonymous).collect();
    for pulled in join_all(clients.iter().map(|client| client.blob("app", &name))).await {
        assert_eq!(pulled.expect(200).body, blob);
    }
    let mut alone = 0.0;
    for node in &nodes {
        alone += node.began("upstream_uncoordinated").await;
    }
    assert_eq!((alone, hub.count(&When::get(Kind::Blob))), (2.0, 3), "{}", hub.log());
}

#[tokio::test]
async fn a_group_on_another_node_proves_its_own_right_or_gets_nothing() {
    let (hub, cluster, nodes, _) = three(AuthMode::Bearer).await;
    for user in ["alice", "bob"] {
        hub.add_user(user, &format!("{user}s-password"));
    }
    let blob = random_bytes(4, 4 * MIB);
    let name = hub.push_blob("secret/app", blob.clone());
    hub.make_private("secret/app", &["alice", "bob"]);
    let mut clients = Vec::new();
    for (node, (group, user)) in nodes.iter().zip([("one", Some("alice")), ("two", None), ("three", Some("bob"))]) {
        cluster.create_group(group).await;
        if let Some(user) = user {
            let login = ["upstream", "login", group, "docker.io", "--username", user, "--password-stdin"];
            cluster.cli_with_input(&login, &format!("{user}s-password\n")).await.ok();
        }
        let client = node.client(group, &cluster.create_token(group).await);
        client.sign_in("secret/app").await.expect(200);
        clients.push(client);
    }
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let (first, others) = tokio::join!(clients[0].blob("secret/app", &name), async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        let refused = clients[1].ask(Method::GET, "secret/app", &format!("blobs/{name}"), &[]).await;
        assert!(matches!(refused.status.as_u16(), 401 | 403 | 404), "{refused:?}");
        let third = async {
            hub.wait_until(|hub| hub.count(&When::head(Kind::Blob)) >= 2, "a proof by HEAD for each other group").await;
            gate.open();
        };
        tokio::join!(clients[2].blob("secret/app", &name), third).0
    });
    assert_eq!(first.expect(200).body, blob);
    assert_eq!(others.expect(200).body, blob);
    let refused = clients[1].ask(Method::GET, "secret/app", &format!("blobs/{name}"), &[]).await;
    assert!(matches!(refused.status.as_u16(), 401 | 403 | 404), "{refused:?}");
    let good = hub.requests(&When::get(Kind::Blob)).iter().filter(|request| request.status() == 200).count();
    assert_eq!(good, 1, "{}", hub.log());
}

#[tokio::test]
async fn a_node_gives_nothing_without_a_ticket_for_just_this_blob() {
    let (hub, cluster, nodes, token) = three(AuthMode::Open).await;
    let (blob, other) = (random_bytes(5, MIB), random_bytes(6, MIB));
    let (name, other_name) = (hub.push_blob("library/app", blob.clone()), hub.push_blob("library/app", other.clone()));
    let client = nodes[0].anonymous();
    assert_eq!(client.blob("app", &other_name).await.expect(200).body, other);
    assert_eq!(client.blob("app", &name).await.expect(200).body, blob);
    let group = cluster.cli_json(&["group", "get", "default"]).await["group"]["id"].as_str().unwrap().to_owned();
    let request = AcquireFillRequest {
        digest: name.clone(),
        node_id: "01990000-0000-7000-8000-000000000001".into(),
        repository: Some(RepositoryRef {
            group_id: group,
            upstream: "docker.io".into(),
            repository: "library/app".into(),
        }),
        peer_url: "http://127.0.0.1:1".into(),
        ..Default::default()
    };
    // The lease of what was just fetched is still the node's.
    let mut service = NodeServiceClient::new(api::calls(cluster.control, &token));
    let turn = service.acquire_fill(request).await.unwrap().into_inner().result;
    let Some(Turn::Follow(follow)) = turn else { panic!("{turn:?}") };
    assert_eq!(follow.peer_url, format!("http://{}/", nodes[0].link.address()));
    let ask = async |authorization: Option<String>, path: &str, range: Option<&str>| {
        let mut request = client::http().get(format!("http://{}{path}", nodes[0].peer));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        client::read(request.send().await).await.unwrap()
    };
    let (path, other_path) = (format!("/fills/{name}"), format!("/fills/{other_name}"));
    let good = Some(format!("Bearer {}", follow.ticket));
    let whole = ask(good.clone(), &path, None).await.expect(200);
    assert_eq!((whole.body, whole.headers["roadstead-proven"].as_bytes()), (blob.clone(), b"yes".as_slice()));
    let part = ask(good.clone(), &path, Some("bytes=1000-")).await.expect(206);
    assert_eq!(part.body, blob.slice(1000..));
    ask(good.clone(), &other_path, None).await.expect(401);
    ask(None, &path, None).await.expect(401);
    ask(Some(format!("Bearer {}", client.token("app").await)), &path, None).await.expect(401);
    let (start, signature) = follow.ticket.rsplit_once('.').unwrap();
    let forged = signature.chars().rev().collect::<String>();
    ask(Some(format!("Bearer {start}.{forged}")), &path, None).await.expect(401);
    for path in ["/", "/v2/", "/metrics", "/fills/", "/fills/nonsense"] {
        ask(good.clone(), path, None).await.expect(404);
    }
}

#[tokio::test]
async fn a_tag_that_several_nodes_check_at_once_costs_upstream_one_head() {
    let (hub, cluster, nodes, _) = three(AuthMode::Open).await;
    let image = Image::small(7);
    hub.push("library/app", "latest", &image);
    let clients: Vec<_> = nodes.iter().map(Node::anonymous).collect();
    for client in &clients {
        client.manifest("app", "latest").await.expect(200);
    }
    cluster.cli(&["group", "update", "default", "--max-age", "0s"]).await.ok();
    hub.forget_requests();
    let gate = Gate::closed();
    hub.fault(When::head(Kind::Manifest), Fault::HoldAnswer(gate.clone()));
    let waiting = async {
        // Each node but the first waits for the first one's answer; that none asks itself is what would show.
        hub.wait_for(&When::head(Kind::Manifest), 1).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        gate.open();
    };
    let pulls = join_all((0..12).map(|n| clients[n % 3].manifest("app", "latest")));
    for pulled in tokio::join!(pulls, waiting).0 {
        let pulled = pulled.expect(200);
        assert_eq!(pulled.body, image.manifest);
        assert_ne!(pulled.cache(), "stale", "{pulled:?}");
    }
    assert_eq!(hub.count(&When::head(Kind::Manifest)), 1, "{}", hub.log());
}
