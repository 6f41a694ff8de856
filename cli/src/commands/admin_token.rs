//! `roadstead admin-token`: the administrator's token.

use clap::{Args, Subcommand};
use roadstead_proto::v1::{RotateAdminTokenRequest, token_service_client::TokenServiceClient};

use secrecy::{ExposeSecret, SecretString};

use super::password;
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::Details,
};

/// Replace the administrator's token
#[derive(Debug, Args)]
pub struct AdminTokenCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace the administrator's token by a new one, which is printed once
    ///
    /// The old token is void at once, at every replica. If the server keeps it in DIR/admin-token, that file has the new one
    /// afterwards. ROADSTEAD_ADMIN_TOKEN matters at a first start only: change it where admin commands read it. Tokens that
    /// were made with the old one stay: after a leak, look for them with `audit list`, and revoke them.
    #[command(after_help = "Examples:
  roadstead admin-token rotate
  openssl rand -hex 32 | tee new-token | \\
      roadstead admin-token rotate --new-token-stdin")]
    Rotate {
        /// Read the new token from stdin, at least 32 characters; otherwise the server makes one
        #[arg(long)]
        new_token_stdin: bool,
    },
}

impl AdminTokenCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let Action::Rotate { new_token_stdin } = self.action;
        let new_token = if new_token_stdin { password::new_token()? } else { SecretString::default() };
        self.admin.call(async |session| rotate(session, &new_token).await).await
    }
}

async fn rotate(session: &Session, new_token: &SecretString) -> Result<(), CallError> {
    let mut tokens = TokenServiceClient::new(session.channel());
    let request = RotateAdminTokenRequest { new_token: new_token.expose_secret().to_owned() };
    let answer = tokens.rotate_admin_token(request).await?.into_inner();
    session.output.answer(&answer, || Details::default().with("ID", &answer.id).with("Token", &answer.token))?;
    Ok(())
}
