//! Everything is restarted, one after the other, under load.

use roadstead_tests::fleet::Load;

use super::{open_fleet, pull, push};

#[tokio::test(flavor = "multi_thread")]
async fn no_pull_fails_while_everything_is_restarted() {
    let (hub, fleet) = open_fleet().await;
    let images = [push(&hub, "one", 1), push(&hub, "two", 2), push(&hub, "three", 3)];
    for (name, image) in &images {
        pull(&fleet.anonymous(), name, image).await;
    }
    let load = Load::start(&fleet.url(), 6, &images);
    load.more(20).await;
    for member in fleet.members() {
        member.stop().await;
        load.more(10).await;
        member.start();
        member.ready().await;
        load.more(10).await;
    }
    let pulled = load.stop().await;
    assert!(
        pulled.failures.is_empty(),
        "{} of {}: {:#?}\n{}",
        pulled.failures.len(),
        pulled.pulls,
        pulled.failures,
        fleet.logs()
    );
}
