//! The clients people have: Docker Engine, containerd, podman, skopeo, in front of the fake hub and of a real registry.

use std::fs;

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    engines::{DebianRegistry, DockerEngine, Podman, skopeo, skopeo_with_home},
    hub::{Hub, HubOptions, Kind, When},
    image::{Format, Image, ImageBuilder, Index, digest, random_bytes},
};

/// Docker Hub as it is: tokens, CDN; with `library/app:latest` for two platforms, one layer of it large.
async fn hub_and_cluster() -> (Hub, Cluster, Index) {
    let hub = Hub::start_with(HubOptions { cdn: true, ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    let image = |architecture: &str| {
        let builder = ImageBuilder::new(Format::Docker).architecture(architecture);
        builder.file("platform.txt", architecture.as_bytes()).file("large.bin", &random_bytes(1, 5_000_000)).build()
    };
    let index = Index::new(Format::Docker, vec![image("amd64"), image("arm64")]);
    hub.push_index("library/app", "latest", &index);
    (hub, cluster, index)
}

#[tokio::test]
async fn docker_engine_pulls_cold_warm_and_without_upstream_and_builds_from_it() {
    let (hub, cluster, index) = hub_and_cluster().await;
    let engine = DockerEngine::start().await;
    let image = cluster.image("app:latest");
    engine.docker(&["pull", &image]).await.ok();
    let amd64 = &index.images[0];
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 2, "the list and one platform:\n{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Cdn)), amd64.blobs().count(), "{}", hub.log());

    engine.docker(&["image", "rm", &image]).await.ok();
    hub.forget_requests();
    engine.docker(&["pull", &image]).await.ok();
    assert_eq!(hub.count(&When::any()), hub.count(&When::head(Kind::Manifest)), "only HEADs:\n{}", hub.log());
    assert!((1..=2).contains(&hub.count(&When::any())), "{}", hub.log());

    engine.docker(&["image", "rm", &image]).await.ok();
    hub.down().await;
    engine.docker(&["pull", &image]).await.ok();
    let context = engine.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("added.txt"), "added").unwrap();
    fs::write(context.join("Dockerfile"), format!("FROM {image}\nCOPY added.txt /added.txt\n")).unwrap();
    engine.docker(&["image", "rm", &image]).await.ok();
    engine.docker(&["build", "--tag", "built", context.to_str().unwrap()]).await.ok();
    let inspected = engine.docker(&["image", "inspect", "built"]).await.ok();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&inspected).unwrap()[0]["RootFS"]["Layers"].as_array().unwrap().len(),
        3
    );
    // What is not cached fails in words that people understand.
    let failed = engine.docker(&["pull", &cluster.image("other:latest")]).await.failed();
    assert!(!failed.contains("unexpected end of JSON"), "{failed}");
}

#[tokio::test]
async fn docker_engine_logs_in_with_a_deploy_token_and_is_refused_without() {
    let (_hub, cluster, _) = hub_and_cluster().await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let engine = DockerEngine::start().await;
    let image = format!("{}/acme/dependency_proxy/containers/app:latest", cluster.registry);
    engine.docker(&["pull", &image]).await.failed();
    let registry = cluster.registry.to_string();
    let login = ["login", &registry, "--username", &token.username, "--password-stdin"];
    engine.docker_with_input(&login, "wrong").await.failed();
    engine.docker_with_input(&login, &token.token).await.ok();
    engine.docker(&["pull", &image]).await.ok();
    let other = format!("{}/other/dependency_proxy/containers/app:latest", cluster.registry);
    engine.docker(&["pull", &other]).await.failed();
    engine.docker(&["logout", &registry]).await.ok();
}

