use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::net::TcpListener;
use tonic::{server::NamedService, transport::Endpoint};

use super::*;
use crate::{
    node::v1::{self as pb, node_service_client::NodeServiceClient},
    v1::{self, cache_service_client::CacheServiceClient},
};

/// A replica that answers every call with an empty message, or with a refusal; counts what it was asked.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<AtomicUsize>,
    refuses: bool,
}

impl Fake {
    fn refusing() -> Self {
        Self { refuses: true, ..Self::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Serves it, for as long as the test's runtime runs.
    async fn channel(&self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder()
            .add_service(self.clone())
            .add_service(OfUsers(self.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }

    fn answer(&self) -> Response<Body> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.refuses {
            return Status::unavailable("stopping").into_http();
        }
        // The frame of a message without fields.
        let frame = Full::new(bytes::Bytes::from_static(&[0; 5]));
        let trailers = std::future::ready(Some(Ok::<_, Infallible>(
            [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect(),
        )));
        let mut response = Response::new(Body::new(frame.with_trailers(trailers)));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response
    }
}

impl NamedService for Fake {
    const NAME: &'static str = "roadstead.node.v1.NodeService";
}

impl Service<Request<Body>> for Fake {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(self.answer()))
    }
}

/// Does the same under another name.
#[derive(Clone)]
struct OfUsers(Fake);

impl NamedService for OfUsers {
    const NAME: &'static str = "roadstead.v1.CacheService";
}

impl Service<Request<Body>> for OfUsers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(self.0.answer()))
    }
}

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

fn replicas(channels: Vec<Channel>) -> ControlReplicas {
    ControlReplicas::new(channels).starting_at(0).with_patience(Duration::from_millis(100))
}

fn client(channels: Vec<Channel>) -> NodeServiceClient<ControlReplicas> {
    NodeServiceClient::new(replicas(channels))
}

#[tokio::test]
async fn calls_are_spread_and_a_dead_replica_costs_nothing() {
    let (one, two) = (Fake::default(), Fake::default());
    let mut client = client(vec![one.channel().await, dead(), two.channel().await]);
    for _ in 0..30 {
        client.get_links(pb::GetLinksRequest::default()).await.unwrap();
    }
    assert_eq!(one.asked() + two.asked(), 30);
    assert!(one.asked() >= 5 && two.asked() >= 5, "{} and {}", one.asked(), two.asked());
}

#[tokio::test]
async fn a_silent_replica_is_passed_over_and_then_asked_last() {
    let good = Fake::default();
    let replicas = replicas(vec![black_hole().await, good.channel().await]);
    let mut client = NodeServiceClient::new(replicas.clone());
    for _ in 0..10 {
        client.get_links(pb::GetLinksRequest::default()).await.unwrap();
        // The silent one is now suspect: it comes last, whoever's turn it is.
        assert_eq!((replicas.order(), replicas.order()), (vec![1, 0], vec![1, 0]));
    }
    assert_eq!(good.asked(), 10);
}

#[tokio::test]
async fn a_call_that_may_not_be_repeated_is_not_once_it_was_sent() {
    let (refusing, other) = (Fake::refusing(), Fake::default());
    let mut client = client(vec![refusing.channel().await, other.channel().await]);
    let claim = pb::ClaimGarbageRequest::default;
    let answers = [client.claim_garbage(claim()).await.is_ok(), client.claim_garbage(claim()).await.is_ok()];
    // The first one's refusal is told, and the next call goes elsewhere.
    assert_eq!(answers, [false, true]);
    assert_eq!((refusing.asked(), other.asked()), (1, 1));
    // A call that never left may go elsewhere, whatever it is.
    let mut client = self::client(vec![dead(), other.channel().await]);
    for _ in 0..4 {
        client.claim_garbage(claim()).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_may_be_repeated_if_the_contract_says_so() {
    let (refusing, good) = (Fake::refusing(), Fake::default());
    let channels = vec![refusing.channel().await, good.channel().await];
    // By the node: adds up nothing, since its batches have ids.
    client(channels.clone()).record_usage(pb::RecordUsageRequest::default()).await.unwrap();
    // By people: reads are repeated, a purge is not.
    let mut cache = CacheServiceClient::new(replicas(channels.clone()));
    cache.get_stats(v1::GetStatsRequest::default()).await.unwrap();
    let mut cache = CacheServiceClient::new(replicas(channels));
    let refused = cache.purge_cache(v1::PurgeCacheRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "stopping"));
}

#[tokio::test]
async fn the_last_error_is_told_if_no_replica_answers() {
    let status = client(vec![dead(), dead()]).get_links(pb::GetLinksRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
