//! Seeing it work: metrics, probes, traces, logs that hold no secrets.

use std::{fs, time::Duration};

use bytes::Bytes;
use http::{Method, Uri};
use roadstead_tests::{
    client,
    cluster::{Cluster, ClusterOptions},
    hub::{Fault, Gate, Hub, Kind, When},
    image::{Image, digest, random_bytes},
};
use tokio::sync::mpsc;

use crate::open_pair;

#[tokio::test]
async fn metrics_count_requests_outcomes_bytes_and_upstream() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let blob = random_bytes(1, 100_000);
    let wanted = hub.push_blob("library/app", blob);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    client.blob("app", &wanted).await.expect(200);
    client.blob_hit("app", &wanted).await;
    client.manifest("app", "nosuchtag").await.expect(404);
    let count = async |name: &str, labels: &[&str]| cluster.metric(&format!("roadstead_{name}"), labels).await;
    assert!(count("requests_total", &["route=\"blob\"", "status=\"200\""]).await >= 2.0);
    assert_eq!(count("requests_total", &["route=\"manifest\"", "status=\"404\""]).await, 1.0);
    assert!(count("request_duration_seconds_count", &["route=\"blob\""]).await >= 2.0);
    assert_eq!(count("cache_total", &["route=\"blob\"", "outcome=\"fill\""]).await, 1.0);
    assert_eq!(count("cache_total", &["route=\"blob\"", "outcome=\"hit\""]).await, 1.0);
    assert!(count("client_bytes_total", &[]).await >= 200_000.0);
    assert!(count("upstream_bytes_total", &[]).await >= 100_000.0);
    assert!(count("upstream_requests_total", &["status=\"2xx\""]).await >= 3.0);
    assert!(count("upstream_requests_total", &["status=\"404\""]).await >= 1.0);
    assert!(count("disk_available_bytes", &[]).await > 0.0);
    assert_eq!(count("fills_in_progress", &[]).await, 0.0);

    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let large = hub.push_blob("library/app", random_bytes(2, 100_000));
    let under_way = client.open_blob("app", &large, &[]).await;
    assert_eq!(count("fills_in_progress", &[]).await, 1.0);
    gate.open();
    under_way.bytes().await.unwrap();
    let page = String::from_utf8(cluster.metrics_port("/metrics").await.body.to_vec()).unwrap();
    assert!(!page.contains("library/app") && !page.contains("\"default\""), "labels are closed sets:\n{page}");
}

#[tokio::test]
async fn a_stale_answer_is_counted_as_stale() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.down().await;
    client.manifest("app", "latest").await.expect(200);
    client.manifest("app", "cold").await;
    assert_eq!(cluster.metric("roadstead_cache_total", &["outcome=\"stale\""]).await, 1.0);
    assert_eq!(cluster.metric("roadstead_cache_total", &["outcome=\"error\""]).await, 1.0);
}

#[tokio::test]
async fn ready_takes_a_writable_store_and_live_does_not() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.metrics_port("/livez").await.expect(200);
    cluster.metrics_port("/readyz").await.expect(200);
    let blobs = cluster.data_dir().join("blobs");
    let away = cluster.folder().join("away");
    fs::rename(&blobs, &away).unwrap();
    fs::write(&blobs, "a file where the store's folder was").unwrap();
    let answer = crate::within(Duration::from_secs(60), 503, async || cluster.metrics_port("/readyz").await).await;
    assert!(!answer.expect(503).body.is_empty(), "it says why");
    cluster.metrics_port("/livez").await.expect(200);
}

/// A trace collector that takes anything by http and keeps it.
async fn collector() -> (String, mpsc::UnboundedReceiver<(String, Bytes)>) {
    let (sender, received) = mpsc::unbounded_channel();
    let take = move |uri: Uri, body: Bytes| {
        let _ = sender.send((uri.path().to_owned(), body));
        async { "" }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(take)).into_future());
    (url, received)
}

#[tokio::test]
async fn a_clients_trace_goes_on_at_upstream_and_is_exported() {
    let hub = Hub::start().await;
    let (endpoint, mut exported) = collector().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { environment, ..ClusterOptions::default() }).await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.token("app").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    client.ask(Method::GET, "app", "manifests/latest", &[("traceparent", &parent)]).await.expect(200);
    for request in hub.requests(&When::kind(Kind::Manifest)) {
        let carried = request.header("traceparent");
        assert!(carried.contains(trace) && carried != parent, "{request}: {carried:?}");
    }
    let bytes = hex::decode(trace).unwrap();
    let mut seen = Vec::new();
    let found = async {
        loop {
            let (path, body) = exported.recv().await.unwrap();
            assert_eq!(path, "/v1/traces");
            seen.extend_from_slice(&body);
            let has = |part: &[u8]| seen.windows(part.len()).any(|window| window == part);
            if has(&bytes) && has(b"NodeService") && has(b"upstream") {
                break;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), found).await;
    assert!(found.is_ok(), "no span of the client's trace was exported: {}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    for format in ["human", "json"] {
        let hub = Hub::start().await;
        let arguments = ["--log", "trace", "--log-format", format].map(str::to_owned).to_vec();
        let environment = vec![("ROADSTEAD_ADMIN_TOKEN".to_owned(), "chosen-admin-token-0123456789abcdef".to_owned())];
        let options = ClusterOptions { arguments, environment, ..ClusterOptions::default() };
        let cluster = Cluster::prepare(options);
        cluster.run_processes().await;
        fs::write(cluster.data_dir().join("admin-token"), "chosen-admin-token-0123456789abcdef").unwrap();
        cluster.cli(&["upstream", "set", "docker.io", "--url", &hub.url()]).await.ok();
        hub.add_user("alice", "alices-password");
        let image = Image::small(1);
        hub.push("secret/app", "latest", &image);
        hub.make_private("secret/app", &["alice"]);
        let group = cluster.client_of_new_group("acme").await;
        let login = ["upstream", "login", "acme", "docker.io", "--username", "alice", "--password-stdin"];
        cluster.cli_with_input(&login, "alices-password").await.ok();
        group.manifest("secret/app", "latest").await.expect(200);
        group.blob("secret/app", &digest(&image.layers[0])).await.expect(200);
        hub.fault(When::any(), Fault::Status(500));
        group.manifest("secret/app", "cold").await;
        let deploy = cluster.create_token("acme").await;
        let registry_token = cluster.client("acme", &deploy).token("app").await;
        cluster
            .client("acme", &roadstead_tests::cluster::DeployToken { token: "a-wrong-secret".into(), ..deploy.clone() })
            .sign_in("app")
            .await;
        let upstream_tokens = hub
            .requests(&When::kind(Kind::Manifest))
            .iter()
            .map(|request| request.header("authorization").to_owned())
            .collect::<Vec<_>>();
        let log = cluster.log();
        assert!(log.len() > 1000, "{log}");
        let mut secrets = vec![
            "chosen-admin-token-0123456789abcdef".to_owned(),
            deploy.token,
            registry_token.split('.').next_back().unwrap().to_owned(),
            "alices-password".to_owned(),
            "a-wrong-secret".to_owned(),
        ];
        secrets.extend(upstream_tokens.iter().filter_map(|header| header.strip_prefix("Bearer ")).map(str::to_owned));
        assert!(secrets.len() > 5, "there was a token for upstream");
        for secret in secrets {
            let line = log.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "{secret} is in the {format} log");
        }
        if format == "json" {
            let first = log.lines().find(|line| line.starts_with('{')).unwrap();
            serde_json::from_str::<serde_json::Value>(first).unwrap();
        }
    }
    let _ = client::http();
}
