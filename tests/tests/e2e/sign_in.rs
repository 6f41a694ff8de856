//! Signing in at the registry port: challenge, token service, what tokens are good for.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Method;
use roadstead_tests::{
    client::{self, Answer, Client},
    cluster::{Cluster, ClusterOptions},
    image::Image,
};
use serde_json::{Value, json};

use crate::{open_pair, soon, within};

async fn get(url: &str, token: &str) -> Answer {
    let request = client::http().get(url);
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    client::read(request.send().await).await.unwrap()
}

/// Longest life of a token with a lifetime of two seconds: the clocks of the two planes may differ by a minute.
const EXPIRY: Duration = Duration::from_secs(65);

#[tokio::test]
async fn whoever_comes_without_a_token_is_told_where_to_get_one() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let anonymous = cluster.anonymous();
    let refused = get(&anonymous.url("alpine", "manifests/latest"), "").await.expect_error(401, "UNAUTHORIZED");
    let challenge = refused.header("www-authenticate");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    for part in [
        format!("realm=\"{}/jwt/auth\"", cluster.url()),
        "service=\"dependency_proxy\"".into(),
        "scope=\"repository:default/dependency_proxy/containers/alpine:pull\"".into(),
    ] {
        assert!(challenge.contains(&part), "{part} in {challenge}");
    }
    let ping = get(&format!("{}/v2/", cluster.url()), "").await.expect_error(401, "UNAUTHORIZED");
    assert!(ping.header("www-authenticate").contains("/jwt/auth"), "{ping:?}");
}

#[tokio::test]
async fn the_challenge_names_the_external_url() {
    let arguments = ["--external-url", "https://images.example"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_bare(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let refused = get(&format!("{}/v2/", cluster.url()), "").await.expect(401);
    assert!(refused.header("www-authenticate").contains("realm=\"https://images.example/jwt/auth\""), "{refused:?}");
}

#[tokio::test]
async fn the_challenge_names_what_a_trusted_proxy_was_asked_for() {
    let arguments = ["--trusted-proxy", "127.0.0.9"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_bare(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let challenge = async |from: [u8; 4], lines: &[(&str, &str)]| {
        let http = client::builder().local_address(IpAddr::from(from)).build().unwrap();
        let mut request = http.get(format!("{}/v2/", cluster.url()));
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let refused = client::read(request.send().await).await.unwrap().expect(401);
        refused.header("www-authenticate").split('"').nth(1).unwrap_or_default().to_owned()
    };
    for lines in [
        vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "images.example:8443")],
        vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "images.example"), ("x-forwarded-port", "8443")],
        vec![("forwarded", "for=192.0.2.1;proto=https;host=\"images.example:8443\"")],
    ] {
        assert_eq!(challenge([127, 0, 0, 9], &lines).await, "https://images.example:8443/jwt/auth", "{lines:?}");
        assert_eq!(challenge([127, 0, 0, 8], &lines).await, format!("{}/jwt/auth", cluster.url()), "{lines:?}");
    }
}

#[tokio::test]
async fn a_token_for_one_name_of_an_image_is_good_for_its_others() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.push("acme/app", "latest", &Image::small(2));
    let client = cluster.client_of_new_group("acme").await;
    let names = ["app", "library/app", "docker.io/app", "docker.io/library/app"];
    for signed_in_for in names {
        let token = client.token(signed_in_for).await;
        for name in names {
            get(&client.url(name, "manifests/latest"), &token).await.expect(200);
        }
        get(&client.url("acme/app", "manifests/latest"), &token).await.expect_error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn the_token_service_answers_get_and_post() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let client = cluster.client("acme", &token);
    let answer = client.sign_in("app").await.expect(200).json();
    assert_eq!(answer["token"], answer["access_token"]);
    assert_eq!(answer["expires_in"], 900);
    assert!(answer["issued_at"].as_str().is_some_and(|time| time.contains('T')), "{answer}");

    let scope = "repository:acme/dependency_proxy/containers/app:pull";
    let form = [
        ("grant_type", "password"),
        ("service", "dependency_proxy"),
        ("client_id", "test"),
        ("scope", scope),
        ("username", &token.username),
        ("password", &token.token),
    ];
    let posted = client::http().post(format!("{}/jwt/auth", cluster.url())).form(&form).send().await;
    let posted = client::read(posted).await.unwrap().expect(200).json();
    get(&client.url("app", "manifests/latest"), posted["access_token"].as_str().unwrap()).await.expect(200);

    // `docker login` asks without a scope.
    let url = format!("{}/jwt/auth?service=dependency_proxy", cluster.url());
    let login = client::http().get(&url).basic_auth(&token.username, Some(&token.token)).send().await;
    let login = client::read(login).await.unwrap().expect(200).json();
    get(&format!("{}/v2/", cluster.url()), login["token"].as_str().unwrap()).await.expect(200);
    let refused = get(&client.url("app", "manifests/latest"), login["token"].as_str().unwrap()).await;
    assert!(matches!(refused.status.as_u16(), 401 | 403), "{refused:?}");
}

