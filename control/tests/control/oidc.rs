//! Signing in with ID tokens, against an issuer that runs here.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roadstead_proto::time::duration_seconds;
use roadstead_proto::{
    node::v1::SignInRefusal,
    v1::{
        ClaimRule, CreateIssuerRequest, CreateTrustRequest, DeleteGroupRequest, DeleteIssuerRequest,
        DeleteTrustRequest, ListIssuersRequest, ListTrustsRequest, OidcTrust, UpdateGroupRequest, Visibility,
    },
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    harness::{Plane, START_MS},
    issuer::{Fault, Issuer, Signer},
    sign_in::{claims, keys, sign_in},
};

pub async fn allow(plane: &Plane, issuer: &Issuer) {
    plane.admin().oidc.create_issuer(CreateIssuerRequest { url: issuer.url().into() }).await.unwrap();
}

fn trust_of(group: &str, issuer: &str, rules: &[(&str, &str)]) -> CreateTrustRequest {
    CreateTrustRequest {
        group_path: group.into(),
        issuer: issuer.into(),
        audience: "roadstead".into(),
        claims: rules.iter().map(|(c, p)| ClaimRule { claim: (*c).into(), pattern: (*p).into() }).collect(),
        ..Default::default()
    }
}

pub async fn trust(plane: &Plane, group: &str, issuer: &Issuer) -> OidcTrust {
    let request = trust_of(group, issuer.url(), &[("project_path", "acme/*")]);
    plane.admin().oidc.create_trust(request).await.unwrap().into_inner().trust.unwrap()
}

/// A plane whose group acme trusts projects of acme at an issuer with one RSA key.
async fn trusting() -> (Plane, Issuer, Signer) {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let signer = Signer::rsa("k1");
    let issuer = Issuer::start(&[&signer]).await;
    allow(&plane, &issuer).await;
    trust(&plane, "acme", &issuer).await;
    (plane, issuer, signer)
}

async fn refusal(plane: &Plane, token: &str) -> String {
    match sign_in(&mut plane.node(), ("oidc", token), &["acme"]).await {
        Ok(_) => "signed in".into(),
        Err((SignInRefusal::Unauthenticated, message)) => message,
        Err((reason, message)) => format!("{reason:?} {message}"),
    }
}

#[tokio::test]
async fn a_trusted_id_token_signs_in_for_the_group_and_its_subgroups_and_what_it_gets_ends_with_it() {
    let (plane, issuer, signer) = trusting().await;
    let sub = plane.group("acme/ci").await;
    plane.group("other").await;
    plane.public_group("open", false).await;
    let mut node = plane.node();
    let token = signer.sign(&issuer.claims());
    let issued = sign_in(&mut node, ("oidc", &token), &["acme/ci"]).await.unwrap();
    assert_eq!(
        duration_seconds(issued.expires_in),
        300,
        "the registry token would be good for 900 seconds, the ID token for 300"
    );
    let said = claims(&issued.token, &keys(&mut node).await).unwrap();
    assert_eq!((said.sub.as_str(), said.exp), ("oidc", START_MS / 1000 + 300));
    assert_eq!(said.access[0].group_id, sub.id);
    assert!(!issued.token.contains(&token));
    for (groups, expected) in [
        (&["acme"][..], None),
        (&["open"], None),
        (&[], None),
        (&["other"], Some(SignInRefusal::NotFound)),
        (&["nowhere"], Some(SignInRefusal::NotFound)),
    ] {
        let got = sign_in(&mut node, ("oidc", &token), groups).await.err().map(|(reason, _)| reason);
        assert_eq!(got, expected, "{groups:?}");
    }
    let off = UpdateGroupRequest { path: "acme".into(), enabled: Some(false), ..Default::default() };
    plane.admin().groups.update_group(off).await.unwrap();
    let (reason, message) = sign_in(&mut node, ("oidc", &token), &["acme"]).await.unwrap_err();
    assert_eq!(reason, SignInRefusal::Denied);
    assert!(message.contains("switched off"), "{message}");
    assert_eq!(issuer.asked(), 1, "keys are remembered");
}

