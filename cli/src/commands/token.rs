//! `roadstead token`: tokens of people, groups, CI jobs, services and nodes.

mod create;

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    CreateJobTokenRequest, CreateJobTokenResponse, DeleteTokenRequest, GetTokenRequest, ListTokensRequest, Role, Token,
    TokenKind, token_service_client::TokenServiceClient,
};

use self::create::Create;
use super::{password, request_id::RequestId};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, Table, human},
    value_parsers::{duration, role_name, to_proto},
};

/// Create, list and revoke tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead token create --group acme --name ci --expires-in 30d
  roadstead token create --user alice --name laptop \\
      --password-stdin < password.txt
  roadstead token create --node --name node-1
  roadstead token create-job acme --expires-in 15m
  roadstead token list --group acme
  roadstead token revoke 01920c3e-0000-7000-8000-000000000000")]
pub struct TokenCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    /// Create a job token, which pulls from one group and its subgroups for minutes
    #[command(after_help = "Example:
  roadstead token create-job acme --name https://ci.example/jobs/17")]
    CreateJob {
        /// Path of the group
        path: String,
        /// Lifetime: 1m to 2h [default: 15m]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        /// Name of the token in the audit, for example the job's URL
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        request: RequestId,
    },
    /// Show a token, without its secret
    #[command(after_help = "Example:\n  roadstead token get 01920c3e-0000-7000-8000-000000000000")]
    Get {
        /// Id of the token (see `token list`)
        id: String,
    },
    /// List tokens, without their secrets
    #[command(after_help = "Example:\n  roadstead token list --group acme")]
    List {
        /// Only tokens of this group
        #[arg(long, value_name = "PATH", conflicts_with = "user")]
        group: Option<String>,
        /// Only tokens of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Revoke a token; it stops working within seconds
    #[command(after_help = "Example:\n  roadstead token revoke 01920c3e-0000-7000-8000-000000000000")]
    Revoke {
        /// Id of the token (see `token list`)
        id: String,
    },
}

impl TokenCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Create(create) = &self.action
            && let Some(user) = create.signs_in_as()?
        {
            let password = password::existing(true, &user)?;
            return self.admin.call_as(&user, password, async |session| self.action.run(session).await).await;
        }
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut tokens = TokenServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Create(create) => create.run(tokens, session).await?,
            Self::CreateJob { path, expires_in, name, request } => {
                let request = CreateJobTokenRequest {
                    group_path: path,
                    expires_in: expires_in.map(to_proto),
                    name,
                    request_id: request.id,
                };
                let answer = tokens.create_job_token(request).await?.into_inner();
                output.answer(&answer, || job_details(&answer))?;
            }
            Self::Get { id } => {
                let answer = tokens.get_token(GetTokenRequest { id }).await?.into_inner();
                output.answer(&answer, || details(answer.token.as_ref()))?;
            }
            Self::List { group, user } => {
                let (group_path, user) = (group.unwrap_or_default(), user.unwrap_or_default());
                let request = ListTokensRequest { group_path, user, ..Default::default() };
                session.print_list(request, "No tokens.", table).await?;
            }
            Self::Revoke { id } => {
                let answer = tokens.delete_token(DeleteTokenRequest { id: id.clone() }).await?.into_inner();
                output.done(&answer, format_args!("Revoked token {id}."))?;
            }
        }
        Ok(())
    }
}

fn job_details(answer: &CreateJobTokenResponse) -> Details {
    Details::default()
        .with("ID", &answer.id)
        .with("Username", &answer.username)
        .with("Token", &answer.token)
        .with("Expires", human::absolute(answer.expires_at.as_ref(), "never"))
}

/// Returns the kind of a token, with its role if it has one.
fn kind(token: &Token) -> String {
    let kind = match token.kind() {
        TokenKind::Admin => "admin",
        TokenKind::Group => "deploy",
        TokenKind::Node => "node",
        TokenKind::Personal => "personal",
        TokenKind::GroupAccess => "access",
        TokenKind::Job => "job",
        TokenKind::Service => "service",
        TokenKind::Unspecified => "unknown",
    };
    match token.role() {
        Role::Unspecified => kind.to_owned(),
        role => format!("{kind} ({})", role_name(role)),
    }
}

/// Returns the owner of a token: the user or the group.
fn owner(token: &Token) -> &str {
    if token.user.is_empty() { &token.group_path } else { &token.user }
}

fn details(token: Option<&Token>) -> Details {
    let Some(token) = token else { return Details::default() };
    Details::default()
        .with("ID", &token.id)
        .with("Kind", kind(token))
        .with("Name", human::or_dash(&token.name))
        .with("Username", human::or_dash(&token.username))
        .with("Owner", human::or_dash(owner(token)))
        .with("Scopes", human::or_dash(&token.scopes.join(",")))
        .with("Created", human::absolute(token.created_at.as_ref(), "-"))
        .with("Expires", human::absolute(token.expires_at.as_ref(), "never"))
        .with("Last used", human::absolute(token.last_used_at.as_ref(), "never"))
}

fn table(tokens: &[Token], now: SystemTime) -> Table {
    Table::new(["ID", "KIND", "NAME", "+USERNAME", "+OWNER", "+SCOPES", "EXPIRES", "+LAST USED"], tokens, |token| {
        [
            token.id.clone(),
            kind(token),
            human::or_dash(&token.name),
            human::or_dash(&token.username),
            human::or_dash(owner(token)),
            human::or_dash(&token.scopes.join(",")),
            human::relative(token.expires_at.as_ref(), now, "never"),
            human::relative(token.last_used_at.as_ref(), now, "never"),
        ]
    })
}

#[cfg(test)]
mod tests;
