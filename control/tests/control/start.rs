//! Opening: first start, restart, settings that cannot be.

use std::{fs, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use roadstead_control::{Clock, Control, ControlConfig};
use roadstead_proto::{
    node::v1::ClaimGarbageRequest,
    v1::{GetGroupRequest, ListGroupsRequest, ListTokensRequest, Visibility},
};
use secrecy::ExposeSecret as _;
use tonic::Code;

use crate::harness::{Plane, START_MS, config};

#[tokio::test]
async fn an_empty_folder_gets_a_private_folder_a_token_and_a_group_and_a_used_one_keeps_them() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut metrics = Registry::default();
    let (control, first) = Control::open(config(&folder), &mut metrics).await.unwrap();
    let made = first.admin_token.unwrap();
    assert!(first.is_first && made.expose_secret().starts_with("rs_adm_"));
    assert_eq!(fs::read_to_string(&first.admin_token_file).unwrap().trim(), made.expose_secret());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let data = folder.path().join("data");
        assert_eq!((mode(&data), mode(&first.admin_token_file), mode(&data.join("secret.key"))), (0o700, 0o600, 0o600));
    }
    assert!(control.ready().await);
    drop(control);
    // A token from the environment at a later start is not taken: the harness brings one.
    let again = Plane::start_in(folder, Clock::standing_at(START_MS)).await;
    assert!(!again.first_start.is_first && again.first_start.admin_token.is_none());
    let listed = again.admin().groups.list_groups(ListGroupsRequest::default()).await;
    assert_eq!(listed.unwrap_err().code(), Code::Unauthenticated);
    let mut admin = again.client(Some(made.expose_secret()));
    let request = GetGroupRequest { path: "default".into() };
    let group = admin.groups.get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.visibility(), group.anonymous_pull), (Visibility::Public, true));
    assert_eq!(group.upstreams, ["docker.io"]);
}

#[tokio::test]
async fn the_token_of_the_environment_is_taken_at_a_first_start_and_not_written_down() {
    let plane = Plane::start().await;
    assert!(plane.first_start.is_first && plane.first_start.admin_token.is_none());
    assert!(!plane.first_start.admin_token_file.exists());
    plane.admin().groups.list_groups(ListGroupsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_node_token_of_the_settings_is_good_from_the_start_and_after_every_restart() {
    const TOKEN: &str = "chosen-by-whoever-deploys-the-nodes-1";
    let folder = Arc::new(tempfile::tempdir().unwrap());
    for _ in 0..2 {
        let given = ControlConfig {
            admin_token: Some(crate::harness::ADMIN_TOKEN.into()),
            bootstrap_node_token: Some(TOKEN.into()),
            ..config(&folder)
        };
        let (control, _) = Control::open(given, &mut Registry::default()).await.unwrap();
        drop(control);
        let plane = Plane::start_in(Arc::clone(&folder), Clock::standing_at(START_MS)).await;
        let mut node = plane.client(Some(TOKEN));
        node.node.claim_garbage(ClaimGarbageRequest::default()).await.unwrap();
        let listed = plane.admin().tokens.list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
        assert_eq!(listed.iter().filter(|token| token.name == "bootstrap").count(), 1);
        let refused = node.groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    let plane = Plane::start_in(Arc::clone(&folder), Clock::standing_at(START_MS)).await;
    let deploy_token = plane.token("default", &[]).await.token;
    drop(plane);
    for (token, expected) in [("short", "32 to 1024"), (deploy_token.as_str(), "of another kind")] {
        let given = ControlConfig { bootstrap_node_token: Some(token.into()), ..config(&folder) };
        let error = Control::open(given, &mut Registry::default()).await.map(drop).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_named_with_their_value() {
    let folder = tempfile::tempdir().unwrap();
    for (url, lifetime, token, expected) in [
        (Some("postgres://me:hunter2@db/"), 900, None, "--database-url postgres://…: names no database"),
        (Some("mysql://me:hunter2@db/x"), 900, None, "\"mysql\""),
        (Some("control.db"), 900, None, "--database-url"),
        (None, 0, None, "--registry-token-lifetime 0ns"),
        (None, 24 * 3600 + 1, None, "--registry-token-lifetime"),
        (None, 900, Some("two words"), "ROADSTEAD_ADMIN_TOKEN"),
        (None, 900, Some(""), "ROADSTEAD_ADMIN_TOKEN"),
        (None, 900, Some("a"), "ROADSTEAD_ADMIN_TOKEN: must be 32"),
        (None, 900, Some("31-characters-are-one-too-few--"), "ROADSTEAD_ADMIN_TOKEN: must be 32"),
    ] {
        let mut config = config(&folder);
        config.database_url = url.map(Into::into);
        config.registry_token_lifetime = Duration::from_secs(lifetime);
        config.admin_token = token.map(Into::into);
        let Err(error) = Control::open(config, &mut Registry::default()).await else { panic!("{expected}") };
        let shown = error.to_string();
        assert!(error.is_usage() && shown.contains(expected) && !shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_folder_with_odd_characters_works_and_one_that_cannot_be_made_is_no_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut odd = config(&folder);
    odd.database_url = None;
    odd.data_dir = folder.path().join("a b%20?c#d");
    let (control, _) = Control::open(odd, &mut Registry::default()).await.unwrap();
    assert!(control.ready().await && folder.path().join("a b%20?c#d/control.db").exists());
    fs::write(folder.path().join("file"), "").unwrap();
    let mut blocked = config(&folder);
    blocked.data_dir = folder.path().join("file/data");
    let Err(error) = Control::open(blocked, &mut Registry::default()).await else { panic!("opened") };
    assert!(!error.is_usage() && error.to_string().contains("file/data"), "{error}");
}

#[tokio::test]
async fn a_missing_or_wrong_key_file_is_named_and_never_made_anew() {
    let plane = Plane::start().await;
    let folder = plane.folder.clone();
    drop(plane);
    let file = folder.path().join("data/secret.key");
    let right = fs::read_to_string(&file).unwrap();
    let refused = async || {
        let error = Control::open(config(&folder), &mut Registry::default()).await.map(drop).unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains("secret.key"), "{error}");
        error.to_string()
    };
    fs::remove_file(&file).unwrap();
    let missing = refused().await;
    assert!(missing.contains("is missing") && missing.contains("backup"), "{missing}");
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("secret")), "{left:?}");
    let fingerprint = missing.split("fingerprint ").nth(1).unwrap().split(')').next().unwrap();
    assert_eq!(fingerprint.len(), 16, "{missing}");

    let wrong = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    fs::write(&file, wrong).unwrap();
    let another = refused().await;
    assert!(another.contains("another key") && another.contains(fingerprint), "{another}");
    assert_eq!(fs::read_to_string(&file).unwrap(), wrong, "it is left as it was");

    fs::write(&file, right).unwrap();
    Control::open(config(&folder), &mut Registry::default()).await.map(drop).unwrap();
}
