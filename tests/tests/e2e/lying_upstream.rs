//! A HEAD proves a right only to bytes that came from the same upstream. An upstream that says yes to anything opens nothing
//! that others have from elsewhere: not what is stored, not what is arriving, on no node.
//!
//! The liar answers every HEAD as if it had the content, size and digest included, and has nothing to send.

use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    cluster::{Cluster, ClusterOptions},
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
    seaweed::Seaweed,
    store_files,
};

use crate::{
    cluster_fill::node::{Node, three},
    soon,
};

const HOST: &str = "other.example";

async fn open_hub() -> Hub {
    Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await
}

/// A hub that has `secret/app` for group `one`, and another upstream that group `two` has for its own.
struct Stage {
    hub: Hub,
    other: Hub,
    cluster: Cluster,
    one: Client,
    two: Client,
    image: Image,
    layer: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(ClusterOptions::default()).await
    }

    async fn with(options: ClusterOptions) -> Self {
        let (hub, other) = (open_hub().await, open_hub().await);
        let cluster = Cluster::start_with(&hub, options).await;
        let image = Image::small(1);
        hub.push("secret/app", "latest", &image);
        let one = cluster.client_of_new_group("one").await;
        let two = client_of(&cluster, &other, "two").await;
        let layer = digest(&image.layers[0]);
        Self { hub, other, cluster, one, two, image, layer }
    }

    /// Likewise where group `one` has pulled the image.
    async fn pulled(options: ClusterOptions) -> Self {
        let stage = Self::with(options).await;
        stage.one.manifest("secret/app", "latest").await.expect(200);
        stage.one.manifest("secret/app", &stage.image.digest()).await.expect(200);
        soon(200, async || stage.one.blob("secret/app", &stage.layer).await).await;
        stage
    }
}

/// A client of a new group whose only upstream is `other`.
async fn client_of(cluster: &Cluster, other: &Hub, group: &str) -> Client {
    cluster.cli(&["upstream", "set", HOST, "--url", &other.url()]).await.ok();
    cluster.cli(&["group", "create", group, "--upstream", HOST]).await.ok();
    let token = cluster.create_token(group).await;
    let client = cluster.client(group, &token);
    soon(200, async || client.sign_in("secret/app").await).await;
    client
}

/// Makes the upstream claim to have the image, and send nothing of it.
fn lies_about(other: &Hub, image: &Image) {
    other.push("secret/app", "latest", image);
    lies(other);
}

fn lies(other: &Hub) {
    for kind in [Kind::Blob, Kind::Manifest] {
        other.fault(When::get(kind), Fault::Status(404));
    }
}

#[track_caller]
fn is_nothing(answer: &Answer) {
    assert_eq!(answer.status.as_u16(), 404, "{answer:?}");
    assert!(answer.body.starts_with(b"{\"errors\""), "{answer:?}");
    assert_eq!((answer.cache(), answer.header("age"), answer.header("location")), ("", "", ""), "{answer:?}");
}

#[tokio::test]
async fn a_head_of_another_upstream_opens_nothing_that_is_stored() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    lies_about(&stage.other, &stage.image);
    let (two, image, layer) = (&stage.two, &stage.image, &stage.layer);
    // Whatever is asked for first, and again: no answer leads to a link.
    for _ in 0..2 {
        two.ask(Method::HEAD, "secret/app", &format!("blobs/{layer}"), &[]).await;
        two.ask(Method::HEAD, "secret/app", &format!("manifests/{}", image.digest()), &[]).await;
        is_nothing(&two.blob("secret/app", layer).await);
        is_nothing(&two.blob_range("secret/app", layer, "bytes=0-9").await);
        is_nothing(&two.manifest("secret/app", &image.digest()).await);
        is_nothing(&two.manifest("secret/app", "latest").await);
        // What is a manifest can be asked for as a blob.
        is_nothing(&two.blob("secret/app", &image.digest()).await);
    }
    assert!(stage.other.count(&When::get(Kind::Blob)) > 0, "{}", stage.other.log());
    let prefetch = format!("secret/app@{}", image.digest());
    assert_ne!(stage.cluster.cli(&["cache", "prefetch", "two", &prefetch]).await.code, 0);
    let listed = stage.cluster.cli_json(&["cache", "list", "two"]).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
    assert_eq!(stage.one.blob("secret/app", layer).await.expect(200).body, image.layers[0]);
}

