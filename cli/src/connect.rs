//! How admin commands reach the control plane: its address, the API token, and what its refusals mean for the person
//! who typed the command.

mod control_at;
mod credential;
mod pages;
mod refusal;
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

use crate::{failure::Failure, output::Format};

pub use control_at::ControlAt;
use credential::Credential;

/// How long to wait for an answer; the longest calls, purges and deletions of large groups, take seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a replica may take to answer a question before another is asked, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// What every admin command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminFlags {
    #[command(flatten)]
    control: ControlAt,

    /// API token; without it ROADSTEAD_ADMIN_TOKEN or the file DIR/admin-token is used
    #[arg(long, global = true, env = "ROADSTEAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    #[arg(help_heading = "Connection and output")]
    token: Option<SecretString>,

    /// The server's folder, where its first start left the administrator's token
    #[arg(long, global = true, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    #[arg(help_heading = "Connection and output")]
    data_dir: PathBuf,

    /// How to print
    #[arg(
        long,
        short,
        global = true,
        env = "ROADSTEAD_OUTPUT",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    #[arg(help_heading = "Connection and output")]
    pub output: Format,
}

/// A connection to the control plane, with a credential.
pub struct Session {
    /// Where it leads.
    pub control: Url,
    /// How to print answers.
    pub output: Format,
    channel: ControlReplicas,
    header: Authorization,
    credential: Credential,
}

/// What the generated clients run over.
pub type AdminChannel = InterceptedService<ControlReplicas, Authorization>;

impl AdminFlags {
    /// Runs what a command does at the control plane, with the API token, and says what a refused call means.
    pub async fn call(&self, command: impl AsyncFnOnce(&Session) -> Result<(), CallError>) -> Result<(), Failure> {
        self.call_with(Credential::Token(token::find(self.token.as_ref(), &self.data_dir)?), command).await
    }

    /// The same as a person who signs in with a password.
    pub async fn call_as(
        &self,
        user: &str,
        password: SecretString,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        self.call_with(Credential::Password { user: user.to_owned(), password }, command).await
    }

    /// The connection is made with the first call.
    async fn call_with(
        &self,
        credential: Credential,
        command: impl AsyncFnOnce(&Session) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        let channels = self.control.channels(|endpoint| endpoint.timeout(CALL_TIMEOUT))?;
        let session = Session {
            control: self.control.first()?.clone(),
            output: self.output,
            channel: ControlReplicas::new(channels).with_patience(PATIENCE),
            header: Authorization(credential.header()?),
            credential,
        };
        command(&session).await.map_err(|error| match error {
            CallError::Refused(status) => {
                Failure::failed(refusal::explain(&status, &self.control.shown(), &session.credential))
            }
            CallError::Failed(failure) => failure,
        })
    }
}

impl Session {
    /// The channel for a client.
    pub fn channel(&self) -> AdminChannel {
        InterceptedService::new(self.channel.clone(), self.header.clone())
    }
}

/// Why a command that calls the control plane stopped.
#[derive(Debug)]
pub enum CallError {
    /// The call failed, here or there.
    Refused(Status),
    /// Something else did.
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
