//! Signing in upstream: tokens are fetched seldom and credentials go to nobody they are not meant for.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_tests::{
    cluster::Cluster,
    hub::{AuthMode, Fault, Hub, HubOptions, Kind, Realm, When},
    image::{Image, random_bytes},
};

use crate::soon;

async fn login(cluster: &Cluster, user: &str, password: &str) {
    // Not tried: these tests are about what happens to those that upstream refuses, too.
    let arguments =
        ["upstream", "login", "default", "docker.io", "--username", user, "--password-stdin", "--no-verify"];
    cluster.cli_with_input(&arguments, password).await.ok();
}

/// A hub with `library/app`, which only alice can pull; the product's group signs in as her.
async fn private(options: HubOptions) -> (Hub, Cluster) {
    let hub = Hub::start_with(options).await;
    hub.add_user("alice", "alices-password");
    hub.push("library/app", "latest", &Image::small(1));
    hub.make_private("library/app", &["alice"]);
    let cluster = Cluster::start(&hub).await;
    login(&cluster, "alice", "alices-password").await;
    (hub, cluster)
}

#[tokio::test]
async fn one_token_serves_a_repository_until_it_expires() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let client = cluster.anonymous();
    let blobs: Vec<_> = (0..8).map(|seed| hub.push_blob("library/app", random_bytes(seed, 1000))).collect();
    hub.push("library/app", "latest", &Image::small(1));
    hub.push("library/other", "latest", &Image::small(1));
    client.token("app").await;
    // All at once: whoever needs the token waits for the one request.
    for answer in join_all(blobs.iter().map(|blob| client.blob("app", blob))).await {
        answer.expect(200);
    }
    client.manifest("app", "latest").await.expect(200);
    assert_eq!(hub.count(&When::kind(Kind::Token)), 1, "{}", hub.log());
    client.manifest("other", "latest").await.expect(200);
    assert_eq!(hub.count(&When::kind(Kind::Token)), 2, "a scope has its own token:\n{}", hub.log());
}

#[tokio::test]
async fn an_expired_token_is_renewed() {
    let hub = Hub::start_with(HubOptions { token_lifetime: Duration::from_secs(1), ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    let before = hub.count(&When::kind(Kind::Token));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let answer = client.manifest("app", "latest").await.expect(200);
    assert_eq!(answer.cache(), "revalidated");
    assert!(hub.count(&When::kind(Kind::Token)) > before, "{}", hub.log());
}

#[tokio::test]
async fn a_token_that_upstream_no_longer_takes_is_replaced_once() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.forget_tokens();
    hub.forget_requests();
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated");
    assert_eq!(hub.count(&When::kind(Kind::Token)), 1, "{}", hub.log());
    assert_eq!(hub.count(&When::head(Kind::Manifest)), 2, "{}", hub.log());
}

#[tokio::test]
async fn a_registry_that_always_asks_for_a_token_is_not_asked_for_ever() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    let challenge = format!("Bearer realm=\"{}/token\",service=\"hub.test\"", hub.url());
    hub.fault(When::kind(Kind::Manifest), Fault::Challenge(challenge));
    let refused = cluster.anonymous().manifest("app", "latest").await.expect_error(403, "DENIED");
    assert!(hub.count(&When::any()) <= 8, "{refused:?}\n{}", hub.log());
}

#[tokio::test]
async fn credentials_are_given_to_the_upstreams_own_token_service() {
    let (hub, cluster) = private(HubOptions::default()).await;
    cluster.anonymous().manifest("app", "latest").await.expect(200);
    let asked = hub.requests(&When::kind(Kind::Token));
    assert!(asked.iter().all(|request| request.header("authorization").starts_with("Basic ")), "{}", hub.log());
}

#[tokio::test]
async fn credentials_that_upstream_refuses_are_told_and_hidden() {
    let (_hub, cluster) = private(HubOptions::default()).await;
    login(&cluster, "alice", "an-old-password").await;
    let client = cluster.anonymous();
    let refused = client.manifest("app", "latest").await.expect_error(403, "DENIED");
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(said.contains("docker.io") && !said.contains("an-old-password"), "{said}");
    login(&cluster, "alice", "alices-password").await;
    soon(200, || client.manifest("app", "latest")).await;
}

#[tokio::test]
async fn a_foreign_realm_gets_no_credentials_unless_it_is_listed() {
    let (hub, cluster) =
        private(HubOptions { realm: Realm::Separate("localhost".into()), ..HubOptions::default() }).await;
    let refused = cluster.anonymous().manifest("app", "latest").await;
    assert!(refused.status.is_client_error() || refused.status.is_server_error(), "{refused:?}");
    for request in hub.requests(&When::kind(Kind::Token)) {
        assert_eq!(request.header("authorization"), "", "{request}");
    }
    let token_host = hub.token_service_address().replace("127.0.0.1", "localhost");
    cluster.set_upstream(&hub.url(), &["--token-host".to_owned(), token_host]).await;
    let client = cluster.anonymous();
    soon(200, || client.manifest("app", "latest")).await;
}

#[tokio::test]
async fn a_registry_with_basic_authentication_is_served() {
    let (hub, cluster) = private(HubOptions { auth: AuthMode::Basic, ..HubOptions::default() }).await;
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated");
    assert_eq!(hub.count(&When::kind(Kind::Token)), 0);
}

#[tokio::test]
async fn redirects_of_a_registry_do_not_carry_authorization_and_end() {
    let (hub, cluster) = private(HubOptions::default()).await;
    let elsewhere = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let blob = random_bytes(1, 1000);
    cluster.set_upstream(&hub.url(), &["--redirect-host".to_owned(), elsewhere.address()]).await;
    let wanted = hub.push_blob("library/app", blob.clone());
    elsewhere.push_blob("library/app", blob.clone());
    let target = format!("{}/v2/library/app/blobs/{wanted}", elsewhere.url());
    hub.fault(When::kind(Kind::Blob), Fault::Redirect(302, target));
    let client = cluster.anonymous();
    // The node hears of the list a moment later.
    assert_eq!(soon(200, || client.blob("app", &wanted)).await.body, blob);
    for request in elsewhere.requests(&When::any()) {
        assert_eq!(request.header("authorization"), "", "{request}");
    }
    hub.clear_faults();
    let round = hub.push_blob("library/app", random_bytes(2, 1000));
    hub.fault(When::kind(Kind::Blob), Fault::Redirect(307, format!("{}/v2/library/app/blobs/{round}", hub.url())));
    hub.forget_requests();
    let refused = client.try_blob("app", &round).await.unwrap();
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert!(hub.count(&When::kind(Kind::Blob)) <= 24, "{}", hub.log());
}

#[tokio::test]
async fn no_content_coding_is_asked_for_upstream() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    cluster.anonymous().manifest("app", "latest").await.expect(200);
    for request in hub.requests(&When::any()) {
        assert!(matches!(request.header("accept-encoding"), "" | "identity"), "{request} {:?}", request.headers);
    }
}
