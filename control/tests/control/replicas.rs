//! Several replicas on one PostgreSQL database: none of them is special.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use roadstead_control::{Control, ControlConfig, SecretKey};
use roadstead_proto::{
    node::v1::{
        CredentialGood, PolicyChange, WatchRequest, policy_change::Change, report_job_request::Report,
        watch_response::Event,
    },
    v1::{GetImagePrefixRequest, GetUserRequest, PrefetchImageRequest, UpdateGroupRequest},
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    harness::{Plane, config, private_postgres},
    jobs::{FakeNode, progress, set, stored_username},
    sign_in::{claims, keys, sign_in},
};

pub(crate) async fn two() -> (Plane, Plane) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    (Plane::replica_in(&folder).await, Plane::replica_in(&folder).await)
}

fn url(plane: &Plane) -> String {
    private_postgres::url_for(plane.folder.path())
}

#[tokio::test]
async fn a_change_at_one_replica_is_told_to_watchers_of_another_at_once() {
    let (here, there) = two().await;
    let group = here.group("acme").await;
    let mut events = there.node().node.watch(WatchRequest::default()).await.unwrap().into_inner();
    assert!(matches!(events.message().await.unwrap().unwrap().event, Some(Event::Snapshot(_))));
    for frozen in [true, false, true] {
        let request = UpdateGroupRequest { path: "acme".into(), frozen: Some(frozen), ..Default::default() };
        here.admin().groups.update_group(request).await.unwrap();
        let told = async {
            loop {
                if let Some(Event::Changes(told)) = events.message().await.unwrap().unwrap().event
                    && let Some(PolicyChange { change: Some(Change::Group(told)) }) = told.changes.into_iter().next()
                    && told.id == group.id
                {
                    return told.frozen;
                }
            }
        };
        assert_eq!(timeout(Duration::from_secs(30), told).await, Ok(frozen));
    }
}

#[tokio::test]
async fn a_job_asked_of_one_replica_is_done_by_a_node_of_another() {
    let (here, there) = two().await;
    let group = here.group("acme").await;
    let mut node = FakeNode::connect(&there).await;
    let call = set(&here);
    node.do_next(Report::CredentialGood(CredentialGood {})).await;
    call.await.unwrap().unwrap();
    assert_eq!(stored_username(&there, &group.id).await, "me");

    // What was to be done is unreadable in the database, and gone once it is done.
    let call = set(&here);
    let id = node.offered().await;
    let sealed = private_postgres::query(&url(&here), "SELECT sealed || report FROM jobs");
    assert!(!sealed.is_empty() && !sealed.contains("hunter2") && !sealed.contains("docker.io"), "{sealed}");
    // Calls may go to any replica, whichever the node watches.
    let mut elsewhere = FakeNode::connect(&here).await;
    let job = elsewhere.claim(&id).await;
    assert!(job.is_ok() && node.claim(&id).await.is_err(), "one node does it");
    elsewhere.report(&id, Report::CredentialGood(CredentialGood {})).await.unwrap();
    call.await.unwrap().unwrap();
    let cleared = async {
        while private_postgres::query(&url(&here), "SELECT count(*) FROM jobs") != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(5), cleared).await.unwrap();
}

#[tokio::test]
async fn progress_is_seen_at_the_replica_that_waits_and_who_leaves_gives_the_job_up() {
    let (here, there) = two().await;
    here.group("acme").await;
    let mut node = FakeNode::connect(&there).await;
    let request = PrefetchImageRequest { group_path: "acme".into(), image: "alpine:3".into(), ..Default::default() };
    let mut admin = here.admin();
    let mut told = admin.cache.prefetch_image(request).await.unwrap().into_inner();
    let id = node.offered().await;
    node.claim(&id).await.unwrap();
    for fetched in [10, 20] {
        node.report(&id, Report::Progress(progress(fetched))).await.unwrap();
        let next = timeout(Duration::from_millis(500), told.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.fetched_bytes, fetched);
    }
    drop(told);
    let given_up = async { while node.report(&id, Report::Progress(progress(30))).await.is_ok() {} };
    timeout(Duration::from_secs(5), given_up).await.unwrap();
}

