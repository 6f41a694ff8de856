//! The configuration file of each client, and the steps that it needs.

use clap::ValueEnum;
use roadstead_proto::{GroupPath, PROXY_INFIX, UpstreamHost};
use serde::Serialize;
use url::Url;

/// Clients that support mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// containerd, and Kubernetes with it: hosts.toml
    Containerd,
    /// Docker Engine: daemon.json
    Docker,
    /// podman, buildah, skopeo and CRI-O: registries.conf
    Podman,
    /// k3s and RKE2: registries.yaml
    K3s,
    /// BuildKit and docker buildx: buildkitd.toml
    Buildkit,
}

/// A mirror to configure.
pub struct Mirror<'a> {
    /// The registry port, as the client reaches it.
    pub registry: &'a Url,
    /// The group to pull through.
    pub group: &'a GroupPath,
    /// The registry to mirror.
    pub upstream: &'a UpstreamHost,
}

/// A file to install.
#[derive(Serialize)]
pub struct File {
    /// Path from which the client reads it.
    pub install_as: String,
    /// Other steps, one sentence each.
    pub needs: Vec<String>,
    /// Content of the file.
    pub content: String,
    /// True if the format has `#` comments.
    #[serde(skip)]
    pub has_comments: bool,
}

impl Mirror<'_> {
    /// Returns the URL: "https://proxy.example:8443".
    fn url(&self) -> &str {
        self.registry.as_str().trim_end_matches('/')
    }

    /// Returns host and port: "proxy.example:8443". Without a port in the URL, clients assume the scheme's own.
    fn host(&self) -> String {
        let host = self.registry.host_str().unwrap_or_default();
        self.registry.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn is_plain_http(&self) -> bool {
        self.registry.scheme() == "http"
    }

    /// Returns host and port, for clients that need the port of plain HTTP.
    fn host_with_port(&self) -> String {
        match (self.is_plain_http(), self.registry.port()) {
            (true, None) => format!("{}:80", self.host()),
            _ => self.host(),
        }
    }

    /// Returns the URL of the upstream, for pulls that the mirror does not serve.
    fn upstream_url(&self) -> String {
        match self.upstream.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host => format!("https://{host}"),
        }
    }

    fn anonymous(&self, unless: &str) -> String {
        format!("The group must allow pulls without sign-in (--visibility public --anonymous-pull){unless}.")
    }

    fn group_uses_upstream(&self) -> Option<String> {
        let host = self.upstream.as_str();
        (host != "docker.io").then(|| {
            format!(
                "The group must be allowed to use this registry: `roadstead group update {} --upstream …`.",
                self.group
            )
        })
    }
}

impl Client {
    /// Returns the file for this client.
    pub fn file(self, mirror: &Mirror<'_>) -> File {
        let mut file = match self {
            Self::Containerd => containerd(mirror),
            Self::Docker => docker(mirror),
            Self::Podman => podman(mirror),
            Self::K3s => k3s(mirror),
            Self::Buildkit => buildkit(mirror),
        };
        file.needs.extend(mirror.group_uses_upstream());
        file
    }
}

/// containerd names the upstream in `?ns=`, so the path needs no host.
fn containerd(mirror: &Mirror<'_>) -> File {
    let (url, group, upstream) = (mirror.url(), mirror.group, mirror.upstream);
    File {
        install_as: format!("/etc/containerd/certs.d/{upstream}/hosts.toml"),
        needs: vec![
            "containerd reads the file at each pull if /etc/containerd/config.toml has config_path = \"/etc/containerd/certs.d\", in \
             [plugins.\"io.containerd.cri.v1.images\".registry] (containerd 2) or \
             [plugins.\"io.containerd.grpc.v1.cri\".registry] (containerd 1); ctr takes --hosts-dir."
                .to_owned(),
            mirror.anonymous(&format!(", or the client must have credentials for {}", mirror.host())),
            "If the mirror does not serve an image, containerd asks `server`.".to_owned(),
        ],
        content: format!(
            "server = \"{}\"\n\n[host.\"{url}/v2/{group}/{PROXY_INFIX}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
             override_path = true\n",
            mirror.upstream_url()
        ),
        has_comments: true,
    }
}

