//! Signing in to the registry, end to end: what nodes ask, and what the registry tokens say.

use roadstead_proto::time::{duration_seconds, timestamp_ms};
use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use roadstead_control::Claims;
use roadstead_proto::{
    node::v1::{
        PolicySnapshot, PublicKey, PullScope, RegistryToken, SignInRefusal, SignInRequest, WatchRequest,
        sign_in_response::Result::*, watch_response::Event,
    },
    v1::{CreateTokenRequest, DeleteTokenRequest, UpdateGroupRequest, Visibility, create_token_request::Owner},
};

use crate::harness::{ADMIN_TOKEN, Client, Plane, START_MS};

pub fn scope(group: &str) -> PullScope {
    PullScope { name: format!("{group}/dependency_proxy/containers/alpine"), group_path: group.into() }
}

pub async fn sign_in(
    node: &mut Client,
    (username, password): (&str, &str),
    groups: &[&str],
) -> Result<RegistryToken, (SignInRefusal, String)> {
    sign_in_from(node, &another_address(), (username, password), groups).await
}

/// One that nobody signed in from before, so that failures of other tests and lines do not count.
pub fn another_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
}

pub async fn sign_in_from(
    node: &mut Client,
    client_address: &str,
    (username, password): (&str, &str),
    groups: &[&str],
) -> Result<RegistryToken, (SignInRefusal, String)> {
    let request = SignInRequest {
        username: username.into(),
        password: password.into(),
        scopes: groups.iter().map(|group| scope(group)).collect(),
        anonymous_allowed: true,
        client_address: client_address.into(),
    };
    match node.node.sign_in(request).await.unwrap().into_inner().result.unwrap() {
        Token(token) => Ok(token),
        Refused(refused) => Err((refused.reason(), refused.message)),
    }
}

/// The first events of the watch.
pub async fn snapshot(node: &mut Client) -> PolicySnapshot {
    let mut watch = node.node.watch(WatchRequest::default()).await.unwrap().into_inner();
    let Some(Event::Snapshot(snapshot)) = watch.message().await.unwrap().unwrap().event else { panic!("no snapshot") };
    snapshot
}

/// The keys that the watch tells.
pub async fn keys(node: &mut Client) -> Vec<PublicKey> {
    snapshot(node).await.keys
}

/// Returns the claims of a token, verified as a node does.
pub fn claims(token: &str, keys: &[PublicKey]) -> Option<Claims> {
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = keys.iter().find(|key| key.id == kid)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["dependency_proxy"]);
    validation.set_issuer(&["roadstead"]);
    validation.validate_exp = false;
    Some(jsonwebtoken::decode(token, &DecodingKey::from_ed_der(&key.ed25519), &validation).unwrap().claims)
}

#[tokio::test]
async fn a_deploy_token_of_a_group_gets_a_jwt_for_the_group_and_its_subgroups_that_holds_no_secret() {
    let plane = Plane::start().await;
    let (group, sub) = (plane.group("acme").await, plane.group("acme/ci").await);
    let token = plane.token("acme", &[]).await;
    let mut node = plane.node();
    let issued = sign_in(&mut node, (&token.username, &token.token), &["acme", "acme/ci"]).await.unwrap();
    assert_eq!((duration_seconds(issued.expires_in), timestamp_ms(issued.issued_at)), (900, START_MS));
    let claims = claims(&issued.token, &keys(&mut node).await).unwrap();
    assert_eq!((claims.sub.as_str(), claims.token_id.as_deref()), (token.username.as_str(), Some(token.id.as_str())));
    assert_eq!((claims.iat, claims.nbf, claims.exp), (START_MS / 1000, START_MS / 1000, START_MS / 1000 + 900));
    let access: Vec<_> =
        claims.access.iter().map(|a| (a.kind.as_str(), a.name.as_str(), a.group_id.as_str())).collect();
    assert_eq!(
        access,
        [
            ("repository", "acme/dependency_proxy/containers/alpine", group.id.as_str()),
            ("repository", "acme/ci/dependency_proxy/containers/alpine", sub.id.as_str()),
        ]
    );
    assert!(claims.access.iter().all(|a| a.actions == ["pull"]));
    assert!(!serde_json::to_string(&claims).unwrap().contains(&token.token));
}

