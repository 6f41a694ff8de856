//! The administrator's token and the keys, replaced: the old ones are good for nothing, and everything stored still opens.

use std::{fs, sync::Arc};

use prometheus_client::registry::Registry;
use roadstead_control::{Clock, Control, ControlConfig, SecretKey};
use roadstead_proto::{
    node::v1::GetCredentialRequest,
    v1::{ListGroupsRequest, RotateAdminTokenRequest, RotateKeysRequest, UpdateCredentialRequest},
};
use secrecy::ExposeSecret as _;
use tonic::Code;

use crate::{
    audit,
    harness::{Client, Plane, START_MS, config},
    replicas,
    sign_in::{claims, keys, sign_in},
};

/// Base64 of 32 bytes each.
const OLD_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

async fn list_groups(mut client: Client) -> Code {
    let listed = client.groups.list_groups(ListGroupsRequest::default()).await;
    listed.map_or_else(|refused| refused.code(), |_| Code::Ok)
}

async fn store_credential(plane: &Plane) {
    let request = UpdateCredentialRequest {
        group_path: "acme".into(),
        host: "docker.io".into(),
        username: "robot".into(),
        password: "hunter2".into(),
        skip_verification: true,
        allow_missing: true,
    };
    plane.admin().upstreams.update_credential(request).await.unwrap();
}

/// The password as a node gets it.
async fn stored_password(plane: &Plane, group_id: &str) -> String {
    let request = GetCredentialRequest { group_id: group_id.into(), upstream: "docker.io".into() };
    let answer = plane.node().node.get_credential(request).await.unwrap().into_inner();
    answer.password
}

#[tokio::test]
async fn a_replaced_administrators_token_is_void_at_every_replica_at_once() {
    let (here, there) = replicas::two().await;
    assert_eq!(list_groups(there.admin()).await, Code::Ok);
    let chosen = "a-token-that-the-operator-keeps-in-a-vault";
    let short = RotateAdminTokenRequest { new_token: "short".into() };
    assert_eq!(here.admin().tokens.rotate_admin_token(short).await.unwrap_err().code(), Code::InvalidArgument);
    let request = RotateAdminTokenRequest { new_token: chosen.into() };
    let new = here.admin().tokens.rotate_admin_token(request.clone()).await.unwrap().into_inner();
    assert_eq!(new.token, chosen);
    for plane in [&here, &there] {
        assert_eq!(list_groups(plane.admin()).await, Code::Unauthenticated);
        assert_eq!(list_groups(plane.client(Some(chosen))).await, Code::Ok);
    }
    let again = here.client(Some(chosen)).tokens.rotate_admin_token(request).await.unwrap_err();
    assert_eq!(again.code(), Code::InvalidArgument, "the same is no new one");
    let made = there.client(Some(chosen)).tokens.rotate_admin_token(RotateAdminTokenRequest::default()).await;
    let made = made.unwrap().into_inner().token;
    assert!(made.starts_with("rs_adm_"));
    for plane in [&here, &there] {
        assert_eq!(list_groups(plane.client(Some(chosen))).await, Code::Unauthenticated);
        assert_eq!(list_groups(plane.client(Some(&made))).await, Code::Ok);
    }
}

#[tokio::test]
async fn the_file_of_the_administrators_token_has_the_new_one_and_a_restart_keeps_it() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (control, first) = Control::open(config(&folder), &mut Registry::default()).await.unwrap();
    let old = first.admin_token.unwrap();
    drop(control);
    let plane = Plane::start_in(folder, Clock::standing_at(START_MS)).await;
    let mut admin = plane.client(Some(old.expose_secret()));
    let answer = admin.tokens.rotate_admin_token(RotateAdminTokenRequest::default()).await.unwrap().into_inner();
    let kept = fs::read_to_string(&first.admin_token_file).unwrap();
    assert_eq!(kept.trim(), answer.token);
    let plane = plane.restart().await;
    assert_eq!(list_groups(plane.client(Some(old.expose_secret()))).await, Code::Unauthenticated);
    assert_eq!(list_groups(plane.client(Some(&answer.token))).await, Code::Ok);
    assert_eq!(list_groups(plane.admin()).await, Code::Unauthenticated, "the variable matters at a first start only");
}

