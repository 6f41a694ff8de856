//! Connections: protocols, limits, and stopping.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadstead_tests::{
    client,
    cluster::{Cluster, ClusterOptions},
    eventually::eventually,
    hub::{Fault, Gate, Hub, Kind, When},
    image::{Image, random_bytes},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::open_pair;

/// Longest that a silent connection may live: a minute, and some time for a busy machine.
const IDLE: Duration = Duration::from_secs(75);

/// Sends bytes as they are and reads until the server closes.
async fn closed_after(cluster: &Cluster, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(cluster.registry).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(IDLE, stream.read_to_end(&mut answer)).await.expect("closed by the server");
    String::from_utf8_lossy(&answer).into()
}

#[tokio::test]
async fn pushes_are_unsupported() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    for (method, rest) in [
        (Method::POST, "blobs/uploads/"),
        (Method::PATCH, "blobs/uploads/1"),
        (Method::PUT, "manifests/latest"),
        (Method::DELETE, "manifests/latest"),
    ] {
        client.ask(method, "app", rest, &[]).await.expect_error(405, "UNSUPPORTED");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn a_push_without_a_token_is_told_where_to_sign_in_unless_anybody_may_pull() {
    let (hub, cluster) = open_pair().await;
    let member = cluster.client_of_new_group("acme").await;
    let anonymous = cluster.anonymous();
    for (method, rest) in
        [(Method::POST, "blobs/uploads/"), (Method::PATCH, "blobs/uploads/1"), (Method::PUT, "manifests/latest")]
    {
        let push = async |url: String| {
            let request = client::http().request(method.clone(), url);
            client::read(request.send().await).await.unwrap()
        };
        let refused = push(member.url("app", rest)).await.expect_error(401, "UNAUTHORIZED");
        let challenge = refused.header("www-authenticate");
        let scope = "scope=\"repository:acme/dependency_proxy/containers/app:pull,push\"";
        assert!(challenge.starts_with("Bearer ") && challenge.contains(scope), "{challenge}");
        member.ask(method.clone(), "app", rest, &[]).await.expect_error(405, "UNSUPPORTED");
        push(anonymous.url("app", rest)).await.expect_error(405, "UNSUPPORTED");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn paths_that_are_none_are_refused_before_anything_is_asked() {
    let (hub, cluster) = open_pair().await;
    for path in [
        "/v2/default/dependency_proxy/containers/../secrets/manifests/latest",
        "/v2/default/dependency_proxy/containers/app/manifests/latest%2f..%2f..",
        "/v2/default/dependency_proxy/containers/app/blobs/sha256:00%2f%2e%2e",
        "/v2/default/dependency_proxy/containers/ru*by/manifests/latest",
        "/v2/default/dependency_proxy/containers/%00/manifests/latest",
        "/v2/_catalog",
        "/v3/",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", cluster.registry);
        let answer = closed_after(&cluster, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "400" | "401" | "404"), "{path}: {answer}");
        assert!(answer.contains("\"errors\""), "{path}: {answer}");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn oversized_headers_are_answered_431() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let line = format!("X-Large: {}\r\n", "x".repeat(300_000));
    let answer = closed_after(&cluster, format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{line}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = "X-Many: 1\r\n".repeat(500);
    let answer = closed_after(&cluster, format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn connections_with_slow_headers_are_closed() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let started = Instant::now();
    closed_after(&cluster, b"GET /v2/ HTTP/1.1\r\nHost: slow\r\nX-Slow").await;
    assert!(started.elapsed() < Duration::from_secs(35), "{:?}", started.elapsed());
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", cluster.registry);
    let (silent, kept_alive) = tokio::join!(closed_after(&cluster, b""), closed_after(&cluster, request.as_bytes()));
    assert_eq!(silent, "");
    assert!(kept_alive.starts_with("HTTP/1.1 401"), "{kept_alive}");
}

/// Pulls a blob by HTTP/2 over a connection that is there already.
async fn pull_by_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &str, token: &str) -> Bytes {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request =
        Request::get(url).header("authorization", format!("Bearer {token}")).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    body
}

#[tokio::test]
async fn http2_is_spoken_without_tls() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 1_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    let client = cluster.anonymous();
    let url = client.url("app", &format!("blobs/{wanted}"));
    for _ in 0..2 {
        let stream = TcpStream::connect(cluster.registry).await.unwrap();
        assert_eq!(pull_by_http2(stream, &url, &client.token("app").await).await, blob);
    }
}

#[tokio::test]
async fn http1_and_http2_are_spoken_over_tls() {
    let hub = Hub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let arguments =
        ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { tls: true, arguments, ..ClusterOptions::default() }).await;
    let blob = random_bytes(1, 1_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());

    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let _ = client::http();
    let https = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let client = cluster.anonymous().with_http(https);
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(cluster.registry).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let url = client.url("app", &format!("blobs/{wanted}"));
    assert_eq!(pull_by_http2(stream, &url, &client.token("app").await).await, blob);
}

#[tokio::test]
async fn a_stop_lets_downloads_under_way_finish_and_takes_no_new_ones() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 2_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    let gate = Gate::closed();
    gate.release(1000);
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let client = cluster.anonymous();
    let mut response = client.open_blob("app", &wanted, &[]).await;
    let first = response.chunk().await.unwrap().unwrap();
    cluster.terminate();
    eventually("new connections are refused", async || TcpStream::connect(cluster.registry).await.is_err()).await;
    gate.open();
    let rest = response.bytes().await.unwrap();
    assert_eq!([first, rest].concat(), blob);
    assert_eq!(cluster.exit_codes(Duration::from_secs(10)).await, [0]);
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_the_drain_timeout() {
    let hub = Hub::start().await;
    let arguments = ["--drain-timeout", "1s"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let wanted = hub.push_blob("library/app", random_bytes(1, 100_000));
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate));
    let response = cluster.anonymous().open_blob("app", &wanted, &[]).await;
    cluster.terminate();
    assert_eq!(cluster.exit_codes(Duration::from_secs(8)).await, [0]);
    assert!(response.bytes().await.is_err(), "what was cut off does not end cleanly");
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    // A connection that is kept alive holds nothing up.
    cluster.anonymous().manifest("app", "latest").await.expect(200);
    let started = Instant::now();
    cluster.terminate();
    assert_eq!(cluster.exit_codes(Duration::from_secs(10)).await, [0]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
