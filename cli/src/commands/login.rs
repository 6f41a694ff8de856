//! `roadstead login` and `roadstead logout`: remember a control plane and a token, and forget them.

use roadstead_proto::v1::{ListGroupsRequest, group_service_client::GroupServiceClient};
use secrecy::SecretString;
use tonic::Code;
use url::Url;

use super::password;
use crate::{
    connect::{AdminFlags, CallError, ControlAt, Found, SavedLogin, Session},
    failure::Failure,
    value_parsers::base_url,
};

/// Remember a control plane and an API token for later commands
///
/// The token is tried, and then kept in roadstead/login.json in the configuration folder (XDG_CONFIG_HOME, otherwise ~/.config),
/// in a file that only its owner can read. `--control` and `--token` of a later command are used before it. The token goes to this control
/// plane only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roadstead login https://roadstead.example:7071
  roadstead login https://roadstead.example:7071 --token-stdin <token-file")]
pub struct Login {
    /// URL of the control plane [default: that of --control]
    #[arg(value_parser = base_url)]
    url: Option<Url>,

    /// Read the token from stdin instead of asking for it
    #[arg(long)]
    token_stdin: bool,

    #[command(flatten)]
    admin: AdminFlags,
}

/// Remove the control plane and the token that `roadstead login` keeps; the token stays valid
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: roadstead logout")]
pub struct Logout {}

impl Login {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        let mut control: ControlAt = self.admin.control().clone();
        if let Some(url) = self.url.clone() {
            control.set_control(vec![url]);
        }
        let token = self.token(&control.shown())?;
        let (urls, ca_file) = control.to_save()?;
        let found = Found { secret: token.clone(), source: "this command".to_owned() };
        self.admin.call_at(control, found, try_token).await?;
        let saved = SavedLogin { control: urls, ca_file, token }.save()?;
        eprintln!("Saved the login in {}.", saved.display());
        Ok(())
    }

    fn token(&self, control: &str) -> Result<SecretString, Failure> {
        match self.admin.token() {
            Some(token) if !self.token_stdin => Ok(token.clone()),
            _ => password::token(self.token_stdin, control),
        }
    }
}

impl Logout {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if SavedLogin::remove()? {
            eprintln!("Removed the saved login. The token is still valid: `roadstead token revoke` ends it.");
        } else {
            eprintln!("No login was saved.");
        }
        Ok(())
    }
}

/// Fails if the control plane does not know the token. A token that may not list groups, such as one for purges, is known, too.
async fn try_token(session: &Session) -> Result<(), CallError> {
    let request = ListGroupsRequest { page_size: 1, ..ListGroupsRequest::default() };
    match GroupServiceClient::new(session.channel()).list_groups(request).await {
        Err(status) if status.code() != Code::PermissionDenied => Err(status.into()),
        _ => Ok(()),
    }
}
