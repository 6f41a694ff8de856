//! Whoever may do less is stopped at the node within two seconds, with registry tokens from before: each kind of change,
//! under a stopwatch. And what a rename and a deletion do to pulls.

use std::time::{Duration, Instant};

use http::Method;
use roadstead_proto::v1::{
    DeleteGroupRequest, DeleteMemberRequest, DeleteTokenRequest, DeleteTrustRequest, DeleteUserRequest,
    ListGroupsRequest, Role, UpdateGroupRequest, UpdateUserRequest, Visibility,
};
use roadstead_tests::{
    api::{Api, PULL},
    client::{self, Answer, Client},
    cluster::{Cluster, ClusterOptions},
    eventually::{eventually, within},
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::Image,
    issuer::{Issuer, Signer},
};
use tonic::Code;

use crate::{open_pair, soon};

const PASSWORD: &str = "correct horse battery";
/// The promised time.
const REACHES_NODES: Duration = Duration::from_secs(2);

/// Somebody with a registry token in hand that was good a moment ago.
struct Holder {
    client: Client,
    token: String,
}

impl Holder {
    async fn new(cluster: &Cluster, group: &str, name: &str, password: &str) -> Self {
        let client = Client::new(&cluster.url(), group, Some((name.into(), password.into())));
        let token = client.token("app").await;
        let holder = Self { client, token };
        holder.pull().await.expect(200);
        holder
    }

    /// Pulls with the token from before, whatever has changed.
    async fn pull(&self) -> Answer {
        let request = client::http().request(Method::GET, self.client.url("app", "manifests/latest"));
        client::read(request.bearer_auth(&self.token).send().await).await.unwrap()
    }

    /// The old token is void in time, and the client gets no new one.
    async fn is_stopped(&self, what: &str, sign_in: u16) {
        let stopped = eventually(what, async || self.pull().await.status == 401);
        within(REACHES_NODES, what, stopped).await;
        assert_eq!(self.client.sign_in("app").await.status.as_u16(), sign_in, "{what}");
    }
}

/// Two processes, so that changes have a way to go.
async fn two_processes() -> (Hub, Cluster, Api) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    hub.push("library/app", "latest", &Image::small(1));
    let cluster = Cluster::start_with(&hub, ClusterOptions { split: true, ..ClusterOptions::default() }).await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    (hub, cluster, admin)
}

