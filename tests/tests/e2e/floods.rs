//! Clients that take connections and requests without using them: everybody else is served all the same.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadstead_tests::{
    client,
    cluster::{Cluster, ClusterOptions},
    hub::Hub,
    image::{Image, random_bytes},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// Longest that somebody who behaves waits for an answer: a probe waits no longer, and floods last longer.
const PATIENCE: Duration = Duration::from_secs(6);
/// The address of the floods.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Somebody else: all of 127.0.0.0/8 is this machine.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Opens that many connections and sends the same bytes on each.
async fn flood(from: Ipv4Addr, to: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    raise_open_files();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, to).await;
        // It may have had to give way already.
        let _ = stream.write_all(bytes).await;
        held.push(stream);
    }
    held
}

fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

async fn in_time<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{what}: no answer in time"))
}

/// Signs in on one HTTP/2 connection with forms whose end never comes, and counts those that are answered all the same.
async fn unfinished_forms(cluster: &Cluster, forms: u32, answered: &Arc<AtomicU32>) -> JoinSet<()> {
    let stream = TokioIo::new(connect(ATTACKER, cluster.registry).await);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    for _ in 0..forms {
        let (mut sender, answered, url) = (sender.clone(), Arc::clone(answered), format!("{}/jwt/auth", cluster.url()));
        tasks.spawn(async move {
            let begun = Frame::data(Bytes::from_static(b"grant_type=password&username="));
            let body = stream::iter([Ok::<_, Infallible>(begun)]).chain(stream::pending());
            let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
            let _answer = sender.send_request(request.body(StreamBody::new(Box::pin(body))).unwrap()).await;
            answered.fetch_add(1, SeqCst);
            // The connection stays open, whatever the answer is.
            std::future::pending::<()>().await;
        });
    }
    tasks
}

#[tokio::test]
async fn sign_in_forms_without_an_end_take_nobodys_place() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    let blob = random_bytes(1, 10_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    cluster.anonymous().blob_hit("app", &wanted).await;
    let answered = Arc::<AtomicU32>::default();
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(unfinished_forms(&cluster, 250, &answered).await);
    }
    let arrived = async || cluster.metric("roadstead_requests_in_flight", &[]).await + f64::from(answered.load(SeqCst));
    while arrived().await < 4_000.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let neighbour = cluster.anonymous().from_address(NEIGHBOUR.into());
    for _ in 0..3 {
        assert_eq!(in_time("a warm pull", neighbour.blob("app", &wanted)).await.expect(200).body, blob);
        in_time("a pull by tag", neighbour.manifest("app", "latest")).await.expect(200);
    }
    let form =
        [("grant_type", "password"), ("username", "nobody"), ("password", "wrong"), ("service", "dependency_proxy")];
    let http = client::builder().local_address(IpAddr::from(NEIGHBOUR)).build().unwrap();
    let signed_in = http.post(format!("{}/jwt/auth", cluster.url())).form(&form).send();
    assert_eq!(in_time("a whole form", signed_in).await.unwrap().status().as_u16(), 401);
}

#[tokio::test]
async fn silent_connections_shut_neither_the_control_port_nor_probes() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    // Silence is put up with for some seconds: whoever asks right after the flood meets it.
    let on_metrics = flood(ATTACKER, cluster.metrics, 2_200, b"").await;
    for probe in ["/livez", "/readyz", "/metrics"] {
        in_time(probe, cluster.metrics_port(probe)).await.expect(200);
    }
    let on_control = flood(ATTACKER, cluster.control, 2_200, b"").await;
    in_time("a command", cluster.cli(&["group", "list"])).await.ok();
    drop((on_metrics, on_control));
}

#[tokio::test]
async fn one_clients_connections_leave_room_for_others_on_the_registry_port() {
    let hub = Hub::start().await;
    let arguments = ["--max-connections", "100"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let blob = random_bytes(1, 30_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    let neighbour = cluster.anonymous().from_address(NEIGHBOUR.into());
    let token = neighbour.token("app").await;
    assert_eq!(neighbour.blob_hit("app", &wanted).await.body, blob);
    // Downloads that are not taken are requests under way: they never give way, and there are at most half as many as
    // there may be connections.
    let download = format!(
        "GET /v2/default/dependency_proxy/containers/app/blobs/{wanted} HTTP/1.1\r\nHost: {}\r\n\
         Authorization: Bearer {token}\r\n\r\n",
        cluster.registry
    );
    let mut held = Vec::new();
    for begun in [b"".as_slice(), b"GET /v2/ HTTP/1.1\r\nHost: ", b"PRI * HTTP/2.0\r\n", download.as_bytes()] {
        held.extend(flood(ATTACKER, cluster.registry, 130, begun).await);
        let another = cluster.anonymous().from_address(NEIGHBOUR.into());
        assert_eq!(in_time("a pull", another.blob("app", &wanted)).await.expect(200).body, blob);
    }
    drop(held);
}