#[tokio::test]
async fn registry_tokens_name_group_image_action_and_token_and_no_secret() {
    let (_hub, cluster) = open_pair().await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let jwt = cluster.client("acme", &token).token("app").await;
    let parts: Vec<Value> = jwt.split('.').take(2).map(decoded).collect();
    let (header, claims) = (&parts[0], &parts[1]);
    assert_eq!(header["alg"], "EdDSA");
    assert!(header["kid"].is_string());
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("roadstead"), &json!("dependency_proxy")));
    assert_eq!((&claims["token_id"], &claims["sub"]), (&json!(token.id), &json!(token.username)));
    let access = &claims["access"][0];
    assert_eq!(access["name"], "acme/dependency_proxy/containers/app");
    assert_eq!(access["actions"], json!(["pull"]));
    assert!(!claims.to_string().contains(&token.token));
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn wrong_revoked_and_insufficient_credentials_are_told_apart() {
    let (_hub, cluster) = open_pair().await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let as_user = |name: &str, secret: &str| Client::new(&cluster.url(), "acme", Some((name.into(), secret.into())));
    as_user(&token.username, "wrong").sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    as_user("nobody", &token.token).sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    as_user("admin", &cluster.admin_token()).sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    let arguments = ["token", "create", "--group", "acme", "--name", "half", "--scope", "read_registry"];
    let half = cluster.cli_json(&arguments).await;
    let half = as_user(half["username"].as_str().unwrap(), half["token"].as_str().unwrap());
    let denied = half.sign_in("app").await.expect_error(403, "DENIED");
    assert!(denied.json()["errors"][0]["message"].as_str().unwrap().contains("write_registry"), "{denied:?}");
    cluster.cli(&["token", "revoke", &token.id]).await.ok();
    cluster.client("acme", &token).sign_in("app").await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn others_cannot_tell_a_private_group_from_one_that_is_not_there() {
    let (_hub, cluster) = open_pair().await;
    cluster.create_group("private").await;
    cluster.create_group("other").await;
    let token = cluster.create_token("other").await;
    let there = cluster.client("private", &token).sign_in("app").await;
    let not_there = cluster.client("nowhere", &token).sign_in("app").await;
    assert_eq!((there.status, told(&there, "private")), (not_there.status, told(&not_there, "nowhere")));
    assert_eq!(there.status.as_u16(), 404);
    let anonymous = |group: &str| Client::new(&cluster.url(), group, None);
    let (there, not_there) = (anonymous("private").sign_in("app").await, anonymous("nowhere").sign_in("app").await);
    assert_eq!((there.status, told(&there, "private")), (not_there.status, told(&not_there, "nowhere")));
    assert_eq!(there.status.as_u16(), 401);
}

/// Returns the answer without the name that was asked for.
fn told(answer: &Answer, group: &str) -> String {
    String::from_utf8_lossy(&answer.body).replace(group, "GROUP")
}

#[tokio::test]
async fn a_deploy_token_is_good_for_its_group_and_what_is_below() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    for group in ["acme", "acme/backend", "acmeplus"] {
        cluster.create_group(group).await;
    }
    let token = cluster.create_token("acme").await;
    cluster.client("acme/backend", &token).manifest("app", "latest").await.expect(200);
    cluster.client("acmeplus", &token).sign_in("app").await.expect(404);
    let below = cluster.create_token("acme/backend").await;
    // Its own path names the group above: no secret is told.
    cluster.client("acme", &below).sign_in("app").await.expect_error(403, "DENIED");
}