#[tokio::test]
async fn attacks_are_refused() {
    let (plane, issuer, signer) = trusting().await;
    let stranger = Signer::ec("k1");
    let evil = Issuer::start(&[&stranger]).await;
    let with = |claim: &str, value: Value| signer.sign(&issuer.claims_with(claim, value));
    let now = START_MS / 1000;
    let unsigned = {
        let token = signer.sign(&issuer.claims());
        let none = "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ";
        format!("{none}.{}.", token.split('.').nth(1).unwrap())
    };
    let with_public_key = {
        let modulus = signer.jwk()["n"].as_str().unwrap().to_owned();
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &issuer.claims(), &EncodingKey::from_secret(modulus.as_bytes())).unwrap()
    };
    for (what, token, expected) in [
        ("good", signer.sign(&issuer.claims()), "signed in"),
        ("alg none", unsigned, "must be signed"),
        ("HMAC with the public key", with_public_key, "must be signed"),
        ("other key, same id", stranger.sign(&issuer.claims()), "algorithm that the issuer's key is not for"),
        ("unknown key", Signer::ec("k2").sign(&issuer.claims()), "no such key"),
        ("issuer not allowed", stranger.sign(&evil.claims()), "trusts the issuer"),
        ("issuer almost the same", with("iss", format!("{}/", issuer.url()).into()), "trusts the issuer"),
        ("issuer no URL", with("iss", "roadstead".into()), "trusts the issuer"),
        ("wrong audience", with("aud", "https://elsewhere".into()), "fit no trust"),
        ("no audience", with("aud", Value::Null), "aud"),
        ("list of audiences", with("aud", json!(["x", "roadstead"])), "signed in"),
        ("claim differs", with("project_path", "evil/acme/app".into()), "fit no trust"),
        ("claim missing", with("project_path", Value::Null), "fit no trust"),
        ("claim is a list", with("project_path", json!(["acme/app"])), "fit no trust"),
        ("expired", with("exp", (now - 1).into()), "expired"),
        ("expires now", with("exp", now.into()), "expired"),
        ("never expires", with("exp", Value::Null), "exp"),
        ("not yet valid", with("nbf", (now + 120).into()), "not valid yet"),
        ("from the future", with("iat", (now + 120).into()), "not valid yet"),
        ("oversized", with("padding", "x".repeat(20_000).into()), "longer than"),
        ("no JWT", "hunter2".into(), "not a JWT"),
        ("empty", String::new(), "not a JWT"),
    ] {
        let got = refusal(&plane, &token).await;
        assert!(got.contains(expected), "{what}: {got}");
    }
    assert_eq!(evil.asked(), 0, "nobody is asked who is not allowed");
}

#[tokio::test]
async fn a_replay_after_its_end_is_refused() {
    let (plane, issuer, signer) = trusting().await;
    let token = signer.sign(&issuer.claims());
    assert_eq!(refusal(&plane, &token).await, "signed in");
    plane.advance(299);
    let issued = sign_in(&mut plane.node(), ("oidc", &token), &["acme"]).await.unwrap();
    assert_eq!(duration_seconds(issued.expires_in), 1);
    plane.advance(1);
    assert!(refusal(&plane, &token).await.contains("expired"));
}

