//! `roadstead member`: members of groups and their roles.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    DeleteMemberRequest, GetMemberRequest, ListMembersRequest, Member, Role as ProtoRole, UpdateMemberRequest,
    member_service_client::MemberServiceClient,
};

use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, Table, human},
    value_parsers::{Role, role_name},
};

/// Manage the roles of users in groups
///
/// A role applies to the group and its subgroups: guests pull, maintainers change settings, tokens and cache, owners change
/// members and delete the group.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead member add acme alice --role maintainer
  roadstead member list acme/backend
  roadstead member remove acme alice")]
pub struct MemberCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user to a group, or change the user's role there
    #[command(after_help = "Example:\n  roadstead member add acme alice --role maintainer")]
    Add {
        /// Path of the group
        path: String,
        /// Name of the user
        user: String,
        /// Role of the user in the group
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Show the role that a group itself gives a user
    #[command(after_help = "Example:\n  roadstead member get acme alice")]
    Get {
        /// Path of the group
        path: String,
        /// Name of the user
        user: String,
    },
    /// List a group's members, including those it inherits
    #[command(after_help = "Example:\n  roadstead member list acme")]
    List {
        /// Path of the group
        path: String,
    },
    /// Remove a user from a group; an inherited role stays
    #[command(after_help = "Example:\n  roadstead member remove acme alice")]
    Remove {
        /// Path of the group
        path: String,
        /// Name of the user
        user: String,
    },
}

impl MemberCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut members = MemberServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Add { path, user, role } => {
                let request = UpdateMemberRequest {
                    group_path: path,
                    user,
                    role: ProtoRole::from(role).into(),
                    allow_missing: true,
                };
                let answer = members.update_member(request).await?.into_inner();
                output.answer(&answer, || details(answer.member.as_ref()))?;
            }
            Self::Get { path, user } => {
                let answer = members.get_member(GetMemberRequest { group_path: path, user }).await?.into_inner();
                output.answer(&answer, || details(answer.member.as_ref()))?;
            }
            Self::List { path } => {
                let request = ListMembersRequest { group_path: path, ..Default::default() };
                session.print_list(request, "No members.", table).await?;
            }
            Self::Remove { path, user } => {
                let request = DeleteMemberRequest { group_path: path.clone(), user: user.clone() };
                let answer = members.delete_member(request).await?.into_inner();
                output.done(&answer, format_args!("Removed {user} from group {path}."))?;
            }
        }
        Ok(())
    }
}

fn details(member: Option<&Member>) -> Details {
    let Some(member) = member else { return Details::default() };
    Details::default()
        .with("User", &member.user)
        .with("Role", role_name(member.role()))
        .with("Group", &member.group_path)
        .with("Since", human::absolute(member.added_at.as_ref(), "-"))
}

fn table(members: &[Member], now: SystemTime) -> Table {
    Table::new(["USER", "ROLE", "FROM GROUP", "SINCE"], members, |member| {
        [
            member.user.clone(),
            role_name(member.role()).to_owned(),
            member.group_path.clone(),
            human::relative(member.added_at.as_ref(), now, "-"),
        ]
    })
}

#[cfg(test)]
mod tests;