#[tokio::test]
async fn tokens_of_one_replica_are_good_at_the_others() {
    let (here, there) = two().await;
    let token = sign_in(&mut here.node(), ("", ""), &["default"]).await.unwrap().token;
    assert!(claims(&token, &keys(&mut there.node()).await).is_some());
    here.user("jane", false).await;
    let request = GetUserRequest { name: "jane".into() };
    let mut jane = there.client_of("jane", &Plane::password_of("jane"));
    assert_eq!(jane.users.get_user(request).await.unwrap().into_inner().user.unwrap().name, "jane");
}

#[tokio::test]
async fn one_replica_leads_maintenance_until_it_stops() {
    let (here, there) = two().await;
    let holder = || {
        private_postgres::query(&url(&here), "SELECT holder FROM leases WHERE name = 'maintenance' AND expires_at > 0")
    };
    here.control.keep_up_once().await.unwrap();
    let first = holder();
    assert!(!first.is_empty());
    there.control.keep_up_once().await.unwrap();
    assert_eq!(holder(), first);
    let url = url(&here);
    here.stop().await;
    there.control.keep_up_once().await.unwrap();
    let second =
        private_postgres::query(&url, "SELECT holder FROM leases WHERE name = 'maintenance' AND expires_at > 0");
    assert!(!second.is_empty() && second != first);
}

#[tokio::test]
async fn what_a_node_told_one_replica_of_itself_another_knows() {
    let (here, there) = two().await;
    here.group("acme").await;
    let registry_url = "https://proxy.example:8443".to_owned();
    there.node().node.watch(WatchRequest { registry_url, ..WatchRequest::default() }).await.unwrap();
    let request = GetImagePrefixRequest { path: "acme".into() };
    let prefix = here.admin().groups.get_image_prefix(request).await.unwrap().into_inner();
    assert_eq!(prefix.server, "proxy.example:8443");
}

/// A sealing key.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn on_postgres(folder: &TempDir) -> ControlConfig {
    ControlConfig { database_url: Some(private_postgres::url_for(folder.path())), ..config(folder) }
}

#[tokio::test]
async fn replicas_that_start_at_once_make_one_administrators_token() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("shared.key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let start = |number: u32| {
        let data_dir = folder.path().join(number.to_string());
        // The same key, as a file and as itself.
        let secret_key = match number % 2 {
            0 => SecretKey::Value(KEY.into()),
            _ => SecretKey::File(key.clone()),
        };
        let config = ControlConfig { data_dir, secret_key, ..on_postgres(&folder) };
        tokio::spawn(async move { Control::open(config, &mut Registry::default()).await.map(|(_, first)| first) })
    };
    let mut made = 0;
    for started in [start(1), start(2), start(3), start(4), start(5)] {
        let first = started.await.unwrap().unwrap();
        made += u32::from(first.admin_token.is_some());
        assert_eq!(first.admin_token.is_some(), first.is_first);
    }
    assert_eq!(made, 1);
    let admins = private_postgres::query(
        &private_postgres::url_for(folder.path()),
        "SELECT count(*) FROM tokens WHERE kind = 'admin'",
    );
    assert_eq!(admins, "1");
}

#[tokio::test]
async fn a_replica_with_another_key_or_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Control::open(on_postgres(&folder), &mut Registry::default()).await.map(drop).unwrap();
    let elsewhere = ControlConfig { data_dir: folder.path().join("elsewhere"), ..on_postgres(&folder) };
    let error = Control::open(elsewhere, &mut Registry::default()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("is missing") && error.to_string().contains("another replica"), "{error}");
    assert!(!folder.path().join("elsewhere/secret.key").exists());
    let other = ControlConfig { secret_key: SecretKey::Value(KEY.into()), ..on_postgres(&folder) };
    let error = Control::open(other, &mut Registry::default()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("all replicas need the same"), "{error}");
    let missing = ControlConfig { secret_key: SecretKey::File(folder.path().join("missing")), ..on_postgres(&folder) };
    let error = Control::open(missing, &mut Registry::default()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}
