//! `roadstead upstream set`, and upstreams as people read them.

use std::{fs, path::PathBuf, time::SystemTime};

use clap::Args;
use roadstead_proto::v1::{SetUpstreamRequest, Upstream};

use crate::{
    commands::spelling::percent,
    failure::Failure,
    output::{Details, Table, human},
};

/// Add an upstream, or replace all its settings
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream set ghcr.io --url https://ghcr.io
  roadstead upstream set registry.example:5000 --url https://registry.example:5000 --ca-file ca.pem
  roadstead upstream set docker.io --url https://registry-1.docker.io --token-host auth.docker.io --reserve 20%")]
pub struct Set {
    /// How image names refer to it: docker.io, ghcr.io, registry.example:5000
    host: String,
    /// Where it is; plain http is taken at its word
    #[arg(long)]
    url: String,
    /// Host, besides the URL's own, whose token service may be given credentials; repeat for more
    #[arg(long = "token-host", value_name = "HOST")]
    token_hosts: Vec<String>,
    /// Certificates (PEM) that are trusted for it besides the public ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Host at a private address that it may redirect to; repeat for more
    #[arg(long = "redirect-host", value_name = "HOST")]
    redirect_hosts: Vec<String>,
    /// Share of the pull limit below which cached tags are served without being fetched anew [default: 10%]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    reserve: Option<i32>,
}

impl Set {
    /// The request, with the certificates read.
    pub fn request(self) -> Result<SetUpstreamRequest, Failure> {
        let ca_pem = match self.ca_file {
            None => String::new(),
            Some(path) => {
                let bad =
                    |why: &dyn std::fmt::Display| Failure::usage(format_args!("--ca-file {}: {why}", path.display()));
                let pem = fs::read_to_string(&path).map_err(|error| bad(&error))?;
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(bad(&"it has no certificate; expected PEM"));
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

/// An upstream with everything that is set.
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

/// One line an upstream.
pub fn table(upstreams: &[Upstream], now: SystemTime) -> Table {
    Table::new(["HOST", "URL", "TOKEN HOSTS", "RESERVE", "UPDATED"], upstreams, |upstream| {
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
mod tests {
    use super::*;

    fn set(ca_file: Option<PathBuf>) -> Set {
        Set {
            host: "ghcr.io".into(),
            url: "https://ghcr.io".into(),
            token_hosts: vec![],
            ca_file,
            redirect_hosts: vec!["s3.internal".into()],
            reserve: Some(20),
        }
    }

    #[test]
    fn upstreams_read_well() {
        let hub = Upstream {
            host: "docker.io".into(),
            url: "https://registry-1.docker.io".into(),
            token_hosts: vec!["auth.docker.io".into()],
            reserve_percent: 10,
            ca_pem: "-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n".into(),
            ..Default::default()
        };
        assert_eq!(
            table(std::slice::from_ref(&hub), SystemTime::UNIX_EPOCH).to_string(),
            "HOST        URL                            TOKEN HOSTS      RESERVE   UPDATED\n\
             docker.io   https://registry-1.docker.io   auth.docker.io   10%       built in\n"
        );
        assert_eq!(
            details(Some(&hub)).to_string(),
            "Host:             docker.io\n\
             URL:              https://registry-1.docker.io\n\
             Token hosts:      auth.docker.io\n\
             Redirect hosts:   -\n\
             Trusted CAs:      public, and 2 own certificates\n\
             Reserve:          10%\n\
             Updated:          built in\n"
        );
    }

    #[test]
    fn certificates_are_read_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        fs::write(&file, pem).unwrap();
        let request = set(Some(file.clone())).request().unwrap();
        assert_eq!((request.ca_pem.as_str(), request.reserve_percent), (pem, Some(20)));
        assert_eq!(set(None).request().unwrap().ca_pem, "");

        fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        for bad in [file, dir.path().join("none.pem")] {
            let failure = set(Some(bad.clone())).request().unwrap_err();
            assert!(failure.to_string().starts_with(&format!("--ca-file {}: ", bad.display())), "{failure}");
            assert_eq!(failure, Failure::usage(&failure));
        }
    }
}
