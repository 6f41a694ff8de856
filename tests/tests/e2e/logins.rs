//! Signing in with the clients that people have, with every kind of credentials, and what a refusal looks like there.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use roadstead_proto::v1::{Role, UpdateGroupRequest, UpdateUserRequest, Visibility};
use roadstead_tests::{
    api::{Api, PULL},
    client::Client,
    cluster::{Cluster, DeployToken},
    engines::{DockerEngine, Podman, skopeo, skopeo_with_home},
    image::Image,
    issuer::{Issuer, Signer},
    process::Finished,
};
use serde_json::json;

use crate::open_pair;

const PASSWORD: &str = "correct horse battery";

/// Every kind of credentials that pull from acme.
struct Kinds {
    all: Vec<(&'static str, String, String)>,
    _issuer: Issuer,
}

async fn kinds(admin: &Api) -> Kinds {
    let signer = Signer::rsa("k1");
    let issuer = Issuer::start(&[&signer]).await;
    admin.group("acme", Visibility::Private, false).await;
    admin.user("alice", PASSWORD, false).await;
    admin.member("acme", "alice", Role::Guest).await;
    admin.allow_issuer(&issuer).await;
    admin.trust("acme", &issuer, "acme/*").await;
    let token = |what, token: DeployToken| (what, token.username, token.token);
    let all = vec![
        ("password", "alice".into(), PASSWORD.into()),
        token("personal", admin.personal("alice", &PULL).await),
        token("deploy", admin.deploy("acme", &PULL).await),
        token("access", admin.access("acme", Role::Guest, &PULL).await),
        token("job", admin.job("acme").await),
        ("oidc", "oidc".into(), signer.sign(&issuer.claims("acme/app"))),
    ];
    Kinds { all, _issuer: issuer }
}

/// `HOST:PORT/GROUP/dependency_proxy/containers/app:latest`.
fn image(cluster: &Cluster, group: &str) -> String {
    format!("{}/{group}/dependency_proxy/containers/app:latest", cluster.registry)
}

/// A refusal has to be words, and these among them.
#[track_caller]
fn reads(refused: Finished, words: &[&str]) {
    let said = refused.failed();
    assert!(!said.contains("unexpected end of JSON") && !said.contains("invalid character"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn docker_logs_in_and_pulls_with_every_kind_of_credentials() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let kinds = kinds(&cluster.admin()).await;
    let engine = DockerEngine::start().await;
    let (registry, image) = (cluster.registry.to_string(), image(&cluster, "acme"));
    for (what, name, password) in &kinds.all {
        let login = ["login", &registry, "--username", name, "--password-stdin"];
        let said = engine.docker_with_input(&login, password).await.ok();
        assert!(said.contains("Login Succeeded"), "{what}: {said}");
        engine.docker(&["pull", &image]).await.ok();
        engine.docker(&["image", "rm", &image]).await.ok();
        engine.docker(&["logout", &registry]).await.ok();
        reads(engine.docker(&["pull", &image]).await, &["sign in first"]);
    }
}

#[tokio::test]
async fn docker_shows_refusals_that_people_can_read() {
    let (_hub, cluster) = open_pair().await;
    let admin = cluster.admin();
    for (path, visibility) in
        [("acme", Visibility::Private), ("acme/ci", Visibility::Private), ("off", Visibility::Internal)]
    {
        admin.group(path, visibility, false).await;
    }
    admin.update_group("off", UpdateGroupRequest { enabled: Some(false), ..Default::default() }).await;
    for name in ["alice", "bob"] {
        admin.user(name, PASSWORD, false).await;
    }
    admin.member("acme/ci", "alice", Role::Guest).await;
    let half = admin.deploy("acme", &["read_registry"]).await;
    let engine = DockerEngine::start().await;
    let registry = cluster.registry.to_string();
    let login = async |name: &str, password: &str| {
        engine.docker_with_input(&["login", &registry, "--username", name, "--password-stdin"], password).await
    };
    reads(login("alice", "a wrong password").await, &["unauthorized: wrong user name, password or token"]);
    reads(login(&half.username, &half.token).await, &["lacks write_registry"]);
    login("alice", PASSWORD).await.ok();
    let pull = async |group: &str| engine.docker(&["pull", &image(&cluster, group)]).await;
    reads(pull("acme").await, &["denied: user alice may not pull from acme"]);
    reads(pull("off").await, &["denied:", "switched off"]);
    let absent = pull("nowhere").await.failed().replace("nowhere", "GROUP");
    login("bob", PASSWORD).await.ok();
    let hidden = pull("acme").await.failed().replace("acme", "GROUP");
    assert_eq!(hidden, absent);
    assert!(hidden.contains("name unknown: there is no group GROUP"), "{hidden}");
    admin.update_user("bob", UpdateUserRequest { disabled: Some(true), ..Default::default() }).await;
    reads(login("bob", PASSWORD).await, &["user bob is disabled"]);
    let guess = Client::new(&cluster.url(), "acme", Some(("carol".into(), "a guess".into())));
    for _ in 0..30 {
        if guess.sign_in("app").await.status == 429 {
            break;
        }
    }
    reads(login("carol", "another guess").await, &["toomanyrequests: too many failed sign-ins; try again in"]);
}

#[tokio::test]
async fn podman_logs_in_and_pulls_with_every_kind_of_credentials() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let kinds = kinds(&cluster.admin()).await;
    let podman = Podman::new();
    let (registry, image) = (cluster.registry.to_string(), image(&cluster, "acme"));
    for (what, name, password) in &kinds.all {
        let login = ["login", "--tls-verify=false", "--username", name, "--password-stdin", &registry];
        let said = podman.podman_with_input(&login, password).await.ok();
        assert!(said.contains("Login Succeeded"), "{what}: {said}");
        podman.podman(&["pull", "--tls-verify=false", &image]).await.ok();
        podman.podman(&["rmi", &image]).await.ok();
        podman.podman(&["logout", &registry]).await.ok();
    }
    reads(podman.podman(&["pull", "--tls-verify=false", &image]).await, &["sign in first"]);
    let login = ["login", "--tls-verify=false", "--username", "alice", "--password-stdin", &registry];
    reads(podman.podman_with_input(&login, "a wrong password").await, &["invalid username/password"]);
}

#[tokio::test]
async fn skopeo_logs_in_and_copies_with_every_kind_of_credentials() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let kinds = kinds(&cluster.admin()).await;
    let home = tempfile::tempdir().unwrap();
    let (registry, source) = (cluster.registry.to_string(), format!("docker://{}", image(&cluster, "acme")));
    for (index, (_, name, password)) in kinds.all.iter().enumerate() {
        let login = ["login", "--tls-verify=false", "-u", name, "-p", password, &registry];
        skopeo_with_home(home.path(), &login).await.ok();
        let copy = format!("dir:{}", home.path().join(format!("copy-{index}")).display());
        skopeo_with_home(home.path(), &["copy", "--src-tls-verify=false", &source, &copy]).await.ok();
        let credentials = format!("{name}:{password}");
        skopeo(&["inspect", "--tls-verify=false", "--creds", &credentials, &source]).await.ok();
    }
    reads(skopeo(&["inspect", "--tls-verify=false", &source]).await, &["sign in first"]);
}

#[tokio::test]
async fn containerd_pulls_with_credentials_in_its_configuration_s_terms() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let kinds = kinds(&cluster.admin()).await;
    let engine = DockerEngine::start().await;
    let image = image(&cluster, "acme");
    let hosts = hosts_folder(&engine.path("hosts"), &cluster);
    let pull = ["images", "pull", "--hosts-dir", &hosts];
    for (_, name, password) in &kinds.all {
        engine.ctr(&[&pull[..], &["--user", &format!("{name}:{password}"), &image]].concat()).await.ok();
        engine.ctr(&["images", "rm", "--sync", &image]).await.ok();
    }
    reads(engine.ctr(&[&pull[..], &[&image]].concat()).await, &["40"]);
}