#[tokio::test]
async fn what_admits_fewer_moves_the_epoch_that_tokens_and_the_watch_carry_and_nothing_else_does() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let token = plane.token("acme", &[]).await;
    let mut node = plane.node();
    let update = || UpdateGroupRequest { path: "acme".into(), ..Default::default() };
    let visibility = |visibility: Visibility| Some(visibility.into());
    let mut before = None;
    for (change, moves) in [
        (update(), false),
        (UpdateGroupRequest { visibility: visibility(Visibility::Internal), ..update() }, false),
        (UpdateGroupRequest { visibility: visibility(Visibility::Public), ..update() }, false),
        (UpdateGroupRequest { anonymous_pull: Some(true), ..update() }, false),
        (UpdateGroupRequest { frozen: Some(true), ..update() }, false),
        (UpdateGroupRequest { anonymous_pull: Some(false), ..update() }, true),
        (UpdateGroupRequest { visibility: visibility(Visibility::Internal), ..update() }, true),
        (UpdateGroupRequest { visibility: visibility(Visibility::Private), ..update() }, true),
        (UpdateGroupRequest { visibility: visibility(Visibility::Private), ..update() }, false),
    ] {
        plane.admin().groups.update_group(change.clone()).await.unwrap();
        let told = snapshot(&mut node).await;
        let epoch = told.groups.iter().find(|told| told.id == group.id).unwrap().access_epoch;
        assert_eq!(before.is_some_and(|before| epoch > before), moves, "{change:?}");
        assert!(before.is_none_or(|before| epoch >= before), "{change:?}");
        let issued = sign_in(&mut node, (&token.username, &token.token), &["acme"]).await.unwrap();
        assert_eq!(claims(&issued.token, &told.keys).unwrap().access[0].access_epoch, epoch, "{change:?}");
        before = Some(epoch);
    }
}

