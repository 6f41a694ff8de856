//! The addresses of the control plane's replicas, and the certificates of both sides.

use std::{error::Error as _, fs, path::PathBuf};

use roadstead_proto::client::lazy_channel;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};
use url::Url;

use super::{saved_login::SavedLogin, tls_at_connect::TlsAtConnect};
use crate::{failure::Failure, value_parsers::base_url};

/// Flags of every client of the control plane.
#[derive(Clone, Debug, clap::Args)]
pub struct ControlAt {
    /// URL of the control plane; several replicas are separated by commas, and calls go to any of them [default: for admin
    /// commands the URL of `roadstead login`, otherwise http://127.0.0.1:7071]
    #[arg(long, global = true, env = "ROADSTEAD_CONTROL", value_name = "URL")]
    #[arg(value_parser = base_url, value_delimiter = ',', help_heading = "Connection and output")]
    control: Vec<Url>,

    /// CA certificates to trust at the control plane instead of the system's, a PEM file; needs https
    #[arg(long, global = true, env = "ROADSTEAD_CONTROL_CA_FILE", value_name = "FILE")]
    #[arg(help_heading = "Connection and output")]
    control_ca_file: Option<PathBuf>,

    /// Client certificate chain for a control plane that requires one, a PEM file; needs --control-client-key
    #[arg(long, global = true, env = "ROADSTEAD_CONTROL_CLIENT_CERT", value_name = "FILE")]
    #[arg(help_heading = "Connection and output")]
    control_client_cert: Option<PathBuf>,

    /// Private key of --control-client-cert, a PEM file
    #[arg(long, global = true, env = "ROADSTEAD_CONTROL_CLIENT_KEY", value_name = "FILE")]
    #[arg(help_heading = "Connection and output")]
    control_client_key: Option<PathBuf>,
}

/// URL of the control plane that `serve` runs by default.
const DEFAULT_CONTROL: &str = "http://127.0.0.1:7071";

impl ControlAt {
    /// Completes what is not given by the saved login, unless another control plane is given. Returns whether the saved login
    /// is for this control plane: its token must go to no other.
    pub fn complete(&mut self, saved: &SavedLogin) -> bool {
        if !self.control.is_empty() && self.control != saved.control {
            return false;
        }
        self.control.clone_from(&saved.control);
        self.control_ca_file = self.control_ca_file.take().or_else(|| saved.ca_file.clone());
        true
    }

    /// Returns the URLs and the CA file for a saved login.
    pub fn to_save(&self) -> Result<(Vec<Url>, Option<PathBuf>), Failure> {
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let ca_file = self.control_ca_file.as_ref().map(absolute).transpose();
        let ca_file = ca_file.map_err(|error| Failure::usage(format_args!("--control-ca-file: {error}")))?;
        Ok((self.urls()?, ca_file))
    }

    /// Points to another control plane.
    pub fn set_control(&mut self, control: Vec<Url>) {
        self.control = control;
    }

    /// Returns the URLs that are given, or the default.
    fn urls(&self) -> Result<Vec<Url>, Failure> {
        if !self.control.is_empty() {
            return Ok(self.control.clone());
        }
        base_url(DEFAULT_CONTROL).map(|url| vec![url]).map_err(Failure::usage)
    }

    /// Returns the first replica's URL, for hints.
    pub fn first(&self) -> Result<Url, Failure> {
        self.urls()?.into_iter().next().ok_or_else(|| Failure::usage("--control: at least one URL is needed"))
    }

    /// Returns all URLs, for messages.
    pub fn shown(&self) -> String {
        let urls = self.urls().unwrap_or_default();
        let shown: Vec<_> = urls.iter().map(|url| url.as_str().trim_end_matches('/')).collect();
        shown.join(", ")
    }

    /// Returns a channel to each replica; fails on unusable certificates. A channel connects with its first call, and reconnects
    /// when needed.
    pub fn channels(&self, tune: impl Fn(Endpoint) -> Endpoint) -> Result<Vec<Channel>, Failure> {
        let tls = self.tls()?;
        self.channels_by(|url| {
            let tls = (url.scheme() == "https").then(|| tls.clone());
            lazy_channel(url.as_str(), tls, &tune)
        })
    }

    /// Does the same for processes that run for long: each connection reads the certificates again.
    pub fn lasting_channels(&self, tune: impl Fn(Endpoint) -> Endpoint) -> Result<Vec<Channel>, Failure> {
        // Files that are unusable now are wrong settings.
        self.tls()?;
        let identity = self.control_client_cert.clone().zip(self.control_client_key.clone());
        let tls = TlsAtConnect { ca: self.control_ca_file.clone(), identity };
        self.channels_by(|url| match url.scheme() {
            "https" => tls.clone().channel(url, &tune),
            _ => lazy_channel(url.as_str(), None, &tune),
        })
    }

    fn channels_by(&self, channel: impl Fn(&Url) -> Result<Channel, Error>) -> Result<Vec<Channel>, Failure> {
        let unusable = |url: &Url, error: Error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Failure::usage(format_args!("--control {url}: {cause}"))
        };
        self.urls()?.iter().map(|url| channel(url).map_err(|error| unusable(url, error))).collect()
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let tls = ClientTlsConfig::new();
        let tls = match &self.control_ca_file {
            None => tls.with_native_roots(),
            Some(path) => {
                let pem = pem("--control-ca-file", path, first_certificate)?;
                tls.ca_certificate(Certificate::from_pem(pem))
            }
        };
        if let Some(plain) = self.urls()?.iter().find(|url| url.scheme() != "https")
            && (self.control_ca_file.is_some() || self.control_client_cert.is_some())
        {
            return Err(Failure::usage(format_args!(
                "--control {plain}: http does not use the given certificates; write https://"
            )));
        }
        Ok(match (&self.control_client_cert, &self.control_client_key) {
            (None, None) => tls,
            (Some(cert), Some(key)) => tls.identity(Identity::from_pem(
                pem("--control-client-cert", cert, first_certificate)?,
                pem("--control-client-key", key, |pem| {
                    PrivateKeyDer::from_pem_slice(pem).map(drop).map_err(|error| error.to_string())
                })?,
            )),
            (Some(cert), None) => {
                return Err(Failure::usage(format_args!(
                    "--control-client-cert {}: needs --control-client-key too",
                    cert.display()
                )));
            }
            (None, Some(key)) => {
                return Err(Failure::usage(format_args!(
                    "--control-client-key {}: needs --control-client-cert too",
                    key.display()
                )));
            }
        })
    }
}

/// Reads a PEM file and checks its content.
fn pem(flag: &str, path: &PathBuf, check: impl Fn(&[u8]) -> Result<(), String>) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| Failure::usage(format_args!("{flag} {}: {why}", path.display()));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    check(&pem).map_err(wrong)?;
    Ok(pem)
}

fn first_certificate(pem: &[u8]) -> Result<(), String> {
    CertificateDer::from_pem_slice(pem).map(drop).map_err(|error| error.to_string())
}
