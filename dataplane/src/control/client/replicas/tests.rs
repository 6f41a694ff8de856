use std::time::Duration;

use roadstead_proto::node::v1::{self as pb, node_service_client::NodeServiceClient};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use super::*;
use crate::control::fake::{Fake, Told, snapshot};

/// A replica that refuses connections.
fn dead() -> Channel {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Endpoint::from_shared(format!("http://{unused}")).unwrap().connect_lazy()
}

/// A replica that takes connections and never says a word.
async fn black_hole() -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn client(channels: Vec<Channel>) -> NodeServiceClient<ControlReplicas> {
    NodeServiceClient::new(ControlReplicas::of_node(channels).with_patience(Duration::from_millis(100)))
}

#[tokio::test]
async fn calls_are_spread_and_a_dead_replica_costs_nothing() {
    let (one, two) = (Fake::default(), Fake::default());
    let mut client = client(vec![one.channel(), dead(), two.channel()]);
    for _ in 0..30 {
        client.get_links(pb::GetLinksRequest::default()).await.unwrap();
    }
    let (one, two) = (one.script(|script| script.links_asked), two.script(|script| script.links_asked));
    assert_eq!(one + two, 30);
    assert!(one >= 5 && two >= 5, "{one} and {two}");
}

#[tokio::test]
async fn a_silent_replica_is_passed_over_and_then_asked_last() {
    let good = Fake::default();
    let mut client = client(vec![black_hole().await, good.channel()]);
    let began = std::time::Instant::now();
    for _ in 0..10 {
        client.get_links(pb::GetLinksRequest::default()).await.unwrap();
    }
    assert_eq!(good.script(|script| script.links_asked), 10);
    assert!(began.elapsed() < Duration::from_millis(800), "its silence cost more than once: {:?}", began.elapsed());
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_not_repeated_once_it_was_sent() {
    // This fake takes the claim and says that it cannot.
    let (refusing, other) = (Fake::default(), Fake::default());
    refusing.script(|script| script.watches.push_back(Told::Refusal(Status::unavailable("stopping"))));
    other.script(|script| script.watches.push_back(Told::Ends(vec![snapshot(1, vec![])])));
    let mut client = client(vec![refusing.channel(), other.channel()]);
    let answers = [
        client.watch(pb::WatchRequest::default()).await.is_ok(),
        client.watch(pb::WatchRequest::default()).await.is_ok(),
    ];
    // One goes to each: the one that fails is not made up for behind the caller's back, and the next goes elsewhere.
    assert_eq!(answers.iter().filter(|good| **good).count(), 1);
    // What never left this node may go elsewhere, whatever it is.
    let taker = Fake::default();
    let mut client = self::client(vec![dead(), taker.channel()]);
    for _ in 0..4 {
        client.claim_garbage(pb::ClaimGarbageRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_replica_that_says_it_cannot_is_passed_over_where_repeating_is_safe() {
    let (poor, good) = (Fake::default(), Fake::default());
    poor.script(|script| script.usage_answers_lost = 100);
    let mut client = client(vec![poor.channel(), good.channel()]);
    for _ in 0..6 {
        client.record_usage(pb::RecordUsageRequest::default()).await.unwrap();
    }
    assert_eq!(good.script(|script| script.usage.len()), 6);
}

#[tokio::test]
async fn without_any_that_answers_the_last_one_s_error_is_told() {
    let status = client(vec![dead(), dead()]).get_links(pb::GetLinksRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