#[tokio::test]
async fn a_registry_token_is_good_for_its_image_only_and_not_after_meddling() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.push("library/other", "latest", &Image::small(1));
    let client = cluster.client_of_new_group("acme").await;
    let token = client.token("app").await;
    get(&client.url("app", "manifests/latest"), &token).await.expect(200);
    let other = get(&client.url("other", "manifests/latest"), &token).await;
    assert!(matches!(other.status.as_u16(), 401 | 403), "{other:?}");
    let other_group = get(&cluster.anonymous().url("app", "manifests/latest"), &token).await;
    assert!(matches!(other_group.status.as_u16(), 401 | 403), "{other_group:?}");

    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let mut forged = decoded(claims);
    forged["exp"] = json!(forged["exp"].as_i64().unwrap() + 1000);
    let forged = BASE64_URL_SAFE_NO_PAD.encode(forged.to_string());
    let unsigned = BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
    for bad in [
        format!("{header}.{forged}.{signature}"),
        format!("{unsigned}.{claims}."),
        format!("{header}.{claims}."),
        "junk".into(),
    ] {
        get(&client.url("app", "manifests/latest"), &bad).await.expect_error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn registry_tokens_expire() {
    let arguments = ["--registry-token-lifetime", "2s"].map(str::to_owned).to_vec();
    let hub = roadstead_tests::hub::Hub::start().await;
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    let token = client.token("app").await;
    let url = client.url("app", "manifests/latest");
    get(&url, &token).await.expect(200);
    let expired = within(EXPIRY, 401, || get(&url, &token)).await;
    assert!(expired.header("www-authenticate").contains("/jwt/auth"), "{expired:?}");
}

#[tokio::test]
async fn deploy_tokens_expire() {
    let (_hub, cluster) = open_pair().await;
    cluster.create_group("acme").await;
    let arguments = ["token", "create", "--group", "acme", "--name", "short", "--expires-in", "2s"];
    let made = cluster.cli_json(&arguments).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let client = Client::new(&cluster.url(), "acme", Some((text("username"), text("token"))));
    client.sign_in("app").await.expect(200);
    soon(401, || client.sign_in("app")).await;
}

#[tokio::test]
async fn nobody_pulls_without_signing_in_where_anonymous_pulls_are_off() {
    let arguments = ["--allow-anonymous-pulls", "false"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_bare(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    cluster.anonymous().sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    // Nor from a group that does not admit it.
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.cli(&["group", "create", "open", "--visibility", "public"]).await.ok();
    let client = Client::new(&cluster.url(), "open", None);
    client.sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    cluster.cli(&["group", "update", "open", "--anonymous-pull", "true"]).await.ok();
    soon(200, || client.sign_in("app")).await;
}

#[tokio::test]
async fn revoking_a_token_ends_the_registry_tokens_made_with_it() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let client = cluster.client("acme", &token);
    client.manifest("app", "latest").await.expect(200);
    cluster.cli(&["token", "revoke", &token.id]).await.ok();
    soon(401, || client.manifest("app", "latest")).await;
}

#[tokio::test]
async fn a_group_that_is_made_private_refuses_registry_tokens_from_before() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    cluster.cli(&["group", "create", "open", "--visibility", "internal"]).await.ok();
    cluster.create_group("other").await;
    let stranger = cluster.client("open", &cluster.create_token("other").await);
    let before = stranger.token("app").await;
    let url = stranger.url("app", "manifests/latest");
    get(&url, &before).await.expect(200);
    cluster.cli(&["group", "update", "open", "--visibility", "private"]).await.ok();
    let refused = soon(401, || get(&url, &before)).await;
    assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""), "{refused:?}");
    stranger.sign_in("app").await.expect(404);
    let member = cluster.client("open", &cluster.create_token("open").await);
    get(&url, &member.token("app").await).await.expect(200);
}

#[tokio::test]
async fn a_group_that_is_switched_off_says_so_and_comes_back() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.client_of_new_group("acme").await;
    client.manifest("app", "latest").await.expect(200);
    cluster.cli(&["group", "update", "acme", "--enabled", "false"]).await.ok();
    let denied = soon(403, || client.manifest("app", "latest")).await;
    assert_eq!(denied.json()["errors"][0]["code"], "DENIED");
    cluster.cli(&["group", "update", "acme", "--enabled", "true"]).await.ok();
    soon(200, || client.manifest("app", "latest")).await;
}

#[tokio::test]
async fn scopes_and_services_that_are_none_of_ours_are_refused() {
    let (_hub, cluster) = open_pair().await;
    let url = |query: &str| format!("{}/jwt/auth?{query}", cluster.url());
    for query in
        ["service=other", "service=dependency_proxy&scope=repository:default/dependency_proxy/containers/ru*by:pull"]
    {
        let refused = get(&url(query), "").await;
        assert!(refused.status.is_client_error(), "{query}: {refused:?}");
        assert!(refused.json()["errors"][0]["code"].is_string(), "{query}");
    }
    let client = cluster.anonymous();
    let pushed = client.request(Method::GET, "app", "manifests/latest").await.build().unwrap();
    let token = pushed.headers()["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    let actions = decoded(token.split('.').nth(1).unwrap())["access"][0]["actions"].clone();
    assert_eq!(actions, json!(["pull"]));
}
