//! `roadstead mirror-config`: the files by which clients pull through a group without naming it.

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

/// Print the file that makes a client pull through a group without changing image names
///
/// The file goes to stdout; where to install it, and what else is needed, stands in its comments, or on stderr where the format
/// knows none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead mirror-config acme --for containerd > /etc/containerd/certs.d/docker.io/hosts.toml
  roadstead mirror-config acme --for docker --registry https://proxy.example.com
  roadstead mirror-config acme --for podman --upstream ghcr.io
  roadstead mirror-config acme --for k3s -o json")]
pub struct MirrorConfig {
    /// Path of the group
    path: GroupPath,
    /// For which client
    #[arg(long = "for", value_enum, value_name = "CLIENT")]
    client: Client,
    /// Where the registry is, as the client reaches it [default: as its nodes told the control plane]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    registry: Option<Url>,
    /// Whose images are pulled through the group
    #[arg(long, value_name = "HOST", default_value = "docker.io")]
    upstream: UpstreamHost,
    #[command(flatten)]
    admin: AdminFlags,
}

impl MirrorConfig {
    /// Asks the control plane where the registry is, unless it is given, and prints the file.
    pub async fn run(self) -> Result<(), Failure> {
        if self.client == Client::Docker && self.upstream.as_str() != "docker.io" {
            return Err(Failure::usage(format_args!(
                "--upstream {}: Docker Engine knows mirrors of docker.io only; pull by the group's own prefix instead",
                self.upstream
            )));
        }
        match &self.registry {
            // Nothing to ask: works without a token, too.
            Some(url) => self.print(url),
            None => self.admin.call(async |session| self.ask(session).await).await,
        }
    }

    async fn ask(&self, session: &Session) -> Result<(), CallError> {
        let told = image_prefix(session, &self.path, None).await?.registry_url;
        let url = base_url(&told).map_err(|error| {
            Failure::failed(format_args!("the registry's URL, {told}, is not usable: {error}; give --registry URL"))
        })?;
        Ok(self.print(&url)?)
    }

    fn print(&self, registry: &Url) -> Result<(), Failure> {
        let file = self.client.file(&Mirror { registry, group: &self.path, upstream: &self.upstream });
        if is_loopback(registry) {
            let url = registry.as_str().trim_end_matches('/');
            eprintln!("Only this machine reaches {url}; for others, give --registry URL as they reach it.");
        }
        match self.admin.output {
            Format::Json => {
                let text = serde_json::to_string_pretty(&file)
                    .map_err(|error| Failure::failed(format_args!("cannot print the file as JSON: {error}")))?;
                output::print(&text)
            }
            Format::Table if file.has_comments => output::print(&format!("{}\n{}", comments(&file), file.content)),
            Format::Table => {
                eprint!("{}", comments(&file));
                output::print(&file.content)
            }
        }
    }
}

fn comments(file: &File) -> String {
    let mut text = format!("# To be installed as {}\n", file.install_as);
    for need in &file.needs {
        let _ = writeln!(text, "# - {need}");
    }
    text
}
