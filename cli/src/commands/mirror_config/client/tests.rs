use super::*;

fn file(client: Client, registry: &str, upstream: &str) -> File {
    let (registry, group, upstream) =
        (Url::parse(registry).unwrap(), "acme/backend".parse().unwrap(), upstream.parse().unwrap());
    client.file(&Mirror { registry: &registry, group: &group, upstream: &upstream })
}

#[test]
fn each_client_s_file_is_what_it_takes() {
    for (client, registry, upstream, path, content) in [
        (
            Client::Containerd,
            "http://127.0.0.1:7070",
            "docker.io",
            "/etc/containerd/certs.d/docker.io/hosts.toml",
            "server = \"https://registry-1.docker.io\"\n\n\
             [host.\"http://127.0.0.1:7070/v2/acme/backend/dependency_proxy/containers\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
        ),
        (
            Client::Containerd,
            "https://proxy.example",
            "registry.example:5000",
            "/etc/containerd/certs.d/registry.example:5000/hosts.toml",
            "server = \"https://registry.example:5000\"\n\n\
             [host.\"https://proxy.example/v2/acme/backend/dependency_proxy/containers\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
        ),
        (
            Client::Docker,
            "https://proxy.example:8443",
            "docker.io",
            "/etc/docker/daemon.json (merged with what is there)",
            "{\n  \"registry-mirrors\": [\"https://proxy.example:8443\"]\n}\n",
        ),
        (
            Client::Podman,
            "https://proxy.example",
            "docker.io",
            "/etc/containers/registries.conf.d/50-roadstead-docker.io.conf",
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\n\
             location = \"proxy.example/acme/backend/dependency_proxy/containers/docker.io\"\n",
        ),
        (
            Client::Podman,
            "http://proxy.example",
            "registry.example:5000",
            "/etc/containers/registries.conf.d/50-roadstead-registry.example-5000.conf",
            "[[registry]]\nprefix = \"registry.example:5000\"\nlocation = \"registry.example:5000\"\n\n\
             [[registry.mirror]]\n\
             location = \"proxy.example:80/acme/backend/dependency_proxy/containers/registry.example:5000\"\n\
             insecure = true\n",
        ),
        (
            Client::K3s,
            "https://proxy.example:8443",
            "ghcr.io",
            "/etc/rancher/k3s/registries.yaml (RKE2: /etc/rancher/rke2/registries.yaml) on every node, merged with what \
             is there",
            "mirrors:\n  \"ghcr.io\":\n    endpoint:\n      - \"https://proxy.example:8443\"\n    rewrite:\n      \
             \"^(.*)$\": \"acme/backend/dependency_proxy/containers/ghcr.io/$1\"\n",
        ),
        (
            Client::Buildkit,
            "http://127.0.0.1:7070",
            "docker.io",
            "/etc/buildkit/buildkitd.toml, or for docker buildx anywhere",
            "[registry.\"docker.io\"]\n  mirrors = [\"127.0.0.1:7070/acme/backend/dependency_proxy/containers\"]\n\n\
             [registry.\"127.0.0.1:7070\"]\n  http = true\n",
        ),
        (
            Client::Buildkit,
            "https://proxy.example",
            "ghcr.io",
            "/etc/buildkit/buildkitd.toml, or for docker buildx anywhere",
            "[registry.\"ghcr.io\"]\n  mirrors = [\"proxy.example/acme/backend/dependency_proxy/containers\"]\n",
        ),
    ] {
        let file = file(client, registry, upstream);
        assert_eq!((file.install_as.as_str(), file.content.as_str()), (path, content), "{client:?}");
        assert_eq!(file.has_comments, client != Client::Docker);
    }
}

#[test]
fn what_else_is_needed_is_said() {
    for (client, says) in [
        (Client::Containerd, "config_path = \"/etc/containerd/certs.d\""),
        (Client::Docker, "`--mirror-group acme/backend`, or `--mirror-host proxy.example=acme/backend`"),
        (Client::Podman, "podman login proxy.example:8443"),
        (Client::K3s, "systemctl restart k3s"),
        (Client::Buildkit, "--buildkitd-config"),
    ] {
        let needs = file(client, "https://proxy.example:8443", "docker.io").needs.join("\n");
        assert!(needs.contains(says) && needs.contains("--anonymous-pull"), "{client:?}: {needs}");
        assert!(!needs.contains("be allowed to use this registry"), "{needs}");
    }
    let needs = file(Client::Podman, "https://proxy.example", "ghcr.io").needs.join("\n");
    assert!(needs.contains("roadstead group update acme/backend --upstream"), "{needs}");
}
