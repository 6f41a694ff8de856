//! One group's private images never reach a group that could not pull them itself.

use http::Method;
use roadstead_tests::{
    client::{self, Answer, Client},
    cluster::Cluster,
    eventually::eventually,
    hub::{Fault, Gate, Hub, Kind, When},
    image::{Image, digest, random_bytes},
};

use crate::{open_pair, soon};

/// A hub with `secret/app` for alice and bob; group `one` signs in there as alice, group `two` as nobody.
async fn private_pair() -> (Hub, Cluster, Client, Client, Image) {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let image = Image::small(1);
    hub.add_user("alice", "alices-password");
    hub.add_user("bob", "bobs-password");
    hub.push("secret/app", "latest", &image);
    hub.make_private("secret/app", &["alice", "bob"]);
    let one = cluster.client_of_new_group("one").await;
    let two = cluster.client_of_new_group("two").await;
    login(&cluster, "one", "alice").await;
    (hub, cluster, one, two, image)
}

async fn login(cluster: &Cluster, group: &str, user: &str) {
    let arguments = ["upstream", "login", group, "docker.io", "--username", user, "--password-stdin"];
    cluster.cli_with_input(&arguments, &format!("{user}s-password\n")).await.ok();
}

#[track_caller]
fn is_refused(answer: &Answer) {
    assert!(matches!(answer.status.as_u16(), 401 | 403 | 404), "{answer:?}");
}

#[tokio::test]
async fn a_private_image_is_refused_to_a_group_that_could_not_pull_it_itself() {
    let (hub, _cluster, one, two, image) = private_pair().await;
    let layer = digest(&image.layers[0]);
    one.manifest("secret/app", "latest").await.expect(200);
    one.blob("secret/app", &layer).await.expect(200);
    for method in [Method::GET, Method::HEAD] {
        for rest in ["manifests/latest", &format!("manifests/{}", image.digest()), &format!("blobs/{layer}")] {
            is_refused(&two.ask(method.clone(), "secret/app", rest, &[]).await);
            // Nor by way of a repository that it can read.
            hub.push("library/mine", "latest", &Image::small(2));
            if rest != "manifests/latest" {
                two.ask(method.clone(), "mine", rest, &[]).await.expect(404);
            }
        }
    }
    is_refused(&two.ask(Method::GET, "secret/app", "tags/list", &[]).await);
    one.blob("secret/app", &layer).await.expect(200);
}

#[tokio::test]
async fn a_group_with_a_right_of_its_own_shares_the_stored_bytes() {
    let (hub, cluster, one, two, image) = private_pair().await;
    let layer = digest(&image.layers[0]);
    one.manifest("secret/app", "latest").await.expect(200);
    one.blob_hit("secret/app", &layer).await;
    login(&cluster, "two", "bob").await;
    hub.forget_requests();
    let own = two.blob("secret/app", &layer).await.expect(200);
    assert_eq!(own.body, image.layers[0]);
    // Nothing tells that somebody else has it: it reads as a first pull does.
    assert_eq!((own.cache(), own.header("age")), ("fill", ""));
    let again = two.blob("secret/app", &layer).await.expect(200);
    assert_eq!((again.cache(), again.header("age")), ("hit", "0"));
    assert_eq!(two.manifest("secret/app", "latest").await.expect(200).body, image.manifest);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "a HEAD is proof enough:\n{}", hub.log());
    assert!(hub.count(&When::head(Kind::Blob)) >= 1, "{}", hub.log());
    let authorized = hub
        .requests(&When::kind(Kind::Token))
        .iter()
        .all(|request| request.header("authorization").starts_with("Basic"));
    assert!(authorized, "{}", hub.log());
}

#[tokio::test]
async fn joining_a_fill_takes_a_right_of_ones_own() {
    let (hub, cluster, one, two, _) = private_pair().await;
    cluster.create_group("three").await;
    let token = cluster.create_token("three").await;
    let three = cluster.client("three", &token);
    login(&cluster, "three", "bob").await;
    let blob = random_bytes(4, 1_000_000);
    let wanted = hub.push_blob("secret/app", blob.clone());
    let gate = Gate::closed();
    gate.release(1000);
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let mut first = one.open_blob("secret/app", &wanted, &[]).await;
    first.chunk().await.unwrap().unwrap();
    // Refused while the fill goes on.
    is_refused(&two.blob("secret/app", &wanted).await);
    let joined = three.open_blob("secret/app", &wanted, &[]).await;
    assert_eq!((joined.status().as_u16(), joined.headers()["x-cache"].to_str().unwrap()), (200, "fill"));
    gate.open();
    assert_eq!(joined.bytes().await.unwrap(), blob);
    first.bytes().await.unwrap();
    let fetched = hub.requests(&When::get(Kind::Blob)).iter().filter(|request| request.status() == 200).count();
    assert_eq!(fetched, 1, "{}", hub.log());
}

#[tokio::test]
async fn whoever_starts_a_fill_without_a_right_gets_nothing_of_what_a_joiner_may_have() {
    let (hub, _cluster, one, two, _) = private_pair().await;
    hub.push("library/mine", "latest", &Image::small(2));
    let blob = random_bytes(4, 1_000_000);
    let wanted = hub.push_blob("secret/app", blob.clone());
    // The stranger asks first, by way of a repository that does not hold it and takes its time to say so.
    let gate = Gate::closed();
    let strangers = When::get(Kind::Blob).of("library/mine");
    hub.fault(strangers.clone(), Fault::HoldAnswer(gate.clone()));
    let member = async {
        hub.wait_for(&strangers, 1).await;
        one.blob("secret/app", &wanted).await
    };
    // The member has proven its right and waits for the fill that is under way.
    let proofs = When::head(Kind::Blob).of("secret/app");
    let proven = |hub: &Hub| hub.requests(&proofs).iter().any(|request| request.status() == 200);
    let end_of_the_wait = async {
        hub.wait_until(proven, "the member's proof").await;
        gate.open();
    };
    let (stranger, member, ()) = tokio::join!(two.blob("mine", &wanted), member, end_of_the_wait);
    stranger.expect(404);
    assert_eq!(member.expect(200).body, blob, "{}", hub.log());
    two.blob("mine", &wanted).await.expect(404);
}