/// Docker Engine takes no path, so the node must be configured with the group.
fn docker(mirror: &Mirror<'_>) -> File {
    let (url, group) = (mirror.url(), mirror.group);
    File {
        install_as: "/etc/docker/daemon.json (merged with what is there)".to_owned(),
        needs: vec![
            "Reload it with `systemctl reload docker`.".to_owned(),
            format!(
                "The node must serve names without a group from this group: `--mirror-group {group}`, or `--mirror-host {}={group}` \
                 for this host name only.",
                mirror.registry.host_str().unwrap_or_default()
            ),
            mirror.anonymous(": Docker Engine has no credentials for mirrors"),
            "Docker Engine pulls only Docker Hub's images through a mirror; if the mirror does not serve one, it asks Docker Hub."
                .to_owned(),
        ],
        content: format!("{{\n  \"registry-mirrors\": [\"{url}\"]\n}}\n"),
        has_comments: false,
    }
}

fn podman(mirror: &Mirror<'_>) -> File {
    let (host, group, upstream) = (mirror.host_with_port(), mirror.group, mirror.upstream);
    let insecure = if mirror.is_plain_http() { "insecure = true\n" } else { "" };
    File {
        install_as: format!(
            "/etc/containers/registries.conf.d/50-roadstead-{}.conf",
            upstream.as_str().replace(':', "-")
        ),
        needs: vec![
            "podman, buildah and skopeo read the file at each pull, CRI-O on `systemctl reload crio`.".to_owned(),
            mirror.anonymous(&format!(", or the client must sign in: `podman login {host}`")),
            format!("If the mirror does not serve an image, the client asks {upstream}."),
        ],
        content: format!(
            "[[registry]]\nprefix = \"{upstream}\"\nlocation = \"{upstream}\"\n\n[[registry.mirror]]\nlocation = \
             \"{host}/{group}/{PROXY_INFIX}/{upstream}\"\n{insecure}"
        ),
        has_comments: true,
    }
}

/// The rewrite carries the path, because every version of k3s applies it to mirrors only.
fn k3s(mirror: &Mirror<'_>) -> File {
    let (url, group, upstream) = (mirror.url(), mirror.group, mirror.upstream);
    File {
        install_as:
            "/etc/rancher/k3s/registries.yaml (RKE2: /etc/rancher/rke2/registries.yaml) on every node, merged with \
                     what is there"
                .to_owned(),
        needs: vec![
            "k3s reads the file at its start: `systemctl restart k3s` on servers, `systemctl restart k3s-agent` on agents."
                .to_owned(),
            mirror.anonymous(&format!(
                ", or the file must have credentials: configs: {{\"{}\": {{auth: {{username: …, password: …}}}}}}",
                mirror.host()
            )),
            format!("If the mirror does not serve an image, the client asks {upstream}."),
        ],
        content: format!(
            "mirrors:\n  \"{upstream}\":\n    endpoint:\n      - \"{url}\"\n    rewrite:\n      \"^(.*)$\": \
             \"{group}/{PROXY_INFIX}/{upstream}/$1\"\n"
        ),
        has_comments: true,
    }
}

fn buildkit(mirror: &Mirror<'_>) -> File {
    let (host, group, upstream) = (mirror.host_with_port(), mirror.group, mirror.upstream);
    let http = if mirror.is_plain_http() { format!("\n[registry.\"{host}\"]\n  http = true\n") } else { String::new() };
    File {
        install_as: "/etc/buildkit/buildkitd.toml, or for docker buildx anywhere".to_owned(),
        needs: vec![
            "buildkitd reads the file at its start; docker buildx takes it with `docker buildx create --buildkitd-config FILE --use`."
                .to_owned(),
            mirror.anonymous(&format!(", or the builder must sign in: `docker login {host}`")),
            format!("If the mirror does not serve an image, the client asks {upstream}."),
        ],
        content: format!("[registry.\"{upstream}\"]\n  mirrors = [\"{host}/{group}/{PROXY_INFIX}\"]\n{http}"),
        has_comments: true,
    }
}

#[cfg(test)]
mod tests;
