//! Blobs in S3: what the bucket holds, and what it is asked for.

use std::time::Duration;

use bytes::Bytes;
use roadstead_tests::{
    client::Client,
    cluster::{Cluster, ClusterOptions},
    hub::Hub,
    image::random_bytes,
    link::Link,
    seaweed::Seaweed,
};

/// Three parts of an upload.
const LARGE: usize = 20 * 1024 * 1024;

/// A hub, S3 behind a link that can be broken, and how to start nodes on it.
struct Stage {
    hub: Hub,
    seaweed: Seaweed,
    link: Link,
}

impl Stage {
    async fn new() -> Self {
        let seaweed = Seaweed::start().await;
        seaweed.create_bucket("blobs").await;
        let link = Link::to(seaweed.address()).await;
        Self { hub: Hub::start().await, seaweed, link }
    }

    fn options(&self, arguments: &[&str]) -> ClusterOptions {
        let endpoint = format!("http://{}", self.link.address());
        let mut all = vec!["--storage".to_owned(), "s3://blobs/cache".to_owned(), "--s3-endpoint".to_owned(), endpoint];
        all.extend(arguments.iter().map(ToString::to_string));
        // The environment names another place: the flag has the last word.
        let environment = Seaweed::environment("http://127.0.0.1:9");
        ClusterOptions { arguments: all, environment, ..ClusterOptions::default() }
    }

    async fn node(&self, arguments: &[&str]) -> Cluster {
        Cluster::start_with(&self.hub, self.options(arguments)).await
    }

    /// Pushes a blob and pulls it once.
    async fn warm(&self, client: &Client, size: usize) -> (String, Bytes) {
        let blob = random_bytes(size as u64, size);
        let wanted = self.hub.push_blob("library/app", blob.clone());
        assert!(client.blob("app", &wanted).await.expect(200).body == blob, "{size}");
        self.stored(&wanted).await;
        (wanted, blob)
    }

    /// Waits until the bucket holds a blob.
    async fn stored(&self, wanted: &str) {
        let path = path(wanted);
        for _ in 0..200 {
            if self.seaweed.objects("blobs").await.contains(&path) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} is not in the bucket: {:?}", self.seaweed.objects("blobs").await);
    }
}

fn path(wanted: &str) -> String {
    let hex = wanted.strip_prefix("sha256:").unwrap();
    format!("cache/sha256/{}/{hex}", &hex[..2])
}

async fn client(cluster: &Cluster) -> Client {
    let client = cluster.anonymous();
    client.token("app").await;
    client
}

/// How often a node has asked the store for `operation`.
async fn requests(cluster: &Cluster, operation: &str) -> f64 {
    let label = format!("operation=\"{operation}\"");
    cluster.metric("roadstead_store_requests_total", &[&label]).await
}

#[tokio::test]
async fn what_is_fetched_is_in_the_bucket_and_what_is_hot_costs_it_nothing() {
    let stage = Stage::new().await;
    // The scrub reads what is stored, which is not what is asked about here.
    let cluster = stage.node(&["--scrub-rate", "0"]).await;
    let client = client(&cluster).await;
    for size in [0, 1000, 300_000, LARGE] {
        let (wanted, blob) = stage.warm(&client, size).await;
        client.blob_hit("app", &wanted).await;
        let asked = requests(&cluster, "get").await;
        for _ in 0..3 {
            assert!(client.blob_hit("app", &wanted).await.body == blob, "{size}");
        }
        assert_eq!(requests(&cluster, "get").await, asked, "{size}");
    }
    assert!(requests(&cluster, "put_part").await >= 3.0, "the large one went up in parts");
}
