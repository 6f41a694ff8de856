//! `roadstead mirror-config`: configuration files for clients that pull through a group without naming it.

mod client;

use std::fmt::Write;

use clap::Args;
use roadstead_proto::{GroupPath, UpstreamHost};
use url::Url;

use self::client::{Client, File, Mirror};
use super::registry::{image_prefix, is_loopback};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{self, Format},
    value_parsers::base_url,
};

/// Print the configuration file for a client that pulls through a group without changing image names
///
/// The file goes to stdout. Its comments say where to install it and what else to set up; for a format without comments this goes
/// to stderr.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead mirror-config acme --for containerd \\
      > /etc/containerd/certs.d/docker.io/hosts.toml
  roadstead mirror-config acme --for docker --registry https://proxy.example.com
  roadstead mirror-config acme --for podman --upstream ghcr.io
  roadstead mirror-config acme --for k3s -o json")]
pub struct MirrorConfig {
    /// Path of the group
    path: GroupPath,
    /// Client to configure
    #[arg(long = "for", value_enum, value_name = "CLIENT")]
    client: Client,
    /// URL of the registry as the client reaches it [default: the one that nodes report]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    registry: Option<Url>,
    /// Registry to mirror
    #[arg(long, value_name = "HOST", default_value = "docker.io")]
    upstream: UpstreamHost,
    #[command(flatten)]
    admin: AdminFlags,
}

impl MirrorConfig {
    /// Prints the file, with the registry's URL from `--registry` or from the control plane.
    pub async fn run(self) -> Result<(), Failure> {
        if self.client == Client::Docker && self.upstream.as_str() != "docker.io" {
            return Err(Failure::usage(format_args!(
                "--upstream {}: Docker Engine has mirrors for docker.io only; pull by the group's own prefix instead",
                self.upstream
            )));
        }
        match &self.registry {
            // No call: this works without a token.
            Some(url) => self.print(url),
            None => self.admin.call(async |session| self.ask(session).await).await,
        }
    }

    async fn ask(&self, session: &Session) -> Result<(), CallError> {
        let told = image_prefix(session, &self.path, None).await?.registry_url;
        let url = base_url(&told).map_err(|error| {
            Failure::failed(format_args!("the registry's URL {told} is not usable: {error}; give --registry URL"))
        })?;
        Ok(self.print(&url)?)
    }

    fn print(&self, registry: &Url) -> Result<(), Failure> {
        let file = self.client.file(&Mirror { registry, group: &self.path, upstream: &self.upstream });
        if is_loopback(registry) {
            let url = registry.as_str().trim_end_matches('/');
            eprintln!(
                "Only this machine reaches {url}; for other machines, give --registry with the URL that they reach."
            );
        }
        match self.admin.output() {
            Format::Json => {
                let text = serde_json::to_string_pretty(&file)
                    .map_err(|error| Failure::failed(format_args!("cannot print the file as JSON: {error}")))?;
                output::print(&text)
            }
            Format::Table | Format::Wide if file.has_comments => {
                output::print(&format!("{}\n{}", comments(&file), file.content))
            }
            Format::Table | Format::Wide => {
                eprint!("{}", comments(&file));
                output::print(&file.content)
            }
        }
    }
}

fn comments(file: &File) -> String {
    let mut text = format!("# Install as {}\n", file.install_as);
    for need in &file.needs {
        let _ = writeln!(text, "# - {need}");
    }
    text
}
