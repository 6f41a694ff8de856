//! `roadstead oidc`: sign-in by the ID tokens of CI systems.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    ClaimRule, CreateIssuerRequest, CreateTrustRequest, DeleteIssuerRequest, DeleteTrustRequest, GetIssuerRequest,
    GetTrustRequest, ListIssuersRequest, ListTrustsRequest, OidcIssuer, OidcTrust,
    oidc_service_client::OidcServiceClient,
};

use super::request_id::RequestId;
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, Table, human},
    value_parsers::claim,
};

/// Allow CI jobs to pull with the ID tokens of their CI system, without stored secrets
///
/// An administrator allows an issuer once. A group then trusts its tokens if their audience and claims match. Jobs sign in as user
/// `oidc` with the ID token as the password.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead oidc issuer create https://gitlab.example.com
  roadstead oidc trust create acme --issuer https://gitlab.example.com \\
      --audience https://proxy.example.com \\
      --claim 'project_path=acme/*' --claim ref_protected=true
  roadstead oidc trust list acme")]
pub struct OidcCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Allow issuers of ID tokens
    #[command(subcommand)]
    Issuer(Issuer),
    /// Manage the groups' trust in an issuer's tokens
    #[command(subcommand)]
    Trust(Trust),
}

#[derive(Debug, Subcommand)]
enum Issuer {
    /// Allow an issuer
    #[command(after_help = "Examples:
  roadstead oidc issuer create https://gitlab.example.com
  roadstead oidc issuer create https://token.actions.githubusercontent.com")]
    #[command(alias = "add")]
    Create {
        /// URL of the issuer, exactly as in the claim `iss` of its tokens
        url: String,
    },
    /// Show an allowed issuer
    #[command(after_help = "Example:\n  roadstead oidc issuer get https://gitlab.example.com")]
    Get {
        /// URL of the issuer
        url: String,
    },
    /// List the allowed issuers
    #[command(after_help = "Example:\n  roadstead oidc issuer list")]
    List,
    /// Delete an issuer, and every group's trust in it
    #[command(after_help = "Example:\n  roadstead oidc issuer delete https://gitlab.example.com")]
    #[command(alias = "remove")]
    Delete {
        /// URL of the issuer
        url: String,
    },
}

#[derive(Debug, Subcommand)]
enum Trust {
    /// Make a group trust an issuer's tokens
    #[command(after_help = "Examples:
  roadstead oidc trust create acme --issuer https://gitlab.example.com \\
      --audience https://proxy.example.com --claim 'project_path=acme/*'
  roadstead oidc trust create acme \\
      --issuer https://token.actions.githubusercontent.com \\
      --audience https://proxy.example.com --claim 'repository=acme/*'")]
    #[command(alias = "add")]
    Create {
        /// Path of the group
        path: String,
        /// URL of an allowed issuer
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// Required value of the claim `aud`
        #[arg(long)]
        audience: String,
        /// Required claim, with a pattern for its value (`*` stands for any characters); may be repeated, and all must match
        #[arg(long = "claim", value_name = "CLAIM=PATTERN", value_parser = claim, required = true)]
        claims: Vec<ClaimRule>,
        #[command(flatten)]
        request: RequestId,
    },
    /// Show a trust
    #[command(after_help = "Example:\n  roadstead oidc trust get 01920c3e-0000-7000-8000-000000000000")]
    Get {
        /// Id of the trust (see `oidc trust list`)
        id: String,
    },
    /// List a group's trusts
    #[command(after_help = "Example:\n  roadstead oidc trust list acme")]
    List {
        /// Path of the group
        path: String,
    },
    /// Delete a trust
    #[command(after_help = "Example:\n  roadstead oidc trust delete 01920c3e-0000-7000-8000-000000000000")]
    Delete {
        /// Id of the trust (see `oidc trust list`)
        id: String,
    },
}

impl OidcCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        match self {
            Self::Issuer(issuer) => issuer.run(session).await,
            Self::Trust(trust) => trust.run(session).await,
        }
    }
}

impl Issuer {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut oidc = OidcServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Create { url } => {
                let answer = oidc.create_issuer(CreateIssuerRequest { url }).await?.into_inner();
                output.answer(&answer, || issuer_details(answer.issuer.as_ref()))?;
            }
            Self::Get { url } => {
                let answer = oidc.get_issuer(GetIssuerRequest { url }).await?.into_inner();
                output.answer(&answer, || issuer_details(answer.issuer.as_ref()))?;
            }
            Self::List => {
                session.print_list(ListIssuersRequest::default(), "No issuers.", issuer_table).await?;
            }
            Self::Delete { url } => {
                let answer = oidc.delete_issuer(DeleteIssuerRequest { url: url.clone() }).await?.into_inner();
                output.done(&answer, format_args!("Deleted issuer {url} and every group's trust in it."))?;
            }
        }
        Ok(())
    }
}

impl Trust {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut oidc = OidcServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Create { path, issuer, audience, claims, request } => {
                let request = CreateTrustRequest { group_path: path, issuer, audience, claims, request_id: request.id };
                let answer = oidc.create_trust(request).await?.into_inner();
                output.answer(&answer, || trust_details(answer.trust.as_ref()))?;
            }
            Self::Get { id } => {
                let answer = oidc.get_trust(GetTrustRequest { id }).await?.into_inner();
                output.answer(&answer, || trust_details(answer.trust.as_ref()))?;
            }
            Self::List { path } => {
                let request = ListTrustsRequest { group_path: path, ..Default::default() };
                session.print_list(request, "No trusts.", trust_table).await?;
            }
            Self::Delete { id } => {
                let answer = oidc.delete_trust(DeleteTrustRequest { id: id.clone() }).await?.into_inner();
                output.done(&answer, format_args!("Deleted trust {id}."))?;
            }
        }
        Ok(())
    }
}

fn claims(trust: &OidcTrust, separator: &str) -> String {
    let rules: Vec<String> = trust.claims.iter().map(|rule| format!("{}={}", rule.claim, rule.pattern)).collect();
    rules.join(separator)
}

fn issuer_details(issuer: Option<&OidcIssuer>) -> Details {
    let Some(issuer) = issuer else { return Details::default() };
    Details::default().with("Issuer", &issuer.url).with("Added", human::absolute(issuer.created_at.as_ref(), "-"))
}

fn issuer_table(issuers: &[OidcIssuer], now: SystemTime) -> Table {
    Table::new(["ISSUER", "ADDED"], issuers, |issuer| {
        [issuer.url.clone(), human::relative(issuer.created_at.as_ref(), now, "-")]
    })
}

fn trust_details(trust: Option<&OidcTrust>) -> Details {
    let Some(trust) = trust else { return Details::default() };
    Details::default()
        .with("ID", &trust.id)
        .with("Group", &trust.group_path)
        .with("Issuer", &trust.issuer)
        .with("Audience", &trust.audience)
        .with("Claims", claims(trust, ", "))
        .with("Created", human::absolute(trust.created_at.as_ref(), "-"))
}

fn trust_table(trusts: &[OidcTrust], now: SystemTime) -> Table {
    Table::new(["ID", "+GROUP", "ISSUER", "+AUDIENCE", "CLAIMS", "+CREATED"], trusts, |trust| {
        [
            trust.id.clone(),
            trust.group_path.clone(),
            trust.issuer.clone(),
            trust.audience.clone(),
            claims(trust, " "),
            human::relative(trust.created_at.as_ref(), now, "-"),
        ]
    })
}

#[cfg(test)]
mod tests;
