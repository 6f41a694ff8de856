//! `roadstead user`: users, who sign in with a password.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, UpdateUserRequest, User,
    user_service_client::UserServiceClient,
};
use secrecy::ExposeSecret;

use super::{confirm, password};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, Table, human},
};

/// Create, change and delete users
///
/// A password is read from stdin with --password-stdin, or asked for on the terminal. No flag takes one, because others on the
/// machine can read command lines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead user create alice
  roadstead user create bob --password-stdin --admin < password.txt
  roadstead user update alice --disabled true
  roadstead user update alice --ask-password
  roadstead user delete alice --yes")]
pub struct UserCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a user; asks for the password unless it comes on stdin
    #[command(after_help = "Example:\n  roadstead user create alice --password-stdin < password.txt")]
    Create {
        /// Name to sign in with
        name: String,
        /// Read the password (at least 12 characters) from stdin
        #[arg(long)]
        password_stdin: bool,
        /// Make the user an administrator, who may do everything
        #[arg(long = "admin")]
        is_admin: bool,
        #[command(flatten)]
        request: super::request_id::RequestId,
    },
    /// Show a user
    #[command(after_help = "Example:\n  roadstead user get alice")]
    Get {
        /// Name of the user
        name: String,
    },
    /// List users
    #[command(after_help = "Example:\n  roadstead user list")]
    List,
    Update(Update),
    /// Delete a user with all memberships and tokens
    #[command(after_help = "Example:\n  roadstead user delete alice --yes")]
    Delete {
        /// Name of the user
        name: String,
        /// Delete without asking
        #[arg(long, short)]
        yes: bool,
    },
}

/// Change a user; settings that are not given stay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead user update alice --password-stdin < password.txt
  roadstead user update alice --admin true
  roadstead user update alice --disabled true")]
struct Update {
    /// Name of the user
    name: String,
    /// Fail unless the user still has this etag (see `user get`)
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Read a new password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Ask for a new password on the terminal
    #[arg(long, conflicts_with = "password_stdin")]
    ask_password: bool,
    /// Make the user an administrator, or an ordinary user
    #[arg(long = "admin", value_name = "true|false")]
    is_admin: Option<bool>,
    /// Refuse every sign-in of the user, with password and tokens
    #[arg(long, value_name = "true|false")]
    disabled: Option<bool>,
}

impl UserCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Delete { name, yes } = &self.action {
            confirm::ask(*yes, &format!("Delete user {name} with all memberships and tokens?"))?;
        }
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut users = UserServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::Create { name, password_stdin, is_admin, request } => {
                let password = password::new(password_stdin, &name)?.expose_secret().to_owned();
                let request = CreateUserRequest { name, password, admin: is_admin, request_id: request.id };
                let answer = users.create_user(request).await?.into_inner();
                output.answer(&answer, || details(answer.user.as_ref()))?;
            }
            Self::Get { name } => {
                let answer = users.get_user(GetUserRequest { name }).await?.into_inner();
                output.answer(&answer, || details(answer.user.as_ref()))?;
            }
            Self::List => {
                session.print_list(ListUsersRequest::default(), "No users.", table).await?;
            }
            Self::Update(Update { name, etag, changes }) => {
                let password = if changes.password_stdin || changes.ask_password {
                    Some(password::new(changes.password_stdin, &name)?.expose_secret().to_owned())
                } else {
                    None
                };
                let request = UpdateUserRequest {
                    name,
                    etag: etag.unwrap_or_default(),
                    password,
                    admin: changes.is_admin,
                    disabled: changes.disabled,
                };
                let answer = users.update_user(request).await?.into_inner();
                output.answer(&answer, || details(answer.user.as_ref()))?;
            }
            Self::Delete { name, .. } => {
                let answer = users.delete_user(DeleteUserRequest { name: name.clone() }).await?.into_inner();
                output.done(&answer, format_args!("Deleted user {name}."))?;
            }
        }
        Ok(())
    }
}

fn state(user: &User) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

fn details(user: Option<&User>) -> Details {
    let Some(user) = user else { return Details::default() };
    Details::default()
        .with("Name", &user.name)
        .with("ID", &user.id)
        .with("Administrator", human::yes_no(user.admin))
        .with("State", state(user))
        .with("Created", human::absolute(user.created_at.as_ref(), "-"))
        .with("Last seen", human::absolute(user.last_seen_at.as_ref(), "never"))
        .with("Etag", &user.etag)
}

fn table(users: &[User], now: SystemTime) -> Table {
    Table::new(["NAME", "ADMIN", "STATE", "CREATED", "LAST SEEN"], users, |user| {
        [
            user.name.clone(),
            human::yes_no(user.admin).to_owned(),
            state(user).to_owned(),
            human::relative(user.created_at.as_ref(), now, "-"),
            human::relative(user.last_seen_at.as_ref(), now, "never"),
        ]
    })
}

#[cfg(test)]
mod tests;