#[tokio::test]
async fn containerd_pulls_every_byte() {
    let (hub, cluster, index) = hub_and_cluster().await;
    let engine = DockerEngine::start().await;
    let image = cluster.image("app:latest");
    let hosts = engine.path("hosts").join(cluster.registry.to_string());
    fs::create_dir_all(&hosts).unwrap();
    let settings = format!("[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", cluster.url());
    fs::write(hosts.join("hosts.toml"), settings).unwrap();
    let hosts = engine.path("hosts");
    engine.ctr(&["images", "pull", "--hosts-dir", hosts.to_str().unwrap(), &image]).await.ok();
    let listed = engine.ctr(&["images", "check"]).await.ok();
    assert!(listed.contains("complete"), "{listed}");
    assert_eq!(hub.count(&When::get(Kind::Cdn)), index.images[0].blobs().count(), "{}", hub.log());
}

#[tokio::test]
async fn podman_pulls_with_and_without_signing_in() {
    let (_hub, cluster, _) = hub_and_cluster().await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let podman = Podman::new();
    podman.podman(&["pull", "--tls-verify=false", &cluster.image("app:latest")]).await.ok();
    let image = format!("{}/acme/dependency_proxy/containers/app:latest", cluster.registry);
    podman.podman(&["pull", "--tls-verify=false", &image]).await.failed();
    let (registry, username) = (cluster.registry.to_string(), &token.username);
    let login = ["login", "--tls-verify=false", "--username", username, "--password", &token.token, &registry];
    podman.podman(&login).await.ok();
    podman.podman(&["pull", "--tls-verify=false", &image]).await.ok();
}

#[tokio::test]
async fn skopeo_copies_every_platform_and_inspects() {
    let (_hub, cluster, index) = hub_and_cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let source = format!("docker://{}", cluster.image("app:latest"));
    let target = format!("oci:{}:app", folder.path().join("copy").display());
    skopeo(&["copy", "--all", "--src-tls-verify=false", &source, &target]).await.ok();
    let inspected = skopeo(&["inspect", "--tls-verify=false", &source]).await.ok();
    assert!(inspected.contains(&digest(&index.manifest)), "{inspected}");
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &source]).await.ok();
    assert_eq!(raw.as_bytes(), &index.manifest[..]);
    let tags = format!("docker://{}", cluster.image("app"));
    assert!(skopeo(&["list-tags", "--tls-verify=false", &tags]).await.ok().contains("latest"));
}

#[tokio::test]
async fn a_real_registry_is_pulled_through_by_real_clients() {
    // An image made here, pushed to Debian's registry, pulled back through the proxy byte for byte.
    let source = Hub::start().await;
    let index = Index::two_platforms(Format::Oci, 1);
    source.push_index("library/app", "1.0", &index);
    source.push("library/single", "1.0", &Image::small(1));
    let registry = DebianRegistry::start().await;
    for name in ["app", "single"] {
        let from = format!("docker://{}/library/{name}:1.0", source.address());
        let to = format!("docker://{}/library/{name}:1.0", registry.address());
        let push = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
        skopeo(&push).await.ok();
    }
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let url = format!("http://{}", registry.address());
    cluster.cli(&["upstream", "set", "docker.io", "--url", &url]).await.ok();
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;

    let client = cluster.client("acme", &token);
    let pulled = client.manifest("app", "1.0").await.expect(200);
    assert_eq!((pulled.header("content-type"), &pulled.body), (index.media_type.as_str(), &index.manifest));
    client.blob("app", &digest(b"not there")).await.expect_error(404, "BLOB_UNKNOWN");

    let engine = DockerEngine::start().await;
    engine.docker(&["pull", &cluster.image("app:1.0")]).await.ok();
    engine.docker(&["pull", &cluster.image("single:1.0")]).await.ok();
    let home = tempfile::tempdir().unwrap();
    let host = cluster.registry.to_string();
    let login = ["login", "--tls-verify=false", "-u", &token.username, "-p", &token.token, &host];
    skopeo_with_home(home.path(), &login).await.ok();
    let image = format!("docker://{host}/acme/dependency_proxy/containers/app:1.0");
    let copy = format!("dir:{}", home.path().join("copy").display());
    skopeo_with_home(home.path(), &["copy", "--all", "--src-tls-verify=false", &image, &copy]).await.ok();
    let manifest = fs::read(home.path().join("copy/manifest.json")).unwrap();
    assert_eq!(digest(&manifest), digest(&index.manifest));
}
