//! The number of calls to the control plane that pulls cost.

use futures_util::future::join_all;
use roadstead_proto::v1::{DeleteTokenRequest, Role, UpdateUserRequest, Visibility};
use roadstead_tests::{
    api::PULL,
    client::Client,
    cluster::Cluster,
    hub::{Fault, Gate, Hub, Kind, When},
    image::{Format, Image, ImageBuilder, digest},
};

use crate::{open_pair, soon};

const LAYERS: usize = 40;

/// The calls that a pull may make. Everything else that a node calls goes on whether anybody pulls or not.
const CALLS: [&str; 9] = [
    "SignIn",
    "ResolveTag",
    "ReportTag",
    "GetLinks",
    "RecordLink",
    "RecordLinks",
    "GetCredential",
    "AcquireFill",
    "ReleaseFill",
];

/// The calls so far, by name.
async fn calls(cluster: &Cluster) -> Vec<(&'static str, usize)> {
    let mut counts = Vec::new();
    for call in CALLS {
        let count = cluster.metric("roadstead_control_rpcs_total", &[&format!("method=\"{call}\"")]).await;
        counts.push((call, count as usize));
    }
    counts
}

/// The calls that were made since, by name; those that were made at all.
async fn calls_since(cluster: &Cluster, before: &[(&'static str, usize)]) -> Vec<(&'static str, usize)> {
    let counts = calls(cluster).await.into_iter().zip(before).map(|((call, now), (_, then))| (call, now - then));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn of(counts: &[(&'static str, usize)], call: &str) -> usize {
    counts.iter().filter(|(name, _)| *name == call).map(|(_, count)| count).sum()
}

fn sum(counts: &[(&'static str, usize)]) -> usize {
    counts.iter().map(|(_, count)| count).sum()
}

fn large_image(hub: &Hub) -> Image {
    let image = (0..LAYERS).fold(ImageBuilder::new(Format::Oci), |image, layer| {
        image.file(&format!("file-{layer}"), format!("layer {layer}").as_bytes())
    });
    let image = image.build();
    hub.push("library/app", "1", &image);
    image
}

#[tokio::test]
async fn a_cold_pull_of_forty_layers_makes_six_calls_at_most_and_a_warm_one_none_by_digest() {
    let (hub, cluster) = open_pair().await;
    let image = large_image(&hub);
    let client = cluster.anonymous();
    client.token("app").await;
    // All of them end at about the same time.
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let before = calls(&cluster).await;
    client.manifest("app", "1").await.expect(200);
    let blobs: Vec<String> = image.blobs().map(|blob| digest(blob)).collect();
    assert_eq!(blobs.len(), LAYERS + 1);
    let pulls = blobs.iter().map(|blob| client.blob("app", blob));
    let (pulled, ()) = tokio::join!(join_all(pulls), async {
        hub.wait_for(&When::get(Kind::Blob), blobs.len()).await;
        gate.open();
    });
    for (answer, blob) in pulled.into_iter().zip(image.blobs()) {
        assert_eq!(answer.expect(200).body, *blob);
    }
    for blob in &blobs {
        client.blob_hit("app", blob).await;
    }
    let counts = calls_since(&cluster, &before).await;
    assert!(sum(&counts) <= 6, "{counts:?}");
    assert_eq!(of(&counts, "GetLinks"), 0, "the manifest's record brings what is known of its blobs: {counts:?}");
    assert_eq!(hub.count(&When::get(Kind::Blob)), blobs.len(), "{}", hub.log());

    let before = calls(&cluster).await;
    client.manifest("app", &image.digest()).await.expect(200);
    for answer in join_all(blobs.iter().map(|blob| client.blob("app", blob))).await {
        assert_eq!(answer.expect(200).cache(), "hit");
    }
    assert_eq!(calls_since(&cluster, &before).await, []);
}

#[tokio::test]
async fn blobs_that_are_pulled_without_their_manifest_share_questions() {
    let (hub, cluster) = open_pair().await;
    let image = large_image(&hub);
    let client = cluster.anonymous();
    client.manifest("app", "1").await.expect(200);
    // What the node was told of the blobs is forgotten.
    cluster.kill();
    cluster.run_processes().await;
    client.token("app").await;
    let before = calls(&cluster).await;
    let blobs: Vec<String> = image.blobs().map(|blob| digest(blob)).collect();
    let pulled = join_all(blobs.iter().map(|blob| client.blob("app", blob))).await;
    for (answer, blob) in pulled.into_iter().zip(image.blobs()) {
        assert_eq!(answer.expect(200).body, *blob);
    }
    let counts = calls_since(&cluster, &before).await;
    assert_eq!(of(&counts, "GetLinks"), 1, "{counts:?}");
}

#[tokio::test]
async fn another_group_proves_each_blob_of_its_own_whatever_was_told_along_with_the_manifest() {
    let (hub, cluster) = open_pair().await;
    let image = large_image(&hub);
    let (first, second) = (cluster.client_of_new_group("first").await, cluster.client_of_new_group("second").await);
    // Both are told that nobody has the blobs.
    for client in [&first, &second] {
        client.manifest("app", "1").await.expect(200);
    }
    let blobs: Vec<String> = image.blobs().map(|blob| digest(blob)).collect();
    for blob in &blobs {
        first.blob("app", blob).await.expect(200);
        first.blob_hit("app", blob).await;
    }
    hub.forget_requests();
    for (blob, content) in blobs.iter().zip(image.blobs()) {
        assert_eq!(second.blob("app", blob).await.expect(200).body, *content);
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "a HEAD is proof enough by now: {}", hub.log());
    assert_eq!(hub.count(&When::head(Kind::Blob)), blobs.len(), "{}", hub.log());
}

#[tokio::test]
async fn a_repeated_sign_in_costs_no_call_until_its_token_is_revoked() {
    let (_hub, cluster) = open_pair().await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    let token = admin.deploy("acme", &PULL).await;
    let client = cluster.client("acme", &token);
    soon(200, || client.sign_in("app")).await;
    let before = calls(&cluster).await;
    for _ in 0..20 {
        client.sign_in("app").await.expect(200);
    }
    assert_eq!(calls_since(&cluster, &before).await, []);
    // Another image is another question, and a wrong secret is one every time.
    client.sign_in("other").await.expect(200);
    let wrong = Client::new(&cluster.url(), "acme", Some((token.username.clone(), "wrong".into())));
    for _ in 0..2 {
        wrong.sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    }
    assert_eq!(calls_since(&cluster, &before).await, [("SignIn", 3)]);
    admin.tokens.clone().delete_token(DeleteTokenRequest { id: token.id }).await.unwrap();
    soon(401, || client.sign_in("app")).await;
}

#[tokio::test]
async fn a_repeated_password_costs_no_call_until_it_changes_and_wrong_ones_do_not_hold_it_up() {
    let (_hub, cluster) = open_pair().await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    let sign_in = |address: [u8; 4], password: &str| {
        let client = Client::new(&cluster.url(), "acme", Some(("alice".into(), password.into())));
        let client = client.from_address(address.into());
        async move { client.sign_in("app").await }
    };
    let (own, other) = ([127, 0, 0, 71], [127, 0, 0, 72]);
    let (password, new) = ("correct horse battery", "another long password");
    admin.user("alice", password, false).await;
    admin.member("acme", "alice", Role::Guest).await;
    soon(200, || sign_in(own, password)).await;
    let before = calls(&cluster).await;
    sign_in(own, password).await.expect(200);
    assert_eq!(calls_since(&cluster, &before).await, []);
    // Wrong ones from elsewhere change nothing for the owner, and the right one is checked for each address.
    for number in 0..3 {
        sign_in(other, &format!("wrong password {number}")).await.expect_error(401, "UNAUTHORIZED");
    }
    sign_in(own, password).await.expect(200);
    assert_eq!(of(&calls_since(&cluster, &before).await, "SignIn"), 3);
    sign_in(other, password).await.expect(200);
    assert_eq!(of(&calls_since(&cluster, &before).await, "SignIn"), 4);
    let change = UpdateUserRequest { password: Some(new.into()), ..Default::default() };
    admin.update_user("alice", change).await;
    soon(401, || sign_in(own, password)).await;
    sign_in(own, new).await.expect(200);
}