/// Writes the file of docs/signing-in.md for a host without TLS.
fn hosts_folder(folder: &Path, cluster: &Cluster) -> String {
    let of_host = folder.join(cluster.registry.to_string());
    fs::create_dir_all(&of_host).unwrap();
    let url = cluster.url();
    let settings = format!("server = \"{url}\"\n\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
    fs::write(of_host.join("hosts.toml"), settings).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// The `.dockerconfigjson` of a secret from `kubectl create secret docker-registry` is the file that Docker and podman read,
/// so they can try it.
#[tokio::test]
async fn a_kubernetes_pull_secret_is_good_for_clients_that_read_it() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let kinds = kinds(&cluster.admin()).await;
    let engine = DockerEngine::start().await;
    let registry = cluster.registry.to_string();
    for (_, name, password) in &kinds.all {
        let auth = BASE64_STANDARD.encode(format!("{name}:{password}"));
        let entry = json!({ "username": name, "password": password, "email": "", "auth": auth });
        let secret = json!({ "auths": { &registry: entry } }).to_string();
        fs::create_dir_all(engine.path("config")).unwrap();
        fs::write(engine.path("config/config.json"), &secret).unwrap();
        engine.docker(&["pull", &image(&cluster, "acme")]).await.ok();
        engine.docker(&["image", "rm", &image(&cluster, "acme")]).await.ok();
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("auth.json"), secret).unwrap();
        let source = format!("docker://{}", image(&cluster, "acme"));
        skopeo_with_home(home.path(), &["inspect", "--tls-verify=false", &source]).await.ok();
    }
}
