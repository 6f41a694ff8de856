//! CI without secrets, end to end: ID tokens of an issuer that the test runs, as the password of the user `oidc`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roadstead_proto::v1::{CreateIssuerRequest, Visibility};
use roadstead_tests::{
    api::{Api, PULL},
    client::{Answer, Client},
    cluster::Cluster,
    hub::Hub,
    image::Image,
    issuer::{Issuer, Signer},
};
use serde_json::{Value, json};

use crate::{open_pair, within};

/// A product whose group acme trusts jobs of projects acme/* at an issuer with an RSA and an EC key.
async fn trusting() -> (Hub, Cluster, Api, Issuer, [Signer; 2]) {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.group("acme/ci", Visibility::Private, false).await;
    let signers = [Signer::rsa("rsa-1"), Signer::ec("ec-1")];
    let issuer = Issuer::start(&[&signers[0], &signers[1]]).await;
    admin.allow_issuer(&issuer).await;
    admin.trust("acme", &issuer, "acme/*").await;
    (hub, cluster, admin, issuer, signers)
}

fn job(cluster: &Cluster, group: &str, token: String) -> Client {
    // Attacks are many, and this is no test of how they are slowed: each comes from an address of its own.
    let address = token.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let local = std::net::Ipv4Addr::from(0x7f01_0000 | (address & 0xffff) | 1);
    Client::new(&cluster.url(), group, Some(("oidc".into(), token))).from_address(local.into())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn jobs_pull_with_id_tokens_of_a_trusted_issuer_whose_keys_are_asked_for_once() {
    let (_hub, cluster, _admin, issuer, signers) = trusting().await;
    for signer in &signers {
        let token = signer.sign(&issuer.claims("acme/app"));
        for group in ["acme", "acme/ci"] {
            job(&cluster, group, token.clone()).manifest("app", "latest").await.expect(200);
        }
    }
    assert_eq!(issuer.asked(), 1, "keys are remembered");
    // A token with several audiences is good if ours is among them.
    let several = signers[0].sign(&issuer.claims_with("acme/app", "aud", json!(["other", "roadstead"])));
    job(&cluster, "acme", several).sign_in("app").await.expect(200);
    // A key that the issuer published since is found, though not at every stranger's bidding: twice a minute.
    let new = Signer::ec("ec-2");
    issuer.publish(&[&signers[0], &new]);
    let client = job(&cluster, "acme", new.sign(&issuer.claims("acme/app")));
    within(Duration::from_secs(40), 200, || client.sign_in("app")).await;
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn registry_tokens_end_with_the_id_token() {
    let (_hub, cluster, _admin, issuer, signers) = trusting().await;
    let token = signers[0].sign(&issuer.claims_with("acme/app", "exp", json!(now() + 60)));
    let signed_in = job(&cluster, "acme", token).sign_in("app").await.expect(200).json();
    assert!((1..=60).contains(&signed_in["expires_in"].as_i64().unwrap()), "{signed_in}");
}

#[tokio::test]
async fn id_tokens_that_are_forged_stale_or_for_others_sign_nobody_in() {
    let (_hub, cluster, admin, issuer, signers) = trusting().await;
    let rsa = &signers[0];
    let good = rsa.sign(&issuer.claims("acme/app"));
    let with = |claim: &str, value: Value| rsa.sign(&issuer.claims_with("acme/app", claim, value));
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = issuer.claims("acme/app");
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let hmac = {
        let header = Header { kid: Some("rsa-1".into()), ..Header::new(Algorithm::HS256) };
        let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap()
    };
    let stranger = Issuer::start(&[rsa]).await;
    let own_stranger = Signer::ec("ec-1");
    for (what, token) in [
        ("alg none", format!("{}.{body}.", part(&json!({"alg": "none", "typ": "JWT", "kid": "rsa-1"})))),
        ("alg none, signed", format!("{}.{body}.{signature}", part(&json!({"alg": "none", "kid": "rsa-1"})))),
        ("HS256 with the public key", hmac),
        (
            "the key for another algorithm",
            format!("{}.{body}.{signature}", part(&json!({"alg": "ES256", "kid": "rsa-1"}))),
        ),
        ("another key by the same id", own_stranger.sign(&claims)),
        ("a key that was never published", Signer::ec("ec-9").sign(&claims)),
        ("other claims under the signature", format!("{header}.{}.{signature}", part(&issuer.claims("acme/other")))),
        ("no signature", format!("{header}.{body}.")),
        ("expired", with("exp", json!(now() - 120))),
        ("replayed long after", with("exp", json!(now() - 86_400))),
        ("without an end", with("exp", Value::Null)),
        ("not good yet", with("nbf", json!(now() + 3600))),
        ("another audience", with("aud", json!("https://vault.example"))),
        ("no audience", with("aud", Value::Null)),
        ("another project", rsa.sign(&issuer.claims("acmeplus/app"))),
        ("a project below another's name", rsa.sign(&issuer.claims("evil/acme/app"))),
        ("no project", with("project_path", Value::Null)),
        ("an issuer that nobody allowed", rsa.sign(&stranger.claims("acme/app"))),
        ("an issuer by a longer name", with("iss", json!(format!("{}/", issuer.url())))),
        ("garbage", "not.a.token".into()),
        ("nothing", String::new()),
        ("oversized", with("sub", json!("x".repeat(13_000)))),
    ] {
        let answer = job(&cluster, "acme", token).sign_in("app").await;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 401, "{what}: {told}");
        answer.expect_error(401, "UNAUTHORIZED");
    }
    assert_eq!(stranger.asked(), 0, "nobody is asked for keys but who was allowed");
    job(&cluster, "acme", good.clone()).sign_in("app").await.expect(200);
    // The token is for the user `oidc`, and for groups that trust it.
    admin.user("alice", "correct horse battery", false).await;
    for name in ["alice", "admin", "acme"] {
        let as_other = Client::new(&cluster.url(), "acme", Some((name.into(), good.clone())));
        as_other.sign_in("app").await.expect_error(401, "UNAUTHORIZED");
    }
    admin.group("other", Visibility::Private, false).await;
    let refused = |answer: Answer, group: &str| String::from_utf8_lossy(&answer.body).replace(group, "GROUP");
    let there = job(&cluster, "other", good.clone()).sign_in("app").await.expect(404);
    let not_there = job(&cluster, "nowhere", good).sign_in("app").await.expect(404);
    assert_eq!(refused(there, "other"), refused(not_there, "nowhere"));
}

#[tokio::test]
async fn only_administrators_allow_issuers_and_only_allowed_ones_are_trusted() {
    let (_hub, cluster, admin, issuer, _) = trusting().await;
    let maintainer = admin.access("acme", roadstead_proto::v1::Role::Owner, &[&PULL[..], &["api"]].concat()).await;
    let owner = cluster.api(&maintainer.token);
    let stranger = Issuer::start(&[]).await;
    let add = CreateIssuerRequest { url: stranger.url().into() };
    let refused = owner.oidc.clone().create_issuer(add).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    let trust = |url: &str| roadstead_proto::v1::CreateTrustRequest {
        group_path: "acme".into(),
        issuer: url.into(),
        audience: "roadstead".into(),
        claims: vec![roadstead_proto::v1::ClaimRule { claim: "project_path".into(), pattern: "acme/*".into() }],
        ..Default::default()
    };
    let refused = owner.oidc.clone().create_trust(trust(stranger.url())).await.unwrap_err();
    assert!(refused.message().contains("issuer"), "{refused:?}");
    owner.oidc.clone().create_trust(trust(issuer.url())).await.unwrap();
    assert_eq!(stranger.asked(), 0);
}