#[tokio::test]
async fn a_fill_whose_owner_loses_its_right_is_taken_over_by_a_joiner() {
    let (hub, cluster, one, _, _) = private_pair().await;
    cluster.create_group("three").await;
    let token = cluster.create_token("three").await;
    let three = cluster.client("three", &token);
    login(&cluster, "three", "bob").await;
    let blob = random_bytes(4, 1_000_000);
    let wanted = hub.push_blob("secret/app", blob.clone());
    let gate = Gate::closed();
    gate.release(1000);
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 2);
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(500_000), 2);
    let mut owners = one.open_blob("secret/app", &wanted, &[]).await;
    owners.chunk().await.unwrap().unwrap();
    let joined = three.open_blob("secret/app", &wanted, &[]).await;
    assert_eq!(joined.status().as_u16(), 200);
    // The download is cut and alice, for whom it was, may no longer resume it; bob may.
    hub.make_private("secret/app", &["bob"]);
    gate.open();
    assert_eq!(joined.bytes().await.unwrap(), blob, "{}", hub.log());
}

#[tokio::test]
async fn a_group_that_is_deleted_takes_its_tokens_and_rights_along() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    cluster.create_group("gone").await;
    let token = cluster.create_token("gone").await;
    let client = cluster.client("gone", &token);
    client.manifest("app", "latest").await.expect(200);
    cluster.cli(&["group", "delete", "gone", "--yes"]).await.ok();
    eventually("refused", async || !client.manifest("app", &image.digest()).await.status.is_success()).await;
    assert!(cluster.client("gone", &token).sign_in("app").await.status.is_client_error());
    // A new group of that name inherits nothing.
    cluster.create_group("gone").await;
    assert!(cluster.client("gone", &token).sign_in("app").await.status.is_client_error());
    let stats = cluster.cli_json(&["cache", "stats", "gone"]).await;
    assert_eq!(stats["manifests"], 0, "{stats}");
}

#[tokio::test]
async fn the_same_blob_in_another_repository_costs_a_head() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 100_000);
    let wanted = hub.push_blob("library/a", blob.clone());
    hub.push_blob("library/b", blob.clone());
    hub.push("library/c", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.blob_hit("a", &wanted).await;
    hub.forget_requests();
    assert_eq!(client.blob("b", &wanted).await.expect(200).body, blob);
    assert_eq!((hub.count(&When::head(Kind::Blob)), hub.count(&When::get(Kind::Blob))), (1, 0), "{}", hub.log());
    client.blob("c", &wanted).await.expect_error(404, "BLOB_UNKNOWN");
    hub.forget_requests();
    client.blob_hit("b", &wanted).await;
    assert_eq!(hub.count(&When::any()), 0, "proven once is enough:\n{}", hub.log());
}

#[tokio::test]
async fn a_tag_that_upstream_no_longer_grants_is_refused_though_it_is_cached() {
    let (hub, _cluster, one, _two, _) = private_pair().await;
    one.manifest("secret/app", "latest").await.expect(200);
    hub.make_private("secret/app", &["bob"]);
    hub.forget_tokens();
    is_refused(&one.manifest("secret/app", "latest").await);
}

#[tokio::test]
async fn purging_one_group_takes_nothing_from_another() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let one = cluster.client_of_new_group("one").await;
    let two = cluster.client_of_new_group("two").await;
    for client in [&one, &two] {
        client.manifest("app", "latest").await.expect(200);
        for blob in image.blobs() {
            client.blob_hit("app", &digest(blob)).await;
        }
    }
    cluster.cli(&["cache", "purge", "one", "--yes"]).await.ok();
    hub.down().await;
    assert_eq!(two.manifest("app", "latest").await.expect(200).body, image.manifest);
    two.blob("app", &digest(&image.config)).await.expect(200);
    // The purge reaches the node within a second.
    let digest = image.digest();
    soon(503, || one.manifest("app", &digest)).await;
}

/// The registry port itself, with a token that is good elsewhere, must not tell what the token service hides.
#[tokio::test]
async fn a_token_of_another_group_cannot_tell_a_private_group_from_one_that_is_not_there() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let (one, hidden) = (cluster.client_of_new_group("one").await, cluster.client_of_new_group("two").await);
    hidden.manifest("app", "latest").await.expect(200);
    let token = one.token("app").await;
    let ask = async |group: &str, rest: &str| {
        let url = format!("{}/v2/{group}/dependency_proxy/containers/app/{rest}", cluster.url());
        let answer = client::read(client::http().get(url).bearer_auth(&token).send().await).await.unwrap();
        let told = |text: &str| text.replace(group, "GROUP");
        (answer.status, told(answer.header("www-authenticate")), told(&String::from_utf8_lossy(&answer.body)))
    };
    for rest in ["manifests/latest", "tags/list", &format!("blobs/{}", digest(b"x"))] {
        let (private, missing) = (ask("two", rest).await, ask("six", rest).await);
        assert_eq!(private.0, 401);
        assert_eq!(private, missing, "{rest}");
    }
}
