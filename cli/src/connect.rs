//! How admin commands reach the control plane: its address, the API token, and what its refusals mean for the person
//! who typed the command.

mod refusal;
mod token;

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use url::Url;

use crate::{failure::Failure, output::Format};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer; the longest calls, purges and deletions of large groups, take seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Items asked for in one page.
pub const PAGE_SIZE: i32 = 200;

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

/// A connection to the control plane, with a token.
#[derive(Clone)]
pub struct Session {
    /// Where it leads.
    pub control: Url,
    channel: Channel,
    bearer: Bearer,
    token_source: String,
}

/// What the generated clients run over.
pub type AdminChannel = InterceptedService<Channel, Bearer>;

impl AdminFlags {
    /// Finds the token and prepares the connection, which is made with the first call.
    pub fn connect(&self) -> Result<Session, Failure> {
        let found = token::find(self.token.as_ref(), &self.data_dir)?;
        let mut header: MetadataValue<Ascii> =
            format!("Bearer {}", found.secret.expose_secret()).parse().map_err(|_| {
                Failure::usage(format_args!(
                    "the token from {} is not one: it has characters that no token has",
                    found.source
                ))
            })?;
        header.set_sensitive(true);
        let endpoint = endpoint(&self.control)?.timeout(CALL_TIMEOUT);
        Ok(Session {
            control: self.control.clone(),
            channel: endpoint.connect_lazy(),
            bearer: Bearer(header),
            token_source: found.source,
        })
    }
}

impl Session {
    /// The channel for a client.
    pub fn channel(&self) -> AdminChannel {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// Says what a refused call means for the person who typed the command.
    pub fn settle(&self, result: Result<(), CallError>) -> Result<(), Failure> {
        result.map_err(|error| match error {
            CallError::Refused(status) => Failure::failed(refusal::explain(&status, &self.control, &self.token_source)),
            CallError::Failed(failure) => failure,
        })
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

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
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

/// Follows a list to its last page. `page` takes a page token and gives items and the next token.
pub async fn all_pages<T, F>(mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Status>
where
    F: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let (more, next) = page(token).await?;
        items.extend(more);
        if next.is_empty() {
            return Ok(items);
        }
        token = next;
    }
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

    #[tokio::test]
    async fn lists_are_followed_to_their_last_page() {
        let items = all_pages(|token| async move {
            let at = token.parse::<i32>().unwrap_or(0);
            Ok((vec![at, at + 1], if at < 4 { (at + 2).to_string() } else { String::new() }))
        });
        assert_eq!(items.await.unwrap(), [0, 1, 2, 3, 4, 5]);
    }
}
