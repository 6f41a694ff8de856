//! The connection of admin commands to the control plane: its address, the API token, and explanations of failed calls.

mod control_at;
mod credential;
mod pages;
mod refusal;
mod saved_login;
mod tls_at_connect;
mod token;

use std::{path::PathBuf, time::Duration};

use roadstead_proto::client::ControlReplicas;
use secrecy::SecretString;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
};
use url::Url;

use crate::{
    failure::Failure,
    output::{Format, OutputFlag},
};

pub use control_at::ControlAt;
use credential::Credential;
pub use saved_login::SavedLogin;
pub use token::Found;

/// Timeout of a call; the longest ones, purges and deletions of large groups, take seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a call that takes as long as there is content: a purge.
const SLOW_CALL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Time after which a call that may be repeated goes to another replica too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags of every admin command.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminFlags {
    #[command(flatten)]
    control: ControlAt,

    /// API token [default: that of `roadstead login`, ROADSTEAD_ADMIN_TOKEN, or the file DIR/admin-token]
    #[arg(long, global = true, env = "ROADSTEAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    #[arg(help_heading = "Connection and output")]
    token: Option<SecretString>,

    /// Data folder of a server on this machine, which contains the administrator's token
    #[arg(long, global = true, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    #[arg(help_heading = "Connection and output")]
    data_dir: PathBuf,

    #[command(flatten)]
    output: OutputFlag,
}

/// A connection to the control plane with a credential.
pub struct Session {
    /// URL of the control plane.
    pub control: Url,
    /// Format of answers.
    pub output: Format,
    slow: ControlReplicas,
    channel: ControlReplicas,
    header: Authorization,
    credential: Credential,
}

/// The channel of the generated clients.
pub type AdminChannel = InterceptedService<ControlReplicas, Authorization>;

impl AdminFlags {
    /// Returns the format of the output.
    pub fn output(&self) -> Format {
        self.output.output
    }

    /// Runs the calls of a command with the API token, and explains a failed call.
    pub async fn call(&self, command: impl AsyncFnOnce(&Session) -> Result<(), CallError>) -> Result<(), Failure> {
        let mut control = self.control.clone();
        let saved = SavedLogin::load()?.filter(|saved| control.complete(saved));
        let found = token::find(self.token.as_ref(), saved.as_ref(), &self.data_dir)?;
        self.call_with(control, Credential::Token(found), command).await
    }

    /// Runs the calls of a command at this control plane with this token, whatever was saved before.
    pub async fn call_at(
        &self,
        control: ControlAt,
        found: Found,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        self.call_with(control, Credential::Token(found), command).await
    }

    /// Returns the control plane that the flags name.
    pub fn control(&self) -> &ControlAt {
        &self.control
    }

    /// Returns the token of `--token` or its variable.
    pub fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// Runs the calls of a command as a user who signs in with a password.
    pub async fn call_as(
        &self,
        user: &str,
        password: SecretString,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        let mut control = self.control.clone();
        SavedLogin::load()?.inspect(|saved| {
            control.complete(saved);
        });
        self.call_with(control, Credential::Password { user: user.to_owned(), password }, command).await
    }

    /// Runs the calls of a command. The first call connects.
    async fn call_with(
        &self,
        control: ControlAt,
        credential: Credential,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        let channels = |time| control.channels(|endpoint| endpoint.timeout(time));
        let session = Session {
            control: control.first()?,
            output: self.output(),
            channel: ControlReplicas::new(channels(CALL_TIMEOUT)?).with_patience(PATIENCE),
            slow: ControlReplicas::new(channels(SLOW_CALL_TIMEOUT)?).with_patience(PATIENCE),
            header: Authorization(credential.header()?),
            credential,
        };
        command(&session).await.map_err(|error| match error {
            CallError::Refused(status) => {
                Failure::failed(refusal::explain(&status, &control.shown(), &session.credential))
            }
            CallError::Failed(failure) => failure,
        })
    }
}

impl Session {
    /// Returns the channel for a client.
    pub fn channel(&self) -> AdminChannel {
        InterceptedService::new(self.channel.clone(), self.header.clone())
    }

    /// Returns the channel for calls that may take as long as there is content.
    pub fn slow_channel(&self) -> AdminChannel {
        InterceptedService::new(self.slow.clone(), self.header.clone())
    }
}

/// The error of a command that calls the control plane.
#[derive(Debug)]
pub enum CallError {
    /// A call failed, locally or at the control plane.
    Refused(Status),
    /// Something else failed.
    Failed(Failure),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Adds the credential to every call.
#[derive(Clone)]
pub struct Authorization(MetadataValue<Ascii>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}