#[tokio::test]
async fn new_signing_keys_void_all_registry_tokens_and_no_api_token() {
    let plane = Plane::start().await;
    let deploy = {
        plane.group("acme").await;
        plane.token("acme", &[]).await
    };
    let credentials = (deploy.username.as_str(), deploy.token.as_str());
    let old = sign_in(&mut plane.node(), credentials, &["acme"]).await.unwrap().token;
    let before = keys(&mut plane.node()).await;
    let request = RotateKeysRequest { signing: true, sealing: false };
    let done = plane.admin().cluster.rotate_keys(request).await.unwrap().into_inner();
    assert_eq!((done.voided_signing_keys, done.resealed_secrets), (1, 0));
    let after = keys(&mut plane.node()).await;
    assert_eq!(after.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [done.signing_key_id.as_str()]);
    assert!(before.iter().all(|key| key.id != after[0].id));
    assert!(claims(&old, &after).is_none());
    let new = sign_in(&mut plane.node(), credentials, &["acme"]).await.unwrap().token;
    assert!(claims(&new, &after).is_some());
    let events = audit::all(&plane).await;
    assert_eq!((events[0].action.as_str(), events[0].subject.as_str()), ("keys.rotate", "signing"));
    let nothing = plane.admin().cluster.rotate_keys(RotateKeysRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_new_sealing_key_opens_everything_and_the_old_one_nothing() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // A file of SQLite's whatever the other tests run on: replicas do not make keys by themselves.
    let config = || ControlConfig { database_url: None, ..config(&folder) };
    let plane = Plane::start_with(config(), folder.clone(), Clock::standing_at(START_MS)).await;
    let group = plane.group("acme").await;
    store_credential(&plane).await;
    let file = folder.path().join("data/secret.key");
    let old = fs::read_to_string(&file).unwrap();
    let request = RotateKeysRequest { signing: false, sealing: true };
    let done = plane.admin().cluster.rotate_keys(request).await.unwrap().into_inner();
    assert_eq!((done.resealed_secrets, done.voided_signing_keys), (2, 0), "a password and a signing key");
    let new = fs::read_to_string(&file).unwrap();
    assert!(new.lines().count() == 1 && new != old);
    assert_eq!(stored_password(&plane, &group.id).await, "hunter2");
    drop(plane);
    let plane = Plane::start_with(config(), folder.clone(), Clock::standing_at(START_MS)).await;
    assert_eq!(stored_password(&plane, &group.id).await, "hunter2");
    sign_in(&mut plane.node(), ("", ""), &["default"]).await.unwrap();
    drop(plane);
    fs::write(&file, old).unwrap();
    let refused = Control::open(config(), &mut Registry::default()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("secret.key"), "{refused}");
}

#[tokio::test]
async fn a_given_sealing_key_is_replaced_by_giving_two_of_them_for_a_while() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let start = async |keys: &str| {
        let config = ControlConfig { secret_key: SecretKey::Value(keys.into()), ..config(&folder) };
        Plane::start_with(config, folder.clone(), Clock::standing_at(START_MS)).await
    };
    let request = || RotateKeysRequest { signing: false, sealing: true };
    let plane = start(OLD_KEY).await;
    let group = plane.group("acme").await;
    store_credential(&plane).await;
    let refused = plane.admin().cluster.rotate_keys(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--secret-key"), "{refused}");
    drop(plane);
    let plane = start(&format!("{NEW_KEY} {OLD_KEY}")).await;
    assert_eq!(stored_password(&plane, &group.id).await, "hunter2");
    plane.admin().cluster.rotate_keys(request()).await.unwrap();
    drop(plane);
    let plane = start(NEW_KEY).await;
    assert_eq!(stored_password(&plane, &group.id).await, "hunter2");
    sign_in(&mut plane.node(), ("", ""), &["default"]).await.unwrap();
}