#[tokio::test]
async fn new_keys_work_at_once_withdrawn_ones_soon_stop_and_nobody_makes_us_ask_often() {
    let (plane, issuer, old) = trusting().await;
    let long = |signer: &Signer| signer.sign(&issuer.claims_with("exp", (START_MS / 1000 + 100_000).into()));
    assert_eq!(refusal(&plane, &long(&old)).await, "signed in");
    let new = Signer::ec("k2");
    issuer.publish(&[&old, &new]);
    for _ in 0..5 {
        assert!(refusal(&plane, &long(&new)).await.contains("no such key"));
    }
    assert_eq!(issuer.asked(), 1, "unknown keys are not asked for again within thirty seconds");
    plane.advance(30);
    assert_eq!(refusal(&plane, &long(&new)).await, "signed in");
    issuer.publish(&[&new]);
    assert_eq!(refusal(&plane, &long(&old)).await, "signed in", "remembered for ten minutes");
    plane.advance(600);
    assert!(refusal(&plane, &long(&old)).await.contains("no such key"));
    assert_eq!(refusal(&plane, &long(&new)).await, "signed in");
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn while_the_issuer_cannot_be_asked_its_last_keys_are_good_for_a_day() {
    let (plane, issuer, signer) = trusting().await;
    let token = signer.sign(&issuer.claims_with("exp", (START_MS / 1000 + 1_000_000).into()));
    assert_eq!(refusal(&plane, &token).await, "signed in");
    issuer.misbehave(Fault::Down);
    plane.advance(3600);
    assert_eq!(refusal(&plane, &token).await, "signed in");
    assert_eq!(refusal(&plane, &token).await, "signed in");
    assert_eq!(issuer.asked(), 2, "asked once in thirty seconds");
    plane.advance(23 * 3600);
    expect_unavailable(&plane, &token, &issuer).await;
    issuer.misbehave(Fault::None);
    plane.advance(30);
    assert_eq!(refusal(&plane, &token).await, "signed in");
}

/// That it cannot be told whether the token is good.
async fn expect_unavailable(plane: &Plane, token: &str, issuer: &Issuer) {
    let expected = format!("Unavailable the keys of issuer {} cannot be fetched right now; try again", issuer.url());
    assert_eq!(refusal(plane, token).await, expected);
}

#[tokio::test]
async fn an_issuer_that_misbehaves_gives_no_keys_and_costs_seconds() {
    for fault in [
        Fault::Down,
        Fault::Hangs,
        Fault::Redirects,
        Fault::OtherIssuer,
        Fault::ForeignKeys,
        Fault::Huge,
        Fault::WebPage,
    ] {
        let (plane, issuer, signer) = trusting().await;
        issuer.misbehave(fault);
        let started = std::time::Instant::now();
        expect_unavailable(&plane, &signer.sign(&issuer.claims()), &issuer).await;
        assert!(started.elapsed().as_secs() < 4, "{fault:?}");
        issuer.misbehave(Fault::None);
        plane.advance(5);
        assert_eq!(refusal(&plane, &signer.sign(&issuer.claims())).await, "signed in", "{fault:?}");
    }
}

#[tokio::test]
async fn known_keys_wait_for_nobody_while_the_issuer_hangs() {
    let (plane, issuer, signer) = trusting().await;
    assert_eq!(refusal(&plane, &signer.sign(&issuer.claims())).await, "signed in");
    plane.advance(31);
    issuer.misbehave(Fault::Hangs);
    let unknown = Signer::ec("k2").sign(&issuer.claims());
    let mut node = plane.node();
    let waiting = tokio::spawn(async move { sign_in(&mut node, ("oidc", &unknown), &["acme"]).await });
    while issuer.asked() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(refusal(&plane, &signer.sign(&issuer.claims())).await, "signed in");
    assert!(!waiting.is_finished(), "the other one still waits");
    assert!(waiting.await.unwrap().unwrap_err().1.contains("no such key"));
}

#[tokio::test]
async fn many_jobs_at_once_ask_the_issuer_once() {
    let (plane, issuer, signer) = trusting().await;
    let token = signer.sign(&issuer.claims());
    let all = (0..20).map(|_| {
        let (mut node, token) = (plane.node(), token.clone());
        tokio::spawn(async move { sign_in(&mut node, ("oidc", &token), &["acme"]).await.is_ok() })
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.unwrap());
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn what_ends_a_trust_voids_what_was_issued_for_it_wherever_it_is_good() {
    for way in ["delete trust", "remove issuer", "delete group"] {
        let (plane, issuer, signer) = trusting().await;
        plane.group("acme/ci").await;
        let open = plane.public_group("open", false).await;
        let list = ListTrustsRequest { group_path: "acme".into(), ..Default::default() };
        let trust = plane.admin().oidc.list_trusts(list).await.unwrap().into_inner().trusts.remove(0);
        let mut node = plane.node();
        let mut issued = Vec::new();
        for group in ["acme/ci", "open"] {
            let token = sign_in(&mut node, ("oidc", &signer.sign(&issuer.claims())), &[group]).await.unwrap();
            issued.push(claims(&token.token, &keys(&mut node).await).unwrap());
        }
        match way {
            "delete trust" => {
                plane.admin().oidc.delete_trust(DeleteTrustRequest { id: trust.id.clone() }).await.map(|_| ())
            }
            "remove issuer" => {
                let request = DeleteIssuerRequest { url: issuer.url().into() };
                plane.admin().oidc.delete_issuer(request).await.map(|_| ())
            }
            _ => {
                let request = DeleteGroupRequest { path: "acme".into() };
                plane.admin().groups.delete_group(request).await.map(|_| ())
            }
        }
        .unwrap();
        let told = crate::sign_in::snapshot(&mut node).await;
        for claims in &issued {
            // As a node decides: the token's id is revoked, or the group has another epoch.
            let revoked = told.revocations.iter().any(|gone| Some(&gone.token_id) == claims.token_id.as_ref());
            let group = told.groups.iter().find(|group| group.id == claims.access[0].group_id);
            assert!(revoked, "{way}");
            let outdated = group.is_none_or(|group| group.access_epoch > claims.access[0].access_epoch);
            assert!(outdated || claims.access[0].group_id == open.id || way == "delete group", "{way}");
        }
        assert!(refusal(&plane, &signer.sign(&issuer.claims())).await.contains("trust"), "{way}");
    }
}

#[tokio::test]
async fn issuers_and_trusts_are_listed_and_refused_as_the_contract_says() {
    let (plane, issuer, _) = trusting().await;
    let mut admin = plane.admin();
    allow(&plane, &issuer).await;
    let listed = admin.oidc.list_issuers(ListIssuersRequest::default()).await.unwrap().into_inner().issuers;
    assert_eq!(listed.iter().map(|i| i.url.as_str()).collect::<Vec<_>>(), [issuer.url()]);
    let list = ListTrustsRequest { group_path: "acme".into(), ..Default::default() };
    let trusts = admin.oidc.list_trusts(list.clone()).await.unwrap().into_inner().trusts;
    assert_eq!(trusts.len(), 1);
    assert_eq!((trusts[0].issuer.as_str(), trusts[0].claims[0].pattern.as_str()), (issuer.url(), "acme/*"));
    let rule = &[("sub", "a*")][..];
    for (what, request, expected) in [
        ("issuer not allowed", trust_of("acme", "https://gitlab.com", rule), Code::FailedPrecondition),
        ("no such group", trust_of("nowhere", issuer.url(), rule), Code::NotFound),
        ("no rule", trust_of("acme", issuer.url(), &[]), Code::InvalidArgument),
        ("a rule that lets everybody in", trust_of("acme", issuer.url(), &[("sub", "*")]), Code::InvalidArgument),
        ("no issuer", trust_of("acme", "", rule), Code::InvalidArgument),
    ] {
        assert_eq!(admin.oidc.create_trust(request).await.unwrap_err().code(), expected, "{what}");
    }
    for url in ["", "gitlab.com", "ftp://gitlab.com", "https://u:p@gitlab.com", "https://gitlab.com?x"] {
        let refused = admin.oidc.create_issuer(CreateIssuerRequest { url: url.into() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{url}");
    }
    plane.group("other").await;
    let token = plane.token("other", &["api"]).await;
    let mut stranger = plane.client(Some(&token.token));
    assert_eq!(stranger.oidc.list_trusts(list).await.unwrap_err().code(), Code::NotFound);
    let end = |id: &str| DeleteTrustRequest { id: id.into() };
    let hidden = stranger.oidc.delete_trust(end(&trusts[0].id)).await.unwrap_err();
    let missing = stranger.oidc.delete_trust(end("0190")).await.unwrap_err();
    assert_eq!((hidden.code(), missing.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(hidden.message().replace(&trusts[0].id, "0190"), missing.message());
    let add = stranger.oidc.create_issuer(CreateIssuerRequest { url: "https://gitlab.com".into() }).await.unwrap_err();
    assert_eq!(add.code(), Code::PermissionDenied);
    let remove = DeleteIssuerRequest { url: "https://gitlab.com".into() };
    assert_eq!(admin.oidc.delete_issuer(remove).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_visible_group_does_not_open_its_trusts() {
    let (plane, _, _) = trusting().await;
    let public =
        UpdateGroupRequest { path: "acme".into(), visibility: Some(Visibility::Public.into()), ..Default::default() };
    plane.admin().groups.update_group(public).await.unwrap();
    plane.group("other").await;
    let mut stranger = plane.client(Some(&plane.token("other", &["api"]).await.token));
    let list = ListTrustsRequest { group_path: "acme".into(), ..Default::default() };
    assert_eq!(stranger.oidc.list_trusts(list).await.unwrap_err().code(), Code::PermissionDenied);
}