#[tokio::test]
async fn a_head_of_another_upstream_opens_nothing_that_is_arriving() {
    let stage = Stage::new().await;
    let blob = random_bytes(4, 1_000_000);
    let wanted = stage.hub.push_blob("secret/app", blob.clone());
    stage.other.push_blob("secret/app", blob.clone());
    lies(&stage.other);
    let gate = Gate::closed();
    gate.release(500_000);
    stage.hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let mut first = stage.one.open_blob("secret/app", &wanted, &[]).await;
    let begun = first.chunk().await.unwrap().unwrap();
    for _ in 0..2 {
        is_nothing(&stage.two.blob("secret/app", &wanted).await);
        is_nothing(&stage.two.blob_range("secret/app", &wanted, "bytes=0-99").await);
    }
    gate.open();
    assert_eq!([begun, first.bytes().await.unwrap()].concat(), blob);
    is_nothing(&stage.two.blob("secret/app", &wanted).await);
}

#[tokio::test]
async fn downloads_from_two_upstreams_neither_wait_for_each_other_nor_take_each_other_over() {
    let stage = Stage::new().await;
    let blob = random_bytes(5, 1_000_000);
    let wanted = stage.hub.push_blob("secret/app", blob.clone());
    // The other upstream begins to send the blob, and goes on with nothing.
    stage.other.push_blob("secret/app", blob.clone());
    let (gate, never) = (Gate::closed(), Gate::closed());
    gate.release(1000);
    stage.other.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    let mut second = stage.two.open_blob("secret/app", &wanted, &[]).await;
    second.chunk().await.unwrap().unwrap();
    // Who may have it from elsewhere does not wait for that.
    assert_eq!(stage.one.blob("secret/app", &wanted).await.expect(200).body, blob);
    assert_eq!(stage.hub.count(&When::get(Kind::Blob)), 1, "{}", stage.hub.log());
    // Nor does the one that has it give the rest to the other.
    stage.other.fault(When::get(Kind::Blob), Fault::HoldAnswer(never.clone()));
    stage.other.fault(When::get(Kind::Blob), Fault::Status(404));
    stage.other.down().await;
    stage.other.up();
    never.open();
    gate.open();
    let mut got = 1000;
    while let Ok(Some(piece)) = second.chunk().await {
        got += piece.len();
    }
    assert!(got < blob.len(), "{got} bytes");
    is_nothing(&stage.two.blob("secret/app", &wanted).await);
}

#[tokio::test]
async fn an_upstream_that_truly_has_it_sends_it_once_and_its_heads_are_good_from_then_on() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    stage.other.push("secret/app", "latest", &stage.image);
    let three = client_of(&stage.cluster, &stage.other, "three").await;
    let first = stage.two.blob("secret/app", &stage.layer).await.expect(200);
    assert_eq!((first.cache(), first.header("age")), ("fill", ""), "{first:?}");
    assert_eq!(first.body, stage.image.layers[0]);
    assert_eq!(stage.two.manifest("secret/app", "latest").await.expect(200).body, stage.image.manifest);
    let gets = [When::get(Kind::Blob), When::get(Kind::Manifest)].map(|when| stage.other.count(&when));
    assert_eq!(gets, [1, 1], "{}", stage.other.log());
    // Both are sources now: whoever comes next, to either, needs a HEAD.
    stage.two.blob_hit("secret/app", &stage.layer).await;
    for hub in [&stage.hub, &stage.other] {
        hub.forget_requests();
    }
    let four = stage.cluster.client_of_new_group("four").await;
    for (client, hub) in [(&three, &stage.other), (&four, &stage.hub)] {
        for _ in 0..2 {
            assert_eq!(client.blob("secret/app", &stage.layer).await.expect(200).body, stage.image.layers[0]);
            let manifest = client.manifest("secret/app", &stage.image.digest()).await.expect(200);
            assert_eq!(manifest.body, stage.image.manifest);
        }
        assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "{}", hub.log());
        assert_eq!(hub.count(&When::head(Kind::Blob)), 1, "{}", hub.log());
        assert_eq!(hub.count(&When::head(Kind::Manifest)), 1, "{}", hub.log());
    }
    let blobs = store_files::blobs(&stage.cluster.data_dir().join("blobs"));
    assert_eq!(blobs.keys().filter(|stored| **stored == stage.layer).count(), 1);
    assert_eq!(stage.one.blob("secret/app", &stage.layer).await.expect(200).body, stage.image.layers[0]);
}

