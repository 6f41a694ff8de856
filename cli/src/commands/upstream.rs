//! `roadstead upstream`: registries to pull from, groups' credentials for them, and their health.

mod set;
mod show;
mod status;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    DeleteCredentialRequest, DeleteUpstreamRequest, GetUpstreamRequest, ListCredentialsRequest,
    ListUpstreamStatusesRequest, ListUpstreamsRequest, UpdateCredentialRequest, UpstreamCredential,
    upstream_service_client::UpstreamServiceClient,
};
use secrecy::ExposeSecret;

use self::{
    set::{Set, Update},
    show::{details, table},
};
use super::{confirm, password};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Table, human},
};

/// The upstream that every installation has; deleting it resets its settings.
const BUILT_IN: &str = "docker.io";

/// Manage upstream registries and groups' credentials for them, and show their health
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead upstream set ghcr.io --url https://ghcr.io
  roadstead upstream set docker.io --url https://mirror.example \\
      --token-host auth.example
  roadstead upstream update docker.io --reserve 20%
  roadstead upstream login acme docker.io --username bot \\
      --password-stdin < password.txt
  roadstead upstream logout acme docker.io
  roadstead upstream credentials acme
  roadstead upstream status")]
pub struct UpstreamCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    Set(Set),
    Update(Update),
    /// Show an upstream with all its settings
    #[command(after_help = "Example:\n  roadstead upstream get ghcr.io")]
    Get {
        /// Host of the upstream
        host: String,
    },
    /// List upstreams
    #[command(after_help = "Example:\n  roadstead upstream list")]
    List,
    /// Delete an upstream and all groups' credentials for it; docker.io is reset to its built-in settings
    #[command(after_help = "Example:\n  roadstead upstream delete ghcr.io --yes")]
    Delete {
        /// Host of the upstream
        host: String,
        /// Delete without asking
        #[arg(long, short)]
        yes: bool,
    },
    /// Try a group's credentials at an upstream and store them, encrypted
    #[command(after_help = "Example:
  roadstead upstream login acme docker.io --username bot \\
      --password-stdin < password.txt")]
    Login {
        /// Path of the group
        path: String,
        /// Host of the upstream
        host: String,
        /// User name at the upstream
        #[arg(long, short)]
        username: String,
        /// Read the password or access token from stdin [default: ask for it on the terminal]
        #[arg(long)]
        password_stdin: bool,
        /// Store the credentials without trying them
        #[arg(long)]
        no_verify: bool,
    },
    /// Delete a group's credentials for an upstream
    #[command(after_help = "Example:\n  roadstead upstream logout acme docker.io")]
    Logout {
        /// Path of the group
        path: String,
        /// Host of the upstream
        host: String,
    },
    /// List a group's credentials for upstreams: user names, never passwords
    #[command(after_help = "Example:\n  roadstead upstream credentials acme")]
    Credentials {
        /// Path of the group
        path: String,
    },
    /// Show health and pull limits of upstreams for each set of credentials, and the pulls of each group
    #[command(after_help = "Examples:
  roadstead upstream status
  roadstead upstream status --group acme -o json")]
    Status {
        /// Only upstreams and credentials of this group [default: all; for administrators]
        #[arg(long, value_name = "PATH")]
        group: Option<String>,
    },
}

impl UpstreamCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Delete { host, yes } = &self.action {
            let what = if host == BUILT_IN {
                "Reset docker.io to its built-in settings"
            } else {
                &format!("Delete upstream {host}")
            };
            confirm::ask(*yes, &format!("{what}, and delete all groups' credentials for it?"))?;
        }
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut upstreams = UpstreamServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Set(set) => {
                let answer = upstreams.update_upstream(set.request()?).await?.into_inner();
                output.answer(&answer, || details(answer.upstream.as_ref()))?;
            }
            Self::Update(update) => {
                let answer = upstreams.update_upstream(update.request()?).await?.into_inner();
                output.answer(&answer, || details(answer.upstream.as_ref()))?;
            }
            Self::Get { host } => {
                let answer = upstreams.get_upstream(GetUpstreamRequest { host }).await?.into_inner();
                output.answer(&answer, || details(answer.upstream.as_ref()))?;
            }
            Self::List => {
                session.print_list(ListUpstreamsRequest::default(), "No upstreams.", table).await?;
            }
            Self::Delete { host, .. } => {
                let request = DeleteUpstreamRequest { host: host.clone() };
                let answer = upstreams.delete_upstream(request).await?.into_inner();
                let done = if host == BUILT_IN { "Reset" } else { "Deleted" };
                output.done(
                    &answer,
                    format_args!("{done} upstream {host} and deleted all groups' credentials for it."),
                )?;
            }
            Self::Login { path, host, username, password_stdin, no_verify } => {
                let password = password::existing(password_stdin, &format!("{username} at {host}"))?;
                let request = UpdateCredentialRequest {
                    group_path: path,
                    host,
                    username,
                    password: password.expose_secret().to_owned(),
                    skip_verification: no_verify,
                    allow_missing: true,
                };
                let answer = upstreams.update_credential(request).await?.into_inner();
                output.done(&answer, stored(answer.credential.as_ref(), no_verify))?;
            }
            Self::Logout { path, host } => {
                let request = DeleteCredentialRequest { group_path: path.clone(), host: host.clone() };
                let answer = upstreams.delete_credential(request).await?.into_inner();
                output.done(&answer, format_args!("Deleted the credentials of group {path} for {host}."))?;
            }
            Self::Credentials { path } => {
                let request = ListCredentialsRequest { group_path: path, ..Default::default() };
                session.print_list(request, "No credentials.", credentials).await?;
            }
            Self::Status { group } => {
                let request =
                    ListUpstreamStatusesRequest { group_path: group.unwrap_or_default(), ..Default::default() };
                session.print_list(request, "No upstream has been contacted yet.", status::table).await?;
            }
        }
        Ok(())
    }
}

fn credentials(credentials: &[UpstreamCredential], now: SystemTime) -> Table {
    Table::new(["HOST", "USER", "STORED"], credentials, |credential| {
        [
            credential.host.clone(),
            credential.username.clone(),
            human::relative(credential.updated_at.as_ref(), now, "-"),
        ]
    })
}

fn stored(credential: Option<&UpstreamCredential>, untried: bool) -> String {
    let Some(UpstreamCredential { group_path, host, username, .. }) = credential else { return "Stored.".to_owned() };
    let tried =
        if untried { "The credentials were stored without a try." } else { "The credentials work and were stored." };
    format!("Group {group_path} pulls from {host} as {username}. {tried}")
}
