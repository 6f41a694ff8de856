//! `roadstead upstream`: registries to pull from, and groups' credentials for them.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    DeleteCredentialRequest, DeleteUpstreamRequest, ListUpstreamsRequest, SetCredentialRequest, SetUpstreamRequest,
    Upstream, UpstreamCredential, upstream_service_client::UpstreamServiceClient,
};
use secrecy::ExposeSecret;

use super::password_from_stdin;
use crate::{
    connect::{AdminChannel, AdminFlags, CallError, PAGE_SIZE, all_pages},
    failure::Failure,
    output::{Details, Format, Table, human},
};

/// Set upstream registries, and sign groups in to them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream set ghcr.io --url https://ghcr.io
  roadstead upstream set docker.io --url https://mirror.example --token-host auth.example
  roadstead upstream login acme docker.io --username bot --password-stdin < password.txt
  roadstead upstream logout acme docker.io")]
pub struct UpstreamCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an upstream or change where it is
    Set {
        /// How image names refer to it: docker.io, ghcr.io, registry.example:5000
        host: String,
        /// Where it is
        #[arg(long)]
        url: String,
        /// Host, besides the URL's own, whose token service may be given credentials; repeat for more
        #[arg(long = "token-host", value_name = "HOST")]
        token_hosts: Vec<String>,
    },
    /// List upstreams
    List,
    /// Remove an upstream and the credentials groups have for it
    Delete {
        /// The upstream's host
        host: String,
    },
    /// Store a group's credentials for an upstream, encrypted
    Login {
        /// Path of the group
        path: String,
        /// The upstream's host
        host: String,
        /// User name at the upstream
        #[arg(long, short)]
        username: String,
        /// Read the password or access token from stdin
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Forget a group's credentials for an upstream
    Logout {
        /// Path of the group
        path: String,
        /// The upstream's host
        host: String,
    },
}

impl UpstreamCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let session = self.admin.connect()?;
        let upstreams = UpstreamServiceClient::new(session.channel());
        session.settle(self.action.run(upstreams, self.admin.output).await)
    }
}

impl Action {
    async fn run(self, mut upstreams: UpstreamServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        match self {
            Self::Set { host, url, token_hosts } => {
                let request = SetUpstreamRequest { host, url, token_hosts, ..Default::default() };
                let answer = upstreams.set_upstream(request).await?.into_inner();
                output.answer(&answer, || details(answer.upstream.as_ref()))?;
            }
            Self::List => {
                let items = all_pages(|page_token| {
                    let mut upstreams = upstreams.clone();
                    async move {
                        let request = ListUpstreamsRequest { page_size: PAGE_SIZE, page_token };
                        let page = upstreams.list_upstreams(request).await?.into_inner();
                        Ok((page.upstreams, page.next_page_token))
                    }
                })
                .await?;
                output.list(&items, "No upstreams.", |upstreams| table(upstreams, SystemTime::now()))?;
            }
            Self::Delete { host } => {
                let request = DeleteUpstreamRequest { host: host.clone() };
                let answer = upstreams.delete_upstream(request).await?.into_inner();
                output.done(&answer, format_args!("Deleted upstream {host} and the groups' credentials for it."))?;
            }
            Self::Login { path, host, username, password_stdin: _ } => {
                let password = password_from_stdin()?.expose_secret().to_owned();
                let request =
                    SetCredentialRequest { group_path: path, host, username, password, skip_verification: false };
                let answer = upstreams.set_credential(request).await?.into_inner();
                output.done(&answer, stored(answer.credential.as_ref()))?;
            }
            Self::Logout { path, host } => {
                let request = DeleteCredentialRequest { group_path: path.clone(), host: host.clone() };
                let answer = upstreams.delete_credential(request).await?.into_inner();
                output.done(&answer, format_args!("Group {path} has no credentials for {host} any more."))?;
            }
        }
        Ok(())
    }
}

fn stored(credential: Option<&UpstreamCredential>) -> String {
    let Some(UpstreamCredential { group_path, host, username, .. }) = credential else { return "Stored.".to_owned() };
    format!("Group {group_path} pulls from {host} as {username}. The password was stored, not tried.")
}

fn token_hosts(upstream: &Upstream, separator: &str) -> String {
    if upstream.token_hosts.is_empty() { "-".to_owned() } else { upstream.token_hosts.join(separator) }
}

fn details(upstream: Option<&Upstream>) -> Details {
    let Some(upstream) = upstream else { return Details::default() };
    Details::default()
        .with("Host", &upstream.host)
        .with("URL", &upstream.url)
        .with("Token hosts", token_hosts(upstream, ", "))
        .with("Updated", human::absolute(upstream.updated_at.as_ref(), "built in"))
}

fn table(upstreams: &[Upstream], now: SystemTime) -> Table {
    Table::new(["HOST", "URL", "TOKEN HOSTS", "UPDATED"], upstreams, |upstream| {
        [
            upstream.host.clone(),
            upstream.url.clone(),
            token_hosts(upstream, ","),
            human::relative(upstream.updated_at.as_ref(), now, "built in"),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_upstreams_reads_well() {
        let hub = Upstream {
            host: "docker.io".into(),
            url: "https://registry-1.docker.io".into(),
            token_hosts: vec!["auth.docker.io".into()],
            updated_at: None,
            ..Default::default()
        };
        assert_eq!(
            table(&[hub], SystemTime::UNIX_EPOCH).to_string(),
            "HOST        URL                            TOKEN HOSTS      UPDATED\n\
             docker.io   https://registry-1.docker.io   auth.docker.io   built in\n"
        );
    }
}
