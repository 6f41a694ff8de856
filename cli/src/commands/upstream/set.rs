//! `roadstead upstream set`, and upstreams as tables and details.

use std::{fs, path::PathBuf, time::SystemTime};

use clap::Args;
use roadstead_proto::v1::{SetUpstreamRequest, Upstream};

use crate::{
    failure::Failure,
    output::{Details, Table, human},
    value_parsers::percent,
};

/// Add an upstream, or replace all its settings
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream set ghcr.io --url https://ghcr.io
  roadstead upstream set registry.example:5000 \\
      --url https://registry.example:5000 --ca-file ca.pem
  roadstead upstream set docker.io --url https://registry-1.docker.io \\
      --token-host auth.docker.io --reserve 20%")]
pub struct Set {
    /// Host in image names: docker.io, ghcr.io, registry.example:5000
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

impl Set {
    /// Returns the request, with the certificates from the file.
    pub fn request(self) -> Result<SetUpstreamRequest, Failure> {
        let ca_pem = match self.ca_file {
            None => String::new(),
            Some(path) => {
                let bad =
                    |why: &dyn std::fmt::Display| Failure::usage(format_args!("--ca-file {}: {why}", path.display()));
                let pem = fs::read_to_string(&path).map_err(|error| bad(&error))?;
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(bad(&"the file contains no certificate; expected PEM"));
                }
                pem
            }
        };
        Ok(SetUpstreamRequest {
            host: self.host,
            url: self.url,
            token_hosts: self.token_hosts,
            ca_pem,
            redirect_hosts: self.redirect_hosts,
            reserve_percent: self.reserve,
        })
    }
}

/// Describes an upstream with all its settings.
pub fn details(upstream: Option<&Upstream>) -> Details {
    let Some(upstream) = upstream else { return Details::default() };
    let certificates = upstream.ca_pem.matches("-----BEGIN CERTIFICATE-----").count();
    let trusted = match i64::try_from(certificates) {
        Ok(0) | Err(_) => "public".to_owned(),
        Ok(count) => format!("public, and {}", human::count(count, "own certificate")),
    };
    Details::default()
        .with("Host", &upstream.host)
        .with("URL", &upstream.url)
        .with("Token hosts", human::or_dash(&upstream.token_hosts.join(", ")))
        .with("Redirect hosts", human::or_dash(&upstream.redirect_hosts.join(", ")))
        .with("Trusted CAs", trusted)
        .with("Reserve", format_args!("{}%", upstream.reserve_percent))
        .with("Updated", human::absolute(upstream.updated_at.as_ref(), "built in"))
}

/// Returns a table with a row for each upstream.
pub fn table(upstreams: &[Upstream], now: SystemTime) -> Table {
    Table::new(["HOST", "URL", "+TOKEN HOSTS", "RESERVE", "UPDATED"], upstreams, |upstream| {
        [
            upstream.host.clone(),
            upstream.url.clone(),
            human::or_dash(&upstream.token_hosts.join(",")),
            format!("{}%", upstream.reserve_percent),
            human::relative(upstream.updated_at.as_ref(), now, "built in"),
        ]
    })
}

#[cfg(test)]
mod tests;
