//! A real registry that wants a password, as an upstream beside Docker Hub.

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    engines::{DebianRegistry, PRIVATE_PASSWORD, PRIVATE_USER, skopeo},
    hub::Hub,
    image::{Format, Index, digest},
};

use crate::soon;

const HOST: &str = "private.example";

/// A private registry with `team/app:1.0`, and the product with a group that may use it.
async fn private() -> (DebianRegistry, Cluster, Index) {
    let source = Hub::start().await;
    let index = Index::two_platforms(Format::Oci, 1);
    source.push_index("team/app", "1.0", &index);
    let registry = DebianRegistry::start_private().await;
    let from = format!("docker://{}/team/app:1.0", source.address());
    let to = format!("docker://{}/team/app:1.0", registry.address());
    let credentials = format!("{PRIVATE_USER}:{PRIVATE_PASSWORD}");
    let flags = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds", &credentials];
    skopeo(&[&["copy"], &flags[..], &[&from, &to]].concat()).await.ok();
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.cli(&["upstream", "set", HOST, "--url", &format!("http://{}", registry.address())]).await.ok();
    cluster.cli(&["group", "create", "acme", "--upstream", "docker.io", "--upstream", HOST]).await.ok();
    (registry, cluster, index)
}

#[tokio::test]
async fn a_private_registry_is_pulled_from_with_the_groups_credentials_and_not_without() {
    let (_registry, cluster, index) = private().await;
    let token = cluster.create_token("acme").await;
    let (client, image) = (cluster.client("acme", &token), format!("{HOST}/team/app"));
    client.manifest(&image, "1.0").await.expect_error(403, "DENIED");

    let login = ["upstream", "login", "acme", HOST, "--username", PRIVATE_USER, "--password-stdin"];
    let refused = cluster.cli_with_input(&login, "wrong").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    client.manifest(&image, "1.0").await.expect_error(403, "DENIED");

    cluster.cli_with_input(&login, PRIVATE_PASSWORD).await.ok();
    let pulled = soon(200, async || client.manifest(&image, "1.0").await).await;
    assert_eq!(pulled.body, index.manifest);
    let layer = &index.images[0].layers[0];
    client.manifest(&image, &index.images[0].digest()).await.expect(200);
    assert_eq!(client.blob(&image, &digest(layer)).await.expect(200).body, layer);

    // Another group proves nothing by what this one has cached.
    cluster.cli(&["group", "create", "other", "--upstream", HOST]).await.ok();
    let token = cluster.create_token("other").await;
    let other = cluster.client("other", &token);
    other.manifest(&image, "1.0").await.expect_error(403, "DENIED");
    other.blob(&image, &digest(layer)).await.expect_error(403, "DENIED");

    cluster.cli(&["upstream", "logout", "acme", HOST]).await.ok();
    soon(403, async || client.manifest(&image, "1.0").await).await;
}

#[tokio::test]
async fn credentials_that_are_not_tried_are_stored_and_refused_later() {
    let (_registry, cluster, _) = private().await;
    let login = ["upstream", "login", "acme", HOST, "--username", PRIVATE_USER, "--password-stdin", "--no-verify"];
    cluster.cli_with_input(&login, "wrong").await.ok();
    let token = cluster.create_token("acme").await;
    let refused = cluster.client("acme", &token).manifest(&format!("{HOST}/team/app"), "1.0").await;
    refused.expect_error(403, "DENIED");
}
