//! `roadstead token`: credentials of groups and nodes.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use roadstead_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, RevokeTokenRequest, Token, TokenKind,
    create_token_request::Owner, token_service_client::TokenServiceClient,
};
use url::Url;

use super::{duration, registry_guess, to_proto};
use crate::{
    connect::{AdminChannel, AdminFlags, CallError, PAGE_SIZE, all_pages},
    failure::Failure,
    output::{Details, Format, Table, human},
};

/// Create, list and revoke tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead token create --group acme --name ci --expires-in 30d
  roadstead token create --node --name node-1
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
    /// Create a token; its secret is shown this once
    Create(Create),
    /// List tokens, without their secrets
    List {
        /// Only this group's
        #[arg(long, value_name = "PATH")]
        group: Option<String>,
    },
    /// Revoke a token: it stops working at once
    Revoke {
        /// The token's id (see `token list`)
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    owner: OwnerFlags,
    /// What you call it
    #[arg(long)]
    name: String,
    /// What it may do; repeat for more [default: read_registry and write_registry, which pulls need]
    #[arg(long = "scope", value_enum, value_delimiter = ',', conflicts_with = "node")]
    scopes: Vec<Scope>,
    /// How long it works, for example 30d [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OwnerFlags {
    /// A deploy token of this group, good for its subgroups too
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// A token for a data-plane node
    #[arg(long)]
    node: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scope {
    /// Pull; needs write_registry too
    ReadRegistry,
    /// Pull; needs read_registry too
    WriteRegistry,
    /// Read the group's settings and cache through the API
    ReadApi,
    /// Change the group's settings through the API
    Api,
    /// Purge the group's cache
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

impl TokenCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let session = self.admin.connect()?;
        let tokens = TokenServiceClient::new(session.channel());
        session.settle(self.action.run(tokens, self.admin.output, &session.control).await)
    }
}

impl Action {
    async fn run(
        self,
        mut tokens: TokenServiceClient<AdminChannel>,
        output: Format,
        control: &Url,
    ) -> Result<(), CallError> {
        match self {
            Self::Create(create) => {
                let for_node = create.owner.node;
                let answer = tokens.create_token(CreateTokenRequest::from(create)).await?.into_inner();
                output.answer(&answer, || details(&answer))?;
                if output == Format::Table {
                    eprintln!("{}", hint(&answer, for_node, control));
                }
            }
            Self::List { group } => {
                let group_path = group.unwrap_or_default();
                let items = all_pages(|page_token| {
                    let mut tokens = tokens.clone();
                    let group_path = group_path.clone();
                    async move {
                        let request =
                            ListTokensRequest { group_path, page_size: PAGE_SIZE, page_token, user: String::new() };
                        let page = tokens.list_tokens(request).await?.into_inner();
                        Ok((page.tokens, page.next_page_token))
                    }
                })
                .await?;
                output.list(&items, "No tokens.", |tokens| table(tokens, SystemTime::now()))?;
            }
            Self::Revoke { id } => {
                let answer = tokens.revoke_token(RevokeTokenRequest { id: id.clone() }).await?.into_inner();
                output.done(&answer, format_args!("Revoked token {id}."))?;
            }
        }
        Ok(())
    }
}

impl From<Create> for CreateTokenRequest {
    fn from(create: Create) -> Self {
        let owner = create.owner.group.map_or(Owner::Node(create.owner.node), Owner::GroupPath);
        Self {
            owner: Some(owner),
            name: create.name,
            scopes: create.scopes.into_iter().map(|scope| scope.name().to_owned()).collect(),
            expires_in: create.expires_in.map(to_proto),
            ..Default::default()
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

fn hint(answer: &CreateTokenResponse, for_node: bool, control: &Url) -> String {
    let next = if for_node {
        let control = control.as_str().trim_end_matches('/');
        format!(
            "Start a node with it:\n  ROADSTEAD_NODE_TOKEN={} roadstead dataplane --control {control}",
            answer.token
        )
    } else {
        format!(
            "Sign in with it (the token is the password):\n  docker login --username {} {}",
            answer.username,
            registry_guess(control)
        )
    };
    format!("\nKeep the token now: it is not shown again. {next}")
}

fn table(tokens: &[Token], now: SystemTime) -> Table {
    Table::new(["ID", "KIND", "NAME", "USERNAME", "GROUP", "SCOPES", "EXPIRES", "LAST USED"], tokens, |token| {
        let kind = match token.kind() {
            TokenKind::Admin => "admin",
            TokenKind::Group => "group",
            TokenKind::Node => "node",
            TokenKind::Personal => "personal",
            TokenKind::GroupAccess => "access",
            TokenKind::Job => "job",
            TokenKind::Service => "service",
            TokenKind::Unspecified => "unknown",
        };
        [
            token.id.clone(),
            kind.to_owned(),
            token.name.clone(),
            token.username.clone(),
            or_dash(token.group_path.clone()),
            or_dash(token.scopes.join(",")),
            human::relative(token.expires_at.as_ref(), now, "never"),
            human::relative(token.last_used_at.as_ref(), now, "never"),
        ]
    })
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_list_of_tokens_reads_well() {
        let token = Token {
            id: "0190".into(),
            kind: TokenKind::Group.into(),
            name: "ci".into(),
            username: "group-token-1".into(),
            group_path: "acme".into(),
            scopes: vec!["read_registry".into(), "write_registry".into()],
            created_at: None,
            expires_at: Some(Timestamp { seconds: 86_400 * 30, nanos: 0 }),
            last_used_at: None,
            ..Default::default()
        };
        assert_eq!(
            table(&[token], UNIX_EPOCH).to_string(),
            "ID     KIND    NAME   USERNAME        GROUP   SCOPES                         EXPIRES      LAST USED\n\
             0190   group   ci     group-token-1   acme    read_registry,write_registry   in 30 days   never\n"
        );
    }

    #[test]
    fn a_new_token_comes_with_the_way_to_use_it() {
        let control = Url::parse("http://127.0.0.1:7071").unwrap();
        let answer = CreateTokenResponse {
            id: "0190".into(),
            username: "u1".into(),
            token: "rs_dep_x".into(),
            expires_at: None,
        };
        assert_eq!(
            details(&answer).to_string(),
            "ID:         0190\nUsername:   u1\nToken:      rs_dep_x\nExpires:    never\n"
        );
        assert!(hint(&answer, false, &control).ends_with("docker login --username u1 127.0.0.1:7070"));
        assert!(hint(&answer, true, &control).ends_with("roadstead dataplane --control http://127.0.0.1:7071"));
    }

    #[test]
    fn scopes_are_spelled_as_the_contract_has_them() {
        for scope in Scope::value_variants() {
            assert_eq!(scope.to_possible_value().unwrap().get_name(), scope.name());
        }
    }
}