#[tokio::test]
async fn each_kind_of_credential_gets_what_the_table_says() {
    use SignInRefusal::{Denied, NotFound, Unauthenticated};
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "acme/off", "other"] {
        plane.group(path).await;
    }
    plane.public_group("open", false).await;
    plane.public_group("anyone", true).await;
    let off = UpdateGroupRequest { path: "acme/off".into(), enabled: Some(false), ..Default::default() };
    plane.admin().groups.update_group(off).await.unwrap();
    let (full, half) = (plane.token("acme", &[]).await, plane.token("acme", &["read_registry", "api"]).await);
    let (revoked, expiring) = (plane.token("acme", &[]).await, expiring(&plane, 60).await);
    let revoke = DeleteTokenRequest { id: revoked.id.clone() };
    plane.admin().tokens.delete_token(revoke).await.unwrap();
    let node_token = CreateTokenRequest { owner: Some(Owner::Node(true)), name: "n".into(), ..Default::default() };
    let node_token = plane.admin().tokens.create_token(node_token).await.unwrap().into_inner();
    let mut node = plane.node();
    let good = (full.username.as_str(), full.token.as_str());
    let half = (half.username.as_str(), half.token.as_str());
    let short = (expiring.username.as_str(), expiring.token.as_str());
    for (name, who, groups, expected) in [
        ("docker login", good, &[][..], Ok(0)),
        ("docker login, half the scopes", half, &[], Err((Denied, "lacks write_registry"))),
        ("own group", good, &["acme"], Ok(1)),
        ("own group in capitals", good, &["Acme"], Ok(1)),
        ("subgroup", good, &["acme/ci"], Ok(1)),
        ("half the scopes", half, &["acme"], Err((Denied, "lacks write_registry"))),
        ("another's private group", good, &["other"], Err((NotFound, "there is no group other here"))),
        ("no such group", good, &["nowhere"], Err((NotFound, "there is no group nowhere here"))),
        ("no such subgroup", good, &["acme/nowhere"], Err((NotFound, "there is no group acme/nowhere here"))),
        ("no group at all", good, &["../x"], Err((NotFound, "there is no group ../x here"))),
        ("another's public group", good, &["open"], Ok(1)),
        ("switched off", good, &["acme/off"], Err((Denied, "switched off"))),
        ("the good ones of several", good, &["other", "acme", "nowhere"], Ok(1)),
        ("the first refusal of several", good, &["acme/off", "other"], Err((Denied, "switched off"))),
        ("before it expires", short, &["acme"], Ok(1)),
        ("anonymous", ("", ""), &["anyone"], Ok(1)),
        ("anonymous login", ("", ""), &[], Ok(0)),
        ("anonymous, not allowed there", ("", ""), &["open"], Err((Unauthenticated, "docker login"))),
        ("anonymous, no group", ("", ""), &["nowhere"], Err((Unauthenticated, "docker login"))),
        ("another's user name", (half.0, good.1), &["acme"], Err((Unauthenticated, "wrong user name"))),
        ("no user name", ("", good.1), &["anyone"], Err((Unauthenticated, "wrong user name"))),
        ("no password", (good.0, ""), &["anyone"], Err((Unauthenticated, "wrong user name"))),
        ("wrong password", (good.0, "rs_dep_x"), &["anyone"], Err((Unauthenticated, "wrong user name"))),
        ("revoked", (&revoked.username, &revoked.token), &["acme"], Err((Unauthenticated, "revoked"))),
        ("the administrator's token", ("admin", ADMIN_TOKEN), &["anyone"], Err((Unauthenticated, "does not pull"))),
        ("a node's", (&node_token.username, &node_token.token), &["anyone"], Err((Unauthenticated, "does not pull"))),
    ] {
        match (sign_in(&mut node, who, groups).await, expected) {
            (Ok(token), Ok(count)) => {
                let claims = claims(&token.token, &keys(&mut node).await).unwrap();
                assert_eq!(claims.access.len(), count, "{name}");
            }
            (Err((reason, message)), Err((expected, part))) => {
                assert_eq!(reason, expected, "{name}: {message}");
                assert!(message.contains(part), "{name}: {message}");
            }
            (got, expected) => panic!("{name}: {got:?} instead of {expected:?}"),
        }
    }
    plane.advance(60);
    assert_eq!(sign_in(&mut node, short, &["acme"]).await.unwrap_err().0, Unauthenticated, "expired");
}

async fn expiring(plane: &Plane, seconds: i64) -> roadstead_proto::v1::CreateTokenResponse {
    let request = CreateTokenRequest {
        owner: Some(Owner::GroupPath("acme".into())),
        name: "short".into(),
        expires_in: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    plane.admin().tokens.create_token(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_anonymous_jwt_names_nobody_and_needs_the_nodes_leave() {
    let plane = Plane::start().await;
    let mut node = plane.node();
    let issued = sign_in(&mut node, ("", ""), &["default"]).await.unwrap();
    let claims = claims(&issued.token, &keys(&mut node).await).unwrap();
    assert_eq!((claims.sub.as_str(), claims.token_id), ("anonymous", None));
    for scopes in [vec![], vec![scope("default")]] {
        let request = SignInRequest { scopes, anonymous_allowed: false, ..Default::default() };
        let answer = node.node.sign_in(request).await.unwrap().into_inner();
        assert!(matches!(answer.result, Some(Refused(r)) if r.reason() == SignInRefusal::Unauthenticated));
    }
}

#[tokio::test]
async fn a_jwt_does_not_outlive_the_token_it_was_made_with() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let token = expiring(&plane, 60).await;
    let issued = sign_in(&mut plane.node(), (&token.username, &token.token), &["acme"]).await.unwrap();
    assert_eq!(duration_seconds(issued.expires_in), 60);
}

#[tokio::test]
async fn a_scope_whose_name_is_of_another_group_is_refused() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("other").await;
    let token = plane.token("acme", &[]).await;
    let request = SignInRequest {
        username: token.username,
        password: token.token,
        scopes: vec![PullScope { group_path: "acme".into(), ..scope("other") }],
        ..Default::default()
    };
    let answer = plane.node().node.sign_in(request).await.unwrap().into_inner();
    assert!(matches!(answer.result, Some(Refused(r)) if r.reason() == SignInRefusal::NotFound));
}
