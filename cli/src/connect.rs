//! How admin commands reach the control plane: its address, the API token, and what its refusals mean for the person
//! who typed the command.

mod credential;
mod pages;
mod refusal;
mod token;

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use url::Url;

use crate::{failure::Failure, output::Format};

use credential::Credential;
pub use pages::{all_pages, first_pages};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer; the longest calls, purges and deletions of large groups, take seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// What every admin command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminFlags {
    /// Where the control plane is
    #[arg(long, global = true, env = "ROADSTEAD_CONTROL", default_value = "http://127.0.0.1:7071", value_name = "URL")]
    #[arg(value_parser = control_url, help_heading = "Connection and output")]
    control: Url,

    /// API token; without it ROADSTEAD_ADMIN_TOKEN or the file DIR/admin-token is used
    #[arg(long, global = true, env = "ROADSTEAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    #[arg(help_heading = "Connection and output")]
    token: Option<SecretString>,

    /// The server's folder, where its first start left the administrator's token
    #[arg(long, global = true, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    #[arg(help_heading = "Connection and output")]
    data_dir: PathBuf,

    /// How to print
    #[arg(
        long,
        short,
        global = true,
        env = "ROADSTEAD_OUTPUT",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    #[arg(help_heading = "Connection and output")]
    pub output: Format,
}

/// A connection to the control plane, with a credential.
pub struct Session {
    /// Where it leads.
    pub control: Url,
    /// How to print answers.
    pub output: Format,
    channel: Channel,
    header: Authorization,
    credential: Credential,
}

/// What the generated clients run over.
pub type AdminChannel = InterceptedService<Channel, Authorization>;

impl AdminFlags {
    /// Runs what a command does at the control plane, with the API token, and says what a refused call means.
    pub async fn call(&self, command: impl AsyncFnOnce(&Session) -> Result<(), CallError>) -> Result<(), Failure> {
        self.call_with(Credential::Token(token::find(self.token.as_ref(), &self.data_dir)?), command).await
    }

    /// The same as a person who signs in with a password.
    pub async fn call_as(
        &self,
        user: &str,
        password: SecretString,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        self.call_with(Credential::Password { user: user.to_owned(), password }, command).await
    }

    /// The connection is made with the first call.
    async fn call_with(
        &self,
        credential: Credential,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        let session = Session {
            control: self.control.clone(),
            output: self.output,
            channel: endpoint(&self.control)?.timeout(CALL_TIMEOUT).connect_lazy(),
            header: Authorization(credential.header()?),
            credential,
        };
        command(&session).await.map_err(|error| match error {
            CallError::Refused(status) => {
                Failure::failed(refusal::explain(&status, &self.control, &session.credential))
            }
            CallError::Failed(failure) => failure,
        })
    }
}

impl Session {
    /// The channel for a client.
    pub fn channel(&self) -> AdminChannel {
        InterceptedService::new(self.channel.clone(), self.header.clone())
    }
}

/// Why a command that calls the control plane stopped.
#[derive(Debug)]
pub enum CallError {
    /// The call failed, here or there.
    Refused(Status),
    /// Something else did.
    Failed(Failure),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Adds the credential to every call.
#[derive(Clone)]
pub struct Authorization(MetadataValue<Ascii>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The endpoint behind a URL of the control plane; https trusts the system's certificates (`SSL_CERT_FILE` adds others).
pub fn endpoint(control: &Url) -> Result<Endpoint, Failure> {
    let unusable = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Failure::usage(format_args!("--control {control}: {cause}"))
    };
    let endpoint = Endpoint::from_shared(control.to_string()).map_err(unusable)?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    if control.scheme() != "https" {
        return Ok(endpoint);
    }
    endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(unusable)
}

/// Reads the value of `--control`.
pub fn control_url(text: &str) -> Result<Url, String> {
    let hint = "expected http://HOST:PORT or https://HOST:PORT";
    let url = Url::parse(text).map_err(|error| format!("{error}; {hint}"))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(hint.to_owned());
    }
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("a path, query or credentials have no place here; {hint}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_urls_are_bare_http_or_https() {
        for good in ["http://127.0.0.1:7071", "https://roadstead.example/", "http://[::1]:7071"] {
            assert!(control_url(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:7071", "ftp://h", "http://u:p@h", "http://h/x", "http://h?x", "unix:///x"] {
            assert!(control_url(bad).is_err(), "{bad}");
        }
    }
}