#[tokio::test]
async fn wrong_bytes_from_another_upstream_open_nothing_and_hurt_nobody() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    stage.other.push("secret/app", "latest", &stage.image);
    stage.other.fault(When::get(Kind::Blob), Fault::Corrupt(3));
    stage.other.fault(When::get(Kind::Manifest), Fault::Corrupt(3));
    for _ in 0..2 {
        let refused = stage.two.try_blob("secret/app", &stage.layer).await;
        assert!(refused.is_err_and(|_| true) || !stage.two.blob("secret/app", &stage.layer).await.status.is_success());
        let refused = stage.two.manifest("secret/app", &stage.image.digest()).await;
        assert!(!refused.status.is_success(), "{refused:?}");
    }
    assert_eq!(stage.one.blob("secret/app", &stage.layer).await.expect(200).body, stage.image.layers[0]);
}

#[tokio::test]
async fn a_head_that_names_no_size_or_another_proves_nothing() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    let blob = random_bytes(6, 300_000);
    let wanted = stage.hub.push_blob("secret/app", blob.clone());
    stage.one.blob_hit("secret/app", &wanted).await;
    for (group, of_blob, of_manifest) in
        [("bare", Fault::NoLength, Fault::NoDigestHeader), ("page", Fault::WebPage, Fault::WebPage)]
    {
        stage.hub.clear_faults();
        let client = stage.cluster.client_of_new_group(group).await;
        stage.hub.fault(When::head(Kind::Blob), of_blob);
        stage.hub.fault(When::head(Kind::Manifest), of_manifest);
        stage.hub.forget_requests();
        assert_eq!(client.blob("secret/app", &wanted).await.expect(200).body, blob);
        assert_eq!(stage.hub.count(&When::get(Kind::Blob)), 1, "{group}:\n{}", stage.hub.log());
        let manifest = client.manifest("secret/app", &stage.image.digest()).await.expect(200);
        assert_eq!(manifest.body, stage.image.manifest);
        assert_eq!(stage.hub.count(&When::get(Kind::Manifest)), 1, "{group}:\n{}", stage.hub.log());
    }
}

#[tokio::test]
async fn an_upstream_at_another_address_has_to_send_what_the_one_before_it_sent() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    lies_about(&stage.other, &stage.image);
    let four = stage.cluster.client_of_new_group("four").await;
    stage.cluster.cli(&["upstream", "set", "docker.io", "--url", &stage.other.url()]).await.ok();
    let asked = When::any();
    soon(404, async || four.blob("secret/app", &digest(b"nothing")).await).await;
    stage.other.wait_until(|other| other.count(&asked) > 0, "the new address").await;
    is_nothing(&four.blob("secret/app", &stage.layer).await);
    is_nothing(&four.manifest("secret/app", &stage.image.digest()).await);
}

#[tokio::test]
async fn answers_do_not_tell_whether_another_group_has_the_content() {
    let stage = Stage::pulled(ClusterOptions::default()).await;
    let unknown = Image::small(2);
    stage.hub.push("secret/app", "other", &unknown);
    let four = stage.cluster.client_of_new_group("four").await;
    let told = |answer: Answer| {
        let headers = ["x-cache", "age", "cache-control", "warning"].map(|name| answer.header(name).to_owned());
        (answer.status.as_u16(), headers)
    };
    for method in [Method::HEAD, Method::HEAD, Method::GET] {
        for what in ["blobs", "manifests"] {
            let name = |image: &Image| match what {
                "blobs" => digest(&image.layers[0]),
                _ => image.digest(),
            };
            let ask = async |image: &Image| {
                told(four.ask(method.clone(), "secret/app", &format!("{what}/{}", name(image)), &[]).await)
            };
            assert_eq!(ask(&stage.image).await, ask(&unknown).await, "{method} {what}");
        }
    }
}

