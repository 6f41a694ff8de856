//! `roadstead token create`: every kind of long-lived token.

use std::time::Duration;

use clap::{Args, ValueEnum};
use roadstead_proto::{
    GroupPath,
    v1::{
        CreateTokenRequest, CreateTokenResponse, Role as ProtoRole, TokenKind, create_token_request::Owner,
        token_service_client::TokenServiceClient,
    },
};
use url::Url;

use crate::{
    commands::{registry, request_id::RequestId},
    connect::{AdminChannel, CallError, Session},
    failure::Failure,
    output::{Details, human},
    value_parsers::{Role, duration, to_proto},
};

/// Create a token; its secret is shown only once
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead token create --group acme --name ci --expires-in 30d
  roadstead token create --group acme --name automation \\
      --kind access --role maintainer --scope api
  roadstead token create --group acme --kind service --name purger
  roadstead token create --user alice --name laptop \\
      --password-stdin < password.txt
  roadstead token create --service --name purge-everything
  roadstead token create --node --name node-1")]
pub struct Create {
    #[command(flatten)]
    owner: OwnerFlags,
    /// Kind of a group's token [default: deploy]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Role of an access token in the group
    #[arg(long, value_enum, required_if_eq("kind", "access"))]
    role: Option<Role>,
    /// Name of the token in lists and in the audit
    #[arg(long)]
    name: String,
    /// Scope of the token; may be repeated [default: read_registry and write_registry, which pulls need]
    #[arg(long = "scope", value_enum, value_delimiter = ',', conflicts_with_all = ["node", "service"])]
    scopes: Vec<Scope>,
    /// Lifetime, for example 30d [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
    /// Sign in as --user with the password on stdin, to create a first token without having one
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    request: RequestId,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OwnerFlags {
    /// Create a token of this group, which works for its subgroups too
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// Create a personal token of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Create a token for a data-plane node
    #[arg(long)]
    node: bool,
    /// Create a token for another service, which may purge every group and do nothing else
    #[arg(long)]
    service: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// User name and secret, to pull with
    Deploy,
    /// Acts as a member of the group with a role of its own
    Access,
    /// Purges the group and does nothing else
    Service,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scope {
    /// Pull; needs write_registry too
    ReadRegistry,
    /// Pull; needs read_registry too
    WriteRegistry,
    /// Read settings and cache through the API
    ReadApi,
    /// Change settings through the API
    Api,
    /// Purge the cache
    Purge,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::ReadRegistry => "read_registry",
            Self::WriteRegistry => "write_registry",
            Self::ReadApi => "read_api",
            Self::Api => "api",
            Self::Purge => "purge",
        }
    }
}

/// Purpose of a new token, for the hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Pull,
    Api,
    Node,
}

impl Create {
    /// Returns the user whose password is on stdin, if one is. Fails on flags that contradict each other and that clap cannot
    /// refuse.
    pub fn signs_in_as(&self) -> Result<Option<String>, Failure> {
        if self.kind.is_some() && self.owner.group.is_none() {
            return Err(Failure::usage("--kind needs --group; other owners have tokens of one kind"));
        }
        if self.role.is_some() && self.kind != Some(Kind::Access) {
            return Err(Failure::usage("--role needs --kind access; other tokens have no role"));
        }
        if self.password_stdin && self.owner.user.is_none() {
            return Err(Failure::usage(
                "--password-stdin needs --user, whose password it is; create other tokens with --token",
            ));
        }
        Ok(self.owner.user.clone().filter(|_| self.password_stdin))
    }

    /// Calls the control plane and prints its answer, with a hint for people on how to use the token.
    pub async fn run(self, mut tokens: TokenServiceClient<AdminChannel>, session: &Session) -> Result<(), CallError> {
        let purpose = self.purpose();
        let group = self.owner.group.as_deref().and_then(|path| path.parse::<GroupPath>().ok());
        let answer = tokens.create_token(CreateTokenRequest::from(self)).await?.into_inner();
        session.output.answer(&answer, || details(&answer))?;
        if session.output.is_for_people() {
            let told = match (purpose, group) {
                (Use::Pull, Some(group)) => registry::image_prefix(session, &group, None).await.ok(),
                _ => None,
            };
            let server = told.map_or_else(|| registry::guess(&session.control).to_owned(), |prefix| prefix.server);
            eprintln!("{}", hint(&answer, purpose, &session.control, &server));
        }
        Ok(())
    }

    fn purpose(&self) -> Use {
        let pulls = self.scopes.is_empty() || self.scopes.iter().any(|scope| scope.name().ends_with("_registry"));
        match self.owner.node {
            true => Use::Node,
            false if pulls && !self.owner.service && self.kind != Some(Kind::Service) => Use::Pull,
            false => Use::Api,
        }
    }
}

impl From<Create> for CreateTokenRequest {
    fn from(create: Create) -> Self {
        let owner = match create.owner {
            OwnerFlags { group: Some(path), .. } => Owner::GroupPath(path),
            OwnerFlags { user: Some(name), .. } => Owner::User(name),
            OwnerFlags { service: true, .. } => Owner::Service(true),
            OwnerFlags { node, .. } => Owner::Node(node),
        };
        let kind = match create.kind {
            None if matches!(owner, Owner::GroupPath(_)) => TokenKind::Group,
            Some(Kind::Deploy) => TokenKind::Group,
            Some(Kind::Access) => TokenKind::GroupAccess,
            Some(Kind::Service) => TokenKind::Service,
            None => TokenKind::Unspecified,
        };
        Self {
            owner: Some(owner),
            name: create.name,
            scopes: create.scopes.into_iter().map(|scope| scope.name().to_owned()).collect(),
            expires_in: create.expires_in.map(to_proto),
            kind: kind.into(),
            role: create.role.map_or(ProtoRole::Unspecified, ProtoRole::from).into(),
            request_id: create.request.id,
        }
    }
}

fn details(answer: &CreateTokenResponse) -> Details {
    Details::default()
        .with("ID", &answer.id)
        .with("Username", &answer.username)
        .with("Token", &answer.token)
        .with("Expires", human::absolute(answer.expires_at.as_ref(), "never"))
}

fn hint(answer: &CreateTokenResponse, purpose: Use, control: &Url, server: &str) -> String {
    let url = control.as_str().trim_end_matches('/');
    let next = match purpose {
        Use::Node => {
            let token = &answer.token;
            format!("Start a node with it:\n  ROADSTEAD_NODE_TOKEN={token} roadstead dataplane --control {url}")
        }
        Use::Pull => format!(
            "Sign in with it (the token is the password):\n  docker login --username {} {server}",
            answer.username,
        ),
        Use::Api => format!("Use it as ROADSTEAD_TOKEN, or as `Authorization: Bearer …` at {url}."),
    };
    format!("\nKeep the token now: it is not shown again. {next}")
}

#[cfg(test)]
mod tests;
