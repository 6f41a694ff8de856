//! `roadstead upstream set` and `roadstead upstream update`.

use std::{fs, path::PathBuf};

use clap::Args;
use roadstead_proto::v1::{HostList, UpdateUpstreamRequest};

use crate::{failure::Failure, value_parsers::percent};

/// Add an upstream, or replace all its settings
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream set ghcr.io --url https://ghcr.io
  roadstead upstream set registry.corp \\
      --url https://registry.corp:5055 --ca-file ca.pem
  roadstead upstream set docker.io --url https://registry-1.docker.io \\
      --token-host auth.docker.io --reserve 20%")]
pub struct Set {
    /// Host in image names: docker.io, ghcr.io, or an alias such as registry.corp; Docker refuses a port in the middle of a name
    host: String,
    /// URL of the registry; http:// means plain HTTP
    #[arg(long)]
    url: String,
    /// Host, besides the URL's own, whose token service may receive credentials; may be repeated
    #[arg(long = "token-host", value_name = "HOST")]
    token_hosts: Vec<String>,
    /// CA certificates to trust for this upstream besides the public ones, a PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Host with a private address that the upstream may redirect to, with its port unless that is 80 or 443; may be repeated
    #[arg(long = "redirect-host", value_name = "HOST[:PORT]")]
    redirect_hosts: Vec<String>,
    /// Share of the pull limit that is reserved for content that is not cached [default: 10%]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    reserve: Option<i32>,
}

/// Change settings of an upstream; settings that are not named keep their value
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream update docker.io --reserve 20%
  roadstead upstream update ghcr.io --url https://mirror.example \\
      --no-token-hosts")]
pub struct Update {
    /// Host of the upstream
    host: String,
    /// URL of the registry; http:// means plain HTTP
    #[arg(long)]
    url: Option<String>,
    /// Host, besides the URL's own, whose token service may receive credentials; repeat it for the whole list
    #[arg(long = "token-host", value_name = "HOST")]
    token_hosts: Vec<String>,
    /// Clear the token hosts: only the URL's own host may receive credentials
    #[arg(long, conflicts_with = "token_hosts")]
    no_token_hosts: bool,
    /// CA certificates to trust for this upstream besides the public ones, a PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Trust only the public certificates
    #[arg(long, conflicts_with = "ca_file")]
    no_ca_file: bool,
    /// Host with a private address that the upstream may redirect to, with its port unless that is 80 or 443; repeat it for the
    /// whole list
    #[arg(long = "redirect-host", value_name = "HOST[:PORT]")]
    redirect_hosts: Vec<String>,
    /// Allow no redirects to private addresses
    #[arg(long, conflicts_with = "redirect_hosts")]
    no_redirect_hosts: bool,
    /// Share of the pull limit that is reserved for content that is not cached
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    reserve: Option<i32>,
}

impl Set {
    /// Returns the request, with the certificates from the file.
    pub fn request(self) -> Result<UpdateUpstreamRequest, Failure> {
        let replaced = UpdateUpstreamRequest::replacing(self.host, self.url);
        Ok(UpdateUpstreamRequest {
            token_hosts: Some(HostList { hosts: self.token_hosts }),
            ca_pem: Some(self.ca_file.map(certificates).transpose()?.unwrap_or_default()),
            redirect_hosts: Some(HostList { hosts: self.redirect_hosts }),
            reserve_percent: self.reserve.or(replaced.reserve_percent),
            ..replaced
        })
    }
}

impl Update {
    /// Returns the request, with the settings that were named and the certificates from the file.
    pub fn request(self) -> Result<UpdateUpstreamRequest, Failure> {
        let list = |hosts: Vec<String>, none: bool| (none || !hosts.is_empty()).then_some(HostList { hosts });
        Ok(UpdateUpstreamRequest {
            host: self.host,
            url: self.url,
            token_hosts: list(self.token_hosts, self.no_token_hosts),
            ca_pem: self.ca_file.map(certificates).transpose()?.or(self.no_ca_file.then(String::new)),
            redirect_hosts: list(self.redirect_hosts, self.no_redirect_hosts),
            reserve_percent: self.reserve,
            ..UpdateUpstreamRequest::default()
        })
    }
}

/// Reads a file of certificates.
fn certificates(path: PathBuf) -> Result<String, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::usage(format_args!("--ca-file {}: {why}", path.display()));
    let pem = fs::read_to_string(&path).map_err(|error| bad(&error))?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(bad(&"the file contains no certificate; expected PEM"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests;
