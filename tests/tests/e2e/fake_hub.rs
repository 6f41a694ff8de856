//! The fake hub itself: real clients take it for a registry, and its faults are what they say.

use std::time::Duration;

use http::Method;
use roadstead_tests::{
    client,
    engines::{DebianRegistry, DockerEngine, Podman, skopeo},
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, Realm, When},
    image::{Format, Image, ImageBuilder, Index, digest, random_bytes},
};

fn open() -> HubOptions {
    HubOptions { auth: AuthMode::Open, ..HubOptions::default() }
}

#[tokio::test]
async fn real_clients_pull_straight_from_the_fake_hub() {
    let hub = Hub::start_with(HubOptions { cdn: true, ..HubOptions::default() }).await;
    let index = Index::two_platforms(Format::Docker, 1);
    hub.push_index("library/app", "1", &index);
    hub.push("library/oci", "1", &ImageBuilder::new(Format::Oci).file("a", b"a").file("b", b"b").build());
    hub.add_user("alice", "s3cret");
    hub.make_private("library/oci", &["alice"]);
    let image = format!("{}/library/app:1", hub.address());
    let private = format!("{}/library/oci:1", hub.address());

    let engine = DockerEngine::start().await;
    engine.docker(&["pull", &image]).await.ok();
    engine.docker(&["pull", &private]).await.failed();
    engine.docker_with_input(&["login", &hub.address(), "-u", "alice", "--password-stdin"], "s3cret").await.ok();
    engine.docker(&["pull", &private]).await.ok();
    engine.ctr(&["images", "pull", "--plain-http", &image]).await.ok();
    Podman::new().podman(&["pull", "--tls-verify=false", "--creds", "alice:s3cret", &private]).await.ok();
    let inspected = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{image}")]).await.ok();
    assert!(inspected.contains(&digest(&index.manifest)), "{inspected}");
    assert_eq!(hub.requests(&When::kind(Kind::Cdn)).iter().filter(|request| request.status() != 200).count(), 0);
}

#[tokio::test]
async fn debians_registry_takes_and_gives_an_image() {
    let hub = Hub::start_with(open()).await;
    hub.push("library/app", "1", &Image::small(1));
    let registry = DebianRegistry::start().await;
    let (from, to) =
        (format!("docker://{}/library/app:1", hub.address()), format!("docker://{}/app:1", registry.address()));
    skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]).await.ok();
    let inspected = skopeo(&["inspect", "--tls-verify=false", &to]).await.ok();
    assert!(inspected.contains(&Image::small(1).digest()), "{inspected}");
}

#[tokio::test]
async fn tokens_are_scoped_checked_and_expire() {
    let realm = Realm::Separate("localhost".into());
    let hub =
        Hub::start_with(HubOptions { realm, token_lifetime: Duration::from_millis(300), ..HubOptions::default() })
            .await;
    hub.push("library/a", "1", &Image::small(1));
    hub.push("library/b", "1", &Image::small(2));
    let http = client::http();
    let manifest = |name: &str| format!("{}/v2/library/{name}/manifests/1", hub.url());
    let refused = client::read(http.get(manifest("a")).send().await).await.unwrap().expect(401);
    assert!(refused.header("www-authenticate").contains("repository:library/a:pull"), "{refused:?}");
    let url = format!(
        "http://localhost:{}/token?scope=repository:library/a:pull",
        hub.token_service_address().split(':').nth(1).unwrap()
    );
    let token = client::read(http.get(url).send().await).await.unwrap().expect(200).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let pull =
        async |name: &str| client::read(http.get(manifest(name)).bearer_auth(&token).send().await).await.unwrap();
    pull("a").await.expect(200);
    pull("b").await.expect(401);
    tokio::time::sleep(Duration::from_millis(350)).await;
    pull("a").await.expect(401);
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let hub = Hub::start_with(open()).await;
    let blob = random_bytes(1, 300_000);
    let wanted = hub.push_blob("library/a", blob.clone());
    let http = client::http();
    let url = format!("{}/v2/library/a/blobs/{wanted}", hub.url());
    let ask = async |method: Method, range: Option<&str>| {
        let request = http.request(method, &url);
        client::read(range.into_iter().fold(request, |request, range| request.header("range", range)).send().await)
            .await
    };
    let part = ask(Method::GET, Some("bytes=100-199")).await.unwrap().expect(206);
    assert_eq!(
        (part.body, part.headers["content-range"].to_str().unwrap()),
        (blob.slice(100..200), "bytes 100-199/300000")
    );
    ask(Method::GET, Some("bytes=300000-")).await.unwrap().expect(416);

    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(100_000), 1);
    let mut cut = http.get(&url).send().await.unwrap();
    let mut got = 0;
    while let Ok(Some(piece)) = cut.chunk().await {
        got += piece.len();
    }
    assert_eq!(got, 100_000, "a cut body ends where it was cut");
    assert_eq!(ask(Method::GET, None).await.unwrap().expect(200).body, blob, "once is once");

    hub.fault_times(When::get(Kind::Blob), Fault::Corrupt(5), 1);
    assert_ne!(digest(&ask(Method::GET, None).await.unwrap().body), wanted);
    hub.fault_times(When::get(Kind::Blob), Fault::NoRange, 1);
    ask(Method::GET, Some("bytes=1-")).await.unwrap().expect(200);
    hub.fault_times(When::any(), Fault::Reset, 1);
    ask(Method::GET, None).await.unwrap_err();
    hub.fault_times(When::head(Kind::Blob), Fault::Status(405), 1);
    ask(Method::HEAD, None).await.unwrap().expect(405);

    let gate = Gate::closed();
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    let mut gated = http.get(&url).send().await.unwrap();
    gate.release(10);
    assert_eq!(gated.chunk().await.unwrap().unwrap(), blob.slice(..10));
    gate.open();
    gated.bytes().await.unwrap();

    hub.down().await;
    assert!(ask(Method::GET, None).await.unwrap_err().is_connect());
    hub.up();
    ask(Method::GET, None).await.unwrap().expect(200);
}