#[tokio::test]
async fn nobody_is_sent_to_the_bucket_on_the_word_of_another_upstream() {
    let seaweed = Seaweed::start().await;
    seaweed.create_bucket("blobs").await;
    let endpoint = format!("http://{}", seaweed.address());
    let arguments = ["--storage", "s3://blobs/cache", "--s3-endpoint", &endpoint, "--redirect-blobs"];
    let options = ClusterOptions {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: Seaweed::environment("http://127.0.0.1:9"),
        ..ClusterOptions::default()
    };
    let stage = Stage::with(options).await;
    stage.one.blob("secret/app", &stage.layer).await.expect(200);
    soon(307, async || stage.one.blob("secret/app", &stage.layer).await).await;
    lies_about(&stage.other, &stage.image);
    for _ in 0..2 {
        is_nothing(&stage.two.blob("secret/app", &stage.layer).await);
    }
    // One that has it sends it, and the bucket keeps the one object that it has.
    stage.other.clear_faults();
    assert_eq!(stage.two.blob("secret/app", &stage.layer).await.expect(200).body, stage.image.layers[0]);
    soon(307, async || stage.two.blob("secret/app", &stage.layer).await).await;
    let objects = seaweed.objects("blobs").await;
    let hex = stage.layer.strip_prefix("sha256:").unwrap();
    assert_eq!(objects.iter().filter(|object| object.ends_with(hex)).count(), 1, "{objects:?}");
}

/// Three nodes, and what asks them.
struct Nodes {
    hub: Hub,
    other: Hub,
    _cluster: Cluster,
    nodes: Vec<Node>,
    /// A client of group `one` on each node.
    one: Vec<Client>,
    /// Likewise of group `two`, whose upstream is the other.
    two: Vec<Client>,
}

impl Nodes {
    async fn start() -> Self {
        let (hub, cluster, nodes, _) = three(AuthMode::Open).await;
        let other = open_hub().await;
        cluster.cli(&["upstream", "set", HOST, "--url", &other.url()]).await.ok();
        let one = Self::clients(&cluster, &nodes, "one", "docker.io").await;
        let two = Self::clients(&cluster, &nodes, "two", HOST).await;
        Self { hub, other, _cluster: cluster, nodes, one, two }
    }

    async fn clients(cluster: &Cluster, nodes: &[Node], group: &str, upstream: &str) -> Vec<Client> {
        cluster.cli(&["group", "create", group, "--upstream", upstream]).await.ok();
        let token = cluster.create_token(group).await;
        let mut clients = Vec::new();
        for node in nodes {
            let client = node.client(group, &token);
            soon(200, async || client.sign_in("secret/app").await).await;
            clients.push(client);
        }
        clients
    }
}

#[tokio::test]
async fn no_node_opens_to_another_what_came_from_another_upstream() {
    let Nodes { hub, other, one, two, nodes, .. } = &Nodes::start().await;
    let (image, gate) = (Image::small(1), Gate::closed());
    let blob = random_bytes(7, 4_000_000);
    let wanted = hub.push_blob("secret/app", blob.clone());
    other.push_blob("secret/app", blob.clone());
    hub.push("secret/app", "latest", &image);
    lies_about(other, &image);
    gate.release(2_000_000);
    hub.fault(When::get(Kind::Blob).at(&wanted), Fault::Gated(gate.clone()));
    let mut first = one[0].open_blob("secret/app", &wanted, &[]).await;
    let begun = first.chunk().await.unwrap().unwrap();
    // While it arrives at one node, on every node.
    for client in two {
        is_nothing(&client.blob("secret/app", &wanted).await);
    }
    gate.open();
    assert_eq!([begun, first.bytes().await.unwrap()].concat(), blob);
    assert_eq!(one[0].manifest("secret/app", &image.digest()).await.expect(200).body, image.manifest);
    // A moment later, while nodes are still sent to the one that has it.
    for client in two {
        is_nothing(&client.blob("secret/app", &wanted).await);
        is_nothing(&client.manifest("secret/app", &image.digest()).await);
    }
    // The other nodes of the group that may have it take it from there.
    assert_eq!(one[1].blob("secret/app", &wanted).await.expect(200).body, blob);
    assert_eq!(one[2].manifest("secret/app", &image.digest()).await.expect(200).body, image.manifest);
    assert_eq!(nodes.len(), 3);
}

#[tokio::test]
async fn an_upstream_that_truly_has_it_sends_it_once_for_all_nodes() {
    let Nodes { hub, other, one, two, .. } = &Nodes::start().await;
    let blob = random_bytes(8, 2_000_000);
    let wanted = hub.push_blob("secret/app", blob.clone());
    other.push_blob("secret/app", blob.clone());
    assert_eq!(one[0].blob("secret/app", &wanted).await.expect(200).body, blob);
    let pulls = futures_util::future::join_all(two.iter().map(|client| client.blob("secret/app", &wanted)));
    for pulled in pulls.await {
        assert_eq!(pulled.expect(200).body, blob);
    }
    assert_eq!(other.count(&When::get(Kind::Blob)), 1, "{}", other.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}
