//! `roadstead group`: groups and their settings.

mod rule;
mod settings;
mod show;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    DeleteGroupRequest, GetGroupRequest, ListGroupsRequest, UpdateGroupRequest,
    group_service_client::GroupServiceClient,
};

use self::{
    rule::RuleCommand,
    settings::{Create, Update},
    show::{details, table},
};
use super::confirm;
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::human,
};

/// Create, change and delete groups
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead group create acme --visibility internal
  roadstead group create acme/backend --upstream docker.io --upstream ghcr.io
  roadstead group update acme --frozen true
  roadstead group update acme --cooldown 24h --deny 'docker.io/*miner*'
  roadstead group rename acme acme-corp
  roadstead group rule set acme 'docker.io/library/alpine:3.*' --immutable
  roadstead group list -o json")]
pub struct GroupCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    /// Show a group with all its settings
    #[command(after_help = "Example:\n  roadstead group get acme")]
    Get {
        /// Path of the group: acme, acme/backend
        path: String,
    },
    /// List groups
    #[command(after_help = "Example:\n  roadstead group list -o json")]
    List,
    Update(Box<Update>),
    /// Move a group to another path, with its subgroups
    ///
    /// The cache stays. Pulls by the old path still work until another group takes that path.
    #[command(after_help = "Example:\n  roadstead group rename acme acme-corp")]
    Rename {
        /// Path of the group
        path: String,
        /// New path of the group
        new_path: String,
    },
    Rule(RuleCommand),
    /// Delete a group with its tokens, credentials and cache
    #[command(after_help = "Example:\n  roadstead group delete acme --yes")]
    Delete {
        /// Path of the group
        path: String,
        /// Delete without asking
        #[arg(long, short)]
        yes: bool,
    },
}

impl GroupCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Delete { path, yes } = &self.action {
            confirm::ask(*yes, &format!("Delete group {path} with its tokens, credentials and cache?"))?;
        }
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut groups = GroupServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Create(flags) => {
                let answer = groups.create_group(flags.request()).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::Get { path } => {
                let answer = groups.get_group(GetGroupRequest { path }).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::List => {
                session.print_list(ListGroupsRequest::default(), "No groups.", |items, _| table(items)).await?;
            }
            Self::Update(update) => {
                let answer = groups.update_group(update.request()?).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::Rename { path, new_path } => {
                let request = UpdateGroupRequest { path, new_path: Some(new_path), ..Default::default() };
                let answer = groups.update_group(request).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::Rule(rule) => rule.run(&mut groups, output).await?,
            Self::Delete { path, .. } => {
                let answer = groups.delete_group(DeleteGroupRequest { path: path.clone() }).await?.into_inner();
                let links = human::count(answer.links, "link");
                output.done(&answer, format_args!("Deleted group {path}; {links} removed."))?;
            }
        }
        Ok(())
    }
}
