//! What each client's file looks like, and what it takes besides.

use clap::ValueEnum;
use roadstead_proto::{GroupPath, PROXY_INFIX, UpstreamHost};
use serde::Serialize;
use url::Url;

/// Clients that know mirrors.
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

/// What is mirrored where.
pub struct Mirror<'a> {
    /// The registry port, as the client reaches it.
    pub registry: &'a Url,
    /// The group to pull through.
    pub group: &'a GroupPath,
    /// Whose images.
    pub upstream: &'a UpstreamHost,
}

/// A file to install.
#[derive(Serialize)]
pub struct File {
    /// Where the client looks for it.
    pub install_as: String,
    /// What else is needed, a sentence each.
    pub needs: Vec<String>,
    /// The file.
    pub content: String,
    /// Whether the format knows `#` comments.
    #[serde(skip)]
    pub has_comments: bool,
}

impl Mirror<'_> {
    /// "https://proxy.example:8443".
    fn url(&self) -> &str {
        self.registry.as_str().trim_end_matches('/')
    }

    /// "proxy.example:8443": the port as the URL has it, since clients assume the scheme's own.
    fn host(&self) -> String {
        let host = self.registry.host_str().unwrap_or_default();
        self.registry.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn is_plain_http(&self) -> bool {
        self.registry.scheme() == "http"
    }

    /// The same where the client has to know the port of plain HTTP.
    fn host_with_port(&self) -> String {
        match (self.is_plain_http(), self.registry.port()) {
            (true, None) => format!("{}:80", self.host()),
            _ => self.host(),
        }
    }

    /// Where clients reach upstream when the mirror does not serve.
    fn upstream_url(&self) -> String {
        match self.upstream.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host => format!("https://{host}"),
        }
    }

    fn anonymous(&self, unless: &str) -> String {
        format!("The group must admit pulls without sign-in (--visibility public --anonymous-pull){unless}.")
    }

    fn group_uses_upstream(&self) -> Option<String> {
        let host = self.upstream.as_str();
        (host != "docker.io").then(|| {
            format!("The group must be allowed to use it: `roadstead group update {} --upstream …`.", self.group)
        })
    }
}

impl Client {
    /// The file for this client.
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

/// containerd names the upstream in `?ns=`, so that no host is part of the path.
fn containerd(mirror: &Mirror<'_>) -> File {
    let (url, group, upstream) = (mirror.url(), mirror.group, mirror.upstream);
    File {
        install_as: format!("/etc/containerd/certs.d/{upstream}/hosts.toml"),
        needs: vec![
            "It is read at each pull where /etc/containerd/config.toml has config_path = \"/etc/containerd/certs.d\", in \
             [plugins.\"io.containerd.cri.v1.images\".registry] (containerd 2) or \
             [plugins.\"io.containerd.grpc.v1.cri\".registry] (containerd 1); ctr takes --hosts-dir."
                .to_owned(),
            mirror.anonymous(&format!(", or the client have credentials for {}", mirror.host())),
            "Where the mirror does not serve, containerd asks `server` itself.".to_owned(),
        ],
        content: format!(
            "server = \"{}\"\n\n[host.\"{url}/v2/{group}/{PROXY_INFIX}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
             override_path = true\n",
            mirror.upstream_url()
        ),
        has_comments: true,
    }
}

/// Docker Engine takes no path: the node has to know which group it means.
fn docker(mirror: &Mirror<'_>) -> File {
    let (url, group) = (mirror.url(), mirror.group);
    File {
        install_as: "/etc/docker/daemon.json (merged with what is there)".to_owned(),
        needs: vec![
            "Docker Engine reads it anew with `systemctl reload docker`.".to_owned(),
            format!(
                "The node must answer bare names from this group: `--mirror-group {group}`, or `--mirror-host {}={group}` \
                 for this host name only.",
                mirror.registry.host_str().unwrap_or_default()
            ),
            mirror.anonymous(": Docker Engine has no credentials for mirrors"),
            "Only Docker Hub's images are pulled through it; where it does not serve, Docker Engine asks Docker Hub itself."
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
            "podman, buildah and skopeo read it at each pull, CRI-O with `systemctl reload crio`.".to_owned(),
            mirror.anonymous(&format!(", or the client be signed in: `podman login {host}`")),
            format!("Where the mirror does not serve, {upstream} is asked itself."),
        ],
        content: format!(
            "[[registry]]\nprefix = \"{upstream}\"\nlocation = \"{upstream}\"\n\n[[registry.mirror]]\nlocation = \
             \"{host}/{group}/{PROXY_INFIX}/{upstream}\"\n{insecure}"
        ),
        has_comments: true,
    }
}

/// The endpoint's path is left to the rewrite, which every version of k3s applies to mirrors only.
fn k3s(mirror: &Mirror<'_>) -> File {
    let (url, group, upstream) = (mirror.url(), mirror.group, mirror.upstream);
    File {
        install_as:
            "/etc/rancher/k3s/registries.yaml (RKE2: /etc/rancher/rke2/registries.yaml) on every node, merged with \
                     what is there"
                .to_owned(),
        needs: vec![
            "It is read at the start: `systemctl restart k3s` on servers, `systemctl restart k3s-agent` on agents."
                .to_owned(),
            mirror.anonymous(&format!(
                ", or the file name credentials: configs: {{\"{}\": {{auth: {{username: …, password: …}}}}}}",
                mirror.host()
            )),
            format!("Where the mirror does not serve, {upstream} is asked itself."),
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
            "buildkitd reads it at its start; docker buildx takes it with `docker buildx create --buildkitd-config FILE --use`."
                .to_owned(),
            mirror.anonymous(&format!(", or who builds be signed in: `docker login {host}`")),
            format!("Where the mirror does not serve, {upstream} is asked itself."),
        ],
        content: format!("[registry.\"{upstream}\"]\n  mirrors = [\"{host}/{group}/{PROXY_INFIX}\"]\n{http}"),
        has_comments: true,
    }
}

#[cfg(test)]
mod tests;