#[tokio::test]
async fn tokens_that_are_revoked_or_expire_stop_pulling_within_two_seconds() {
    let (_hub, cluster, admin) = two_processes().await;
    admin.user("alice", PASSWORD, false).await;
    admin.member("acme", "alice", Role::Guest).await;
    for (what, token) in [
        ("deploy", admin.deploy("acme", &PULL).await),
        ("access", admin.access("acme", Role::Guest, &PULL).await),
        ("job", admin.job("acme").await),
        ("personal", admin.personal("alice", &PULL).await),
    ] {
        let holder = Holder::new(&cluster, "acme", &token.username, &token.token).await;
        admin.tokens.clone().delete_token(DeleteTokenRequest { id: token.id }).await.unwrap();
        holder.is_stopped(what, 401).await;
    }
    // No registry token outlives what it was issued for; nodes forgive two seconds for requests under way.
    let lifetime = Duration::from_secs(3);
    let token = admin.deploy_for("acme", lifetime).await;
    let holder = Holder::new(&cluster, "acme", &token.username, &token.token).await;
    tokio::time::sleep(lifetime).await;
    let expired = eventually("expired", async || holder.pull().await.status == 401);
    within(REACHES_NODES + Duration::from_secs(2), "expired", expired).await;
    holder.client.sign_in("app").await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn new_signing_keys_stop_every_registry_token_within_two_seconds_and_clients_sign_in_again() {
    let (_hub, cluster, admin) = two_processes().await;
    let token = admin.deploy("acme", &PULL).await;
    let holder = Holder::new(&cluster, "acme", &token.username, &token.token).await;
    let rotated = cluster.cli_json(&["keys", "rotate"]).await;
    assert_eq!(rotated["voided_signing_keys"], 1, "{rotated}");
    holder.is_stopped("keys", 200).await;
    let again = Holder::new(&cluster, "acme", &token.username, &token.token).await;
    again.pull().await.expect(200);
    // The administrator's token too: the old one is void, and the file has the new one.
    let old = cluster.admin_token();
    cluster.cli_json(&["admin-token", "rotate"]).await;
    assert_ne!(cluster.admin_token(), old);
    cluster.admin().deploy("acme", &PULL).await;
    let refused = cluster.api(&old).groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn users_who_may_do_less_stop_pulling_within_two_seconds() {
    let (_hub, cluster, admin) = two_processes().await;
    let change = UpdateUserRequest::default;
    let new_member = async |name: &str| {
        admin.user(name, PASSWORD, false).await;
        admin.member("acme", name, Role::Maintainer).await;
        Holder::new(&cluster, "acme", name, PASSWORD).await
    };
    let bystander = new_member("bystander").await;

    let removed = new_member("removed").await;
    let request = DeleteMemberRequest { group_path: "acme".into(), user: "removed".into() };
    admin.members.clone().delete_member(request).await.unwrap();
    removed.is_stopped("membership", 404).await;

    let disabled = new_member("disabled").await;
    admin.update_user("disabled", UpdateUserRequest { disabled: Some(true), ..change() }).await;
    disabled.is_stopped("disabled", 401).await;
    admin.update_user("disabled", UpdateUserRequest { disabled: Some(false), ..change() }).await;
    disabled.client.sign_in("app").await.expect(200);
    disabled.pull().await.expect_error(401, "UNAUTHORIZED");

    let changed = new_member("changed").await;
    let password = Some("another long password".to_owned());
    admin.update_user("changed", UpdateUserRequest { password, ..change() }).await;
    changed.is_stopped("password", 401).await;

    let deleted = new_member("deleted").await;
    admin.users.clone().delete_user(DeleteUserRequest { name: "deleted".into() }).await.unwrap();
    deleted.is_stopped("deleted", 401).await;

    admin.user("former", PASSWORD, true).await;
    let former = Holder::new(&cluster, "acme", "former", PASSWORD).await;
    admin.update_user("former", UpdateUserRequest { admin: Some(false), ..change() }).await;
    former.is_stopped("no administrator any more", 404).await;

    // Who was not meant pulls on; at worst with a new token.
    bystander.client.sign_in("app").await.expect(200);
}

#[tokio::test]
async fn what_a_group_takes_back_stops_pulling_within_two_seconds() {
    let (_hub, cluster, admin) = two_processes().await;
    let signer = Signer::ec("k1");
    let issuer = Issuer::start(&[&signer]).await;
    admin.allow_issuer(&issuer).await;
    let trust = admin.trust("acme", &issuer, "acme/*").await;
    let job = Holder::new(&cluster, "acme", "oidc", &signer.sign(&issuer.claims("acme/app"))).await;
    admin.oidc.clone().delete_trust(DeleteTrustRequest { id: trust }).await.unwrap();
    job.is_stopped("trust", 401).await;

    admin.group("open", Visibility::Public, false).await;
    let foreign = admin.deploy("acme", &PULL).await;
    let stranger = Holder::new(&cluster, "open", &foreign.username, &foreign.token).await;
    let private = UpdateGroupRequest { visibility: Some(Visibility::Private.into()), ..Default::default() };
    admin.update_group("open", private).await;
    stranger.is_stopped("visibility", 404).await;

    let member = admin.deploy("open", &PULL).await;
    let member = Holder::new(&cluster, "open", &member.username, &member.token).await;
    admin.update_group("open", UpdateGroupRequest { enabled: Some(false), ..Default::default() }).await;
    let since = Instant::now();
    let mut answer = member.pull().await;
    while answer.status != 403 {
        assert!(since.elapsed() < REACHES_NODES, "switched off: {answer:?}");
        answer = member.pull().await;
    }
    let said = answer.expect_error(403, "DENIED").json()["errors"][0]["message"].clone();
    assert!(said.as_str().is_some_and(|said| said.contains("switched off")), "{said}");

    admin.groups.clone().delete_group(DeleteGroupRequest { path: "open".into() }).await.unwrap();
    member.is_stopped("deleted", 401).await;
}

#[tokio::test]
async fn a_renamed_group_keeps_its_cache_and_answers_its_old_path_until_that_is_taken() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.group("acme/ci", Visibility::Private, false).await;
    let token = admin.deploy("acme", &PULL).await;
    let client = |path: &str| Client::new(&cluster.url(), path, Some((token.username.clone(), token.token.clone())));
    let blob = roadstead_tests::image::digest(&image.layers[0]);
    for path in ["acme", "acme/ci"] {
        client(path).manifest("app", "latest").await.expect(200);
        client(path).blob("app", &blob).await.expect(200);
        client(path).blob_hit("app", &blob).await;
    }
    let with_old_token = client("acme");
    with_old_token.token("app").await;

    let rename = UpdateGroupRequest { new_path: Some("umbrella".into()), ..Default::default() };
    admin.update_group("acme", rename).await;
    hub.forget_requests();
    for path in ["umbrella", "umbrella/ci", "acme", "acme/ci"] {
        let client = client(path);
        soon(200, || client.sign_in("app")).await;
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated", "{path}");
        assert_eq!(client.blob("app", &blob).await.expect(200).cache(), "hit", "{path}");
    }
    assert_eq!(hub.count(&When::any()), hub.count(&When::head(Kind::Manifest)), "the cache was kept:\n{}", hub.log());
    with_old_token.blob("app", &blob).await.expect(200);
    // The old path is for pulls alone.
    let read = roadstead_proto::v1::GetGroupRequest { path: "acme".into() };
    assert_eq!(admin.groups.clone().get_group(read).await.unwrap_err().code(), Code::NotFound);

    // Whoever takes the path has it at once: nothing of the old group is served there any more.
    admin.group("acme", Visibility::Private, false).await;
    let newcomer = admin.deploy("acme", &PULL).await;
    let taken = cluster.client("acme", &newcomer);
    soon(200, || taken.sign_in("app")).await;
    taken.manifest("app", "latest").await.expect(200);
    soon(401, || with_old_token.blob("app", &blob)).await;
    client("acme").sign_in("app").await.expect_error(404, "NAME_UNKNOWN");
    client("umbrella").manifest("app", "latest").await.expect(200);
    client("acme/ci").manifest("app", "latest").await.expect(200);
}

#[tokio::test]
async fn deleting_a_group_removes_its_links_tokens_and_path() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    let token = admin.deploy("acme", &PULL).await;
    let client = cluster.client("acme", &token);
    client.manifest("app", "latest").await.expect(200);
    let asked = cluster.cli(&["group", "delete", "acme"]).await;
    assert!(asked.failed().contains("--yes"), "a deletion asks first");
    cluster.cli(&["group", "delete", "acme", "--yes"]).await.ok();
    soon(401, || client.sign_in("app")).await;
    admin.group("acme", Visibility::Private, false).await;
    client.sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    let newcomer = cluster.client("acme", &admin.deploy("acme", &PULL).await);
    hub.forget_requests();
    newcomer.manifest("app", "latest").await.expect(200);
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "nothing is left of the old cache:\n{}", hub.log());
}
