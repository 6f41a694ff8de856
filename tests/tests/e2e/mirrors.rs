//! Any registry, by every name it has, and as a mirror: containerd, Docker Engine and podman pull through the product without
//! anybody writing its address into an image's name.

use std::{collections::HashMap, fs};

use http::{Method, StatusCode};
use roadstead_tests::{
    client::{self, Answer},
    cluster::{Cluster, ClusterOptions},
    engines::{DockerEngine, Podman},
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::{Format, Image, ImageBuilder, Index, digest},
    process::run_command,
};

/// Upstreams by the names that images have for them.
struct Upstreams(HashMap<&'static str, Hub>);

impl Upstreams {
    /// One hub for each host, and the product before them, which knows them by these names.
    async fn start(hosts: &[&'static str], options: ClusterOptions) -> (Self, Cluster) {
        let cluster = Cluster::start_bare(options).await;
        let mut hubs = HashMap::new();
        for host in hosts {
            // Basic, bearer and none at all: registries differ.
            let auth = if *host == "docker.io" { AuthMode::Bearer } else { AuthMode::Open };
            let hub = Hub::start_with(HubOptions { auth, ..HubOptions::default() }).await;
            cluster.cli(&["upstream", "set", host, "--url", &hub.url()]).await.ok();
            hubs.insert(*host, hub);
        }
        (Self(hubs), cluster)
    }

    fn at(&self, host: &str) -> &Hub {
        &self.0[host]
    }

    /// Pushes an image that tells where it is.
    fn push(&self, host: &str, repository: &str, tag: &str) -> Image {
        let image =
            ImageBuilder::new(Format::Docker).file("where.txt", format!("{host}/{repository}").as_bytes()).build();
        self.at(host).push(repository, tag, &image);
        image
    }

    fn forget(&self) {
        self.0.values().for_each(Hub::forget_requests);
    }

    /// Which of them were asked for content.
    fn asked(&self) -> Vec<&'static str> {
        let mut asked: Vec<_> = self
            .0
            .iter()
            .filter(|(_, hub)| hub.count(&When::kind(Kind::Manifest)) > 0)
            .map(|(host, _)| *host)
            .collect();
        asked.sort_unstable();
        asked
    }
}

#[tokio::test]
async fn every_form_of_a_name_leads_to_its_registry() {
    let (hubs, cluster) =
        Upstreams::start(&["docker.io", "ghcr.io", "quay.io", "registry.test:5000"], ClusterOptions::default()).await;
    // Names without a host mean this group's first upstream, which is not Docker Hub.
    let upstreams = ["quay.io", "docker.io", "ghcr.io", "registry.test:5000"];
    let create: Vec<&str> = upstreams.iter().flat_map(|host| ["--upstream", host]).collect();
    cluster.cli(&[&["group", "create", "acme"][..], &create].concat()).await.ok();
    let token = cluster.create_token("acme").await;
    let quay = cluster.client("acme", &token);
    let hub = cluster.client_of_new_group("plain").await;
    for (client, name, ns, host, repository) in [
        (&hub, "alpine", "", "docker.io", "library/alpine"),
        (&hub, "library/alpine", "", "docker.io", "library/alpine"),
        (&hub, "docker.io/alpine", "", "docker.io", "library/alpine"),
        (&hub, "docker.io/library/alpine", "", "docker.io", "library/alpine"),
        (&hub, "index.docker.io/library/alpine", "", "docker.io", "library/alpine"),
        (&hub, "grafana/grafana", "", "docker.io", "grafana/grafana"),
        (&hub, "library/alpine", "docker.io", "docker.io", "library/alpine"),
        (&quay, "alpine", "", "quay.io", "alpine"),
        (&quay, "library/alpine", "", "quay.io", "library/alpine"),
        (&quay, "docker.io/library/alpine", "", "docker.io", "library/alpine"),
        (&quay, "library/alpine", "docker.io", "docker.io", "library/alpine"),
        (&quay, "alpine", "docker.io", "docker.io", "library/alpine"),
        (&quay, "ghcr.io/org/app", "", "ghcr.io", "org/app"),
        (&quay, "org/app", "ghcr.io", "ghcr.io", "org/app"),
        (&quay, "quay.io/a/b/c", "", "quay.io", "a/b/c"),
        (&quay, "a/b/c", "", "quay.io", "a/b/c"),
        (&quay, "registry.test:5000/x", "", "registry.test:5000", "x"),
        (&quay, "x", "registry.test:5000", "registry.test:5000", "x"),
        (&quay, "ghcr.io/org/app", "quay.io", "ghcr.io", "org/app"),
    ] {
        let image = hubs.push(host, repository, "1.0");
        hubs.forget();
        let query = if ns.is_empty() { String::new() } else { format!("?ns={ns}") };
        for reference in ["1.0".to_owned(), image.digest()] {
            let answer = client.ask(Method::GET, name, &format!("manifests/{reference}{query}"), &[]).await.expect(200);
            assert_eq!(answer.body, image.manifest, "{name} {ns}");
            assert_eq!(answer.header("docker-content-digest"), image.digest());
        }
        let layer = digest(&image.layers[0]);
        let blob = client.ask(Method::GET, name, &format!("blobs/{layer}{query}"), &[]).await.expect(200);
        assert_eq!(blob.body, image.layers[0], "{name} {ns}");
        assert_eq!(hubs.asked(), [host], "{name} {ns}");
    }
    // A group has only the upstreams that it was given.
    let refused = hub.manifest("ghcr.io/org/app", "1.0").await.expect_error(403, "DENIED");
    assert!(String::from_utf8_lossy(&refused.body).contains("ghcr.io"), "{refused:?}");
    hub.ask(Method::GET, "org/app", "manifests/1.0?ns=ghcr.io", &[]).await.expect_error(403, "DENIED");
}

/// Pulls as Docker Engine does at an address without groups: a request, the challenge, the sign-in, the request again.
async fn ask_mirror(cluster: &Cluster, host: &str, path: &str, user: Option<(&str, &str)>) -> Answer {
    let (http, url) = (client::http(), format!("{}{path}", cluster.url()));
    let first = client::read(http.get(&url).header("host", host).send().await).await.unwrap();
    if first.status != StatusCode::UNAUTHORIZED {
        return first;
    }
    let challenge = first.header("www-authenticate").to_owned();
    let value =
        |name: &str| challenge.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let realm = value("realm");
    assert!(realm.contains(host) || realm.contains(&cluster.registry.to_string()), "{challenge}");
    let token_url = format!("{}/jwt/auth", cluster.url());
    let query = [("service", value("service")), ("scope", value("scope"))];
    let mut request = http.get(token_url).header("host", host).query(&query);
    if let Some((name, password)) = user {
        request = request.basic_auth(name, Some(password));
    }
    let signed_in = client::read(request.send().await).await.unwrap();
    if signed_in.status != StatusCode::OK {
        return signed_in;
    }
    let token = signed_in.json()["token"].as_str().unwrap().to_owned();
    client::read(http.get(url).header("host", host).bearer_auth(token).send().await).await.unwrap()
}

#[tokio::test]
async fn bare_names_mean_the_mirrors_group_and_docker_hub() {
    let arguments = ["--mirror-group", "acme", "--mirror-host", "open.test=default", "--mirror-host", "gone.test=gone"];
    let options = ClusterOptions { arguments: arguments.map(str::to_owned).to_vec(), ..ClusterOptions::default() };
    let (hubs, cluster) = Upstreams::start(&["docker.io", "quay.io"], options).await;
    let create = ["group", "create", "acme", "--upstream", "quay.io", "--upstream", "docker.io"];
    cluster.cli(&create).await.ok();
    let token = cluster.create_token("acme").await;
    let alice = Some((token.username.as_str(), token.token.as_str()));
    let image = hubs.push("docker.io", "library/alpine", "3.20");
    let other = hubs.push("quay.io", "a/b", "1");
    hubs.push("quay.io", "library/alpine", "3.20");

    // By the listener: a private group, so with credentials.
    let own = cluster.registry.to_string();
    let manifest = "/v2/library/alpine/manifests/3.20";
    let pulled = ask_mirror(&cluster, &own, manifest, alice).await.expect(200);
    assert_eq!(pulled.body, image.manifest, "Docker Hub's, whatever the group's default is");
    let layer = digest(&image.layers[0]);
    let blob = ask_mirror(&cluster, &own, &format!("/v2/library/alpine/blobs/{layer}"), alice).await.expect(200);
    assert_eq!(blob.body, image.layers[0]);
    let tags = ask_mirror(&cluster, &own, "/v2/library/alpine/tags/list", alice).await.expect(200).json();
    assert_eq!((&tags["name"], &tags["tags"][0]), (&"library/alpine".into(), &"3.20".into()));
    for path in ["/v2/quay.io/a/b/manifests/1", "/v2/a/b/manifests/1?ns=quay.io"] {
        assert_eq!(ask_mirror(&cluster, &own, path, alice).await.expect(200).body, other.manifest, "{path}");
    }
    // Whole names go on meaning what they say.
    let whole = "/v2/default/dependency_proxy/containers/library/alpine/manifests/3.20";
    assert_eq!(ask_mirror(&cluster, &own, whole, None).await.expect(200).body, image.manifest);
    // Without credentials a private group shows nothing.
    let refused = ask_mirror(&cluster, &own, manifest, None).await;
    assert!(refused.status.is_client_error(), "{refused:?}");

    // By host name, with and without a port: a group that admits everybody here.
    for host in ["open.test", "OPEN.test:5000"] {
        assert_eq!(ask_mirror(&cluster, host, manifest, None).await.expect(200).body, image.manifest, "{host}");
    }
    assert!(ask_mirror(&cluster, "gone.test", manifest, None).await.status.is_client_error());
    // A token for one group's mirror opens no other's.
    let scope = [("service", "dependency_proxy"), ("scope", "repository:library/alpine:pull")];
    let http = client::http();
    let asked = http.get(format!("{}/jwt/auth", cluster.url())).header("host", "open.test").query(&scope);
    let token =
        client::read(asked.send().await).await.unwrap().expect(200).json()["token"].as_str().unwrap().to_owned();
    let elsewhere = http.get(format!("{}{manifest}", cluster.url())).bearer_auth(token);
    client::read(elsewhere.send().await).await.unwrap().expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn without_a_mirror_bare_names_lead_nowhere() {
    let (_hubs, cluster) = Upstreams::start(&["docker.io"], ClusterOptions::default()).await;
    let own = cluster.registry.to_string();
    ask_mirror(&cluster, &own, "/v2/library/alpine/manifests/3.20", None).await.expect_error(404, "NAME_UNKNOWN");
}

/// Docker Hub with `library/alpine:3.20` for two platforms, and ghcr.io with `org/app:1`; `default` may use both.
async fn mirrored(options: ClusterOptions) -> (Upstreams, Cluster, Index) {
    let (hubs, cluster) = Upstreams::start(&["docker.io", "ghcr.io"], options).await;
    let update = ["group", "update", "default", "--upstream", "docker.io", "--upstream", "ghcr.io"];
    cluster.cli(&update).await.ok();
    let index = Index::two_platforms(Format::Docker, 1);
    hubs.at("docker.io").push_index("library/alpine", "3.20", &index);
    hubs.push("ghcr.io", "org/app", "1");
    (hubs, cluster, index)
}

/// Returns the file that `mirror-config` prints for a client of `default`.
async fn mirror_config(cluster: &Cluster, client: &str, upstream: &str) -> String {
    let arguments = ["mirror-config", "default", "--for", client, "--upstream", upstream];
    cluster.cli(&arguments).await.ok()
}

#[tokio::test]
async fn docker_engine_pulls_through_its_registry_mirror() {
    let arguments = ["--mirror-group", "default"].map(str::to_owned).to_vec();
    let (hubs, cluster, index) = mirrored(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let settings = cluster.folder().join("daemon.json");
    fs::write(&settings, mirror_config(&cluster, "docker", "docker.io").await).unwrap();
    let engine = DockerEngine::start_with(&["--config-file", settings.to_str().unwrap()]).await;
    // There is no internet here, and the name says nothing of us: a pull that succeeds came through the mirror.
    engine.docker(&["pull", "alpine:3.20"]).await.ok();
    let hub = hubs.at("docker.io");
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 2, "the list and one platform:\n{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), index.images[0].blobs().count(), "{}", hub.log());
    engine.docker(&["image", "rm", "alpine:3.20"]).await.ok();
    hub.down().await;
    engine.docker(&["pull", "alpine:3.20"]).await.ok();
    engine.docker(&["pull", &format!("alpine@{}", digest(&index.manifest))]).await.ok();
}

#[tokio::test]
async fn containerd_pulls_through_its_hosts_file() {
    let (hubs, cluster, index) = mirrored(ClusterOptions::default()).await;
    let engine = DockerEngine::start().await;
    let hosts = engine.path("hosts");
    for host in ["docker.io", "ghcr.io"] {
        fs::create_dir_all(hosts.join(host)).unwrap();
        let settings = mirror_config(&cluster, "containerd", host).await;
        fs::write(hosts.join(host).join("hosts.toml"), settings).unwrap();
    }
    let hosts = hosts.to_str().unwrap();
    engine.ctr(&["images", "pull", "--hosts-dir", hosts, "docker.io/library/alpine:3.20"]).await.ok();
    let hub = hubs.at("docker.io");
    assert_eq!(hub.count(&When::get(Kind::Blob)), index.images[0].blobs().count(), "{}", hub.log());
    engine.ctr(&["images", "pull", "--hosts-dir", hosts, "ghcr.io/org/app:1"]).await.ok();
    assert_eq!(hubs.asked(), ["docker.io", "ghcr.io"], "each was asked for its own");
    let checked = engine.ctr(&["images", "check"]).await.ok();
    assert_eq!(checked.matches("complete").count(), 2, "{checked}");
}

#[tokio::test]
async fn containerd_signs_in_at_a_mirror_whose_group_is_private() {
    let (_hubs, cluster, _) = mirrored(ClusterOptions::default()).await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let engine = DockerEngine::start().await;
    let hosts = engine.path("hosts");
    fs::create_dir_all(hosts.join("docker.io")).unwrap();
    let settings = cluster.cli(&["mirror-config", "acme", "--for", "containerd"]).await.ok();
    fs::write(hosts.join("docker.io/hosts.toml"), settings).unwrap();
    let pull = ["images", "pull", "--hosts-dir", hosts.to_str().unwrap()];
    let image = "docker.io/library/alpine:3.20";
    engine.ctr(&[&pull[..], &[image]].concat()).await.failed();
    let user = format!("{}:{}", token.username, token.token);
    engine.ctr(&[&pull[..], &["--user", &user, image]].concat()).await.ok();
}

#[tokio::test]
async fn podman_pulls_through_its_registries_file() {
    let (hubs, cluster, index) = mirrored(ClusterOptions::default()).await;
    let podman = Podman::new();
    let mut settings = String::new();
    for host in ["docker.io", "ghcr.io"] {
        settings.push_str(&mirror_config(&cluster, "podman", host).await);
    }
    fs::write(podman.registries_conf(), settings).unwrap();
    podman.podman(&["pull", "docker.io/library/alpine:3.20"]).await.ok();
    let hub = hubs.at("docker.io");
    assert_eq!(hub.count(&When::get(Kind::Blob)), index.images[0].blobs().count(), "{}", hub.log());
    podman.podman(&["pull", "ghcr.io/org/app:1"]).await.ok();
    assert_eq!(hubs.asked(), ["docker.io", "ghcr.io"]);
}

#[tokio::test]
async fn the_docs_show_what_mirror_config_prints() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mirrors.md")).unwrap();
    let cluster = Cluster::prepare(ClusterOptions::default());
    for client in ["containerd", "docker", "podman", "k3s", "buildkit"] {
        let arguments = ["mirror-config", "acme", "--registry", "https://proxy.example", "--for", client, "-o", "json"];
        // It asks nobody: there is no server.
        let printed = run_command(cluster.command(&arguments).into(), "").await.ok();
        let file: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let content = file["content"].as_str().unwrap();
        assert!(docs.contains(content), "docs/mirrors.md does not show this file for {client}:\n{content}");
    }
}
