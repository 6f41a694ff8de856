//! The database goes away and comes back.

use std::{sync::Arc, time::Duration};

use roadstead_control::{Clock, ControlConfig};
use roadstead_proto::v1::{ListGroupsRequest, ListUsersRequest};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::{
    harness::{Plane, START_MS, config, private_postgres},
    link::{Line, Link},
};

/// The `--database-timeout` of these tests.
const TIMEOUT: Duration = Duration::from_millis(800);

async fn start() -> (Link, Plane) {
    start_with(TIMEOUT).await
}

async fn start_with(database_timeout: Duration) -> (Link, Plane) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let link = Link::new().await;
    let database_url = Some(link.url(&private_postgres::url_for(folder.path())));
    let config = ControlConfig { database_url, database_timeout, ..config(&folder) };
    let plane = Plane::start_with(config, folder, Clock::standing_at(START_MS)).await;
    (link, plane)
}

async fn list(plane: &Plane) -> Result<(), tonic::Status> {
    plane.admin().groups.list_groups(ListGroupsRequest::default()).await.map(|_| ())
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced_without_a_failed_call() {
    // As long as it takes on a busy machine: what counts here is that no call fails.
    let (link, plane) = start_with(Duration::from_secs(15)).await;
    for round in 0..5 {
        plane.group(&format!("before-{round}")).await;
        link.cut();
        list(&plane).await.unwrap();
        plane.group(&format!("after-{round}")).await;
    }
}

#[tokio::test]
async fn a_database_that_answers_no_more_fails_calls_in_time_and_is_back_by_itself() {
    let (link, plane) = start().await;
    let mut calls = Vec::new();
    link.set(Line::Dead);
    for _ in 0..20 {
        let mut admin = plane.admin();
        calls.push(tokio::spawn(async move {
            let begun = Instant::now();
            let status = admin.users.list_users(ListUsersRequest::default()).await.unwrap_err();
            (status, begun.elapsed())
        }));
    }
    for call in calls {
        let (status, took) = timeout(Duration::from_secs(20), call).await.unwrap().unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(took < 4 * TIMEOUT, "{took:?}");
    }
    // Known to be gone by now: nobody waits any more.
    let begun = Instant::now();
    assert_eq!(list(&plane).await.unwrap_err().code(), Code::Unavailable);
    assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
    assert!(!plane.control.ready().await);
    link.set(Line::Good);
    let begun = Instant::now();
    while list(&plane).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(15), "it did not come back");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(plane.control.ready().await);
    plane.group("afterwards").await;
}
