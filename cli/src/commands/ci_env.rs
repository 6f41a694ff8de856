//! `roadstead ci-env`: variables for CI jobs that pull through a group, with the names of GitLab's Dependency Proxy.

mod format;

use std::time::Duration;

use clap::Args;
use roadstead_proto::{
    GroupPath,
    v1::{CreateJobTokenRequest, token_service_client::TokenServiceClient},
};
use url::Url;

use self::format::{CiFormat, Variables};
use super::registry::image_prefix;
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{self, Format},
    value_parsers::{base_url, duration, to_proto},
};

/// Print the CI_DEPENDENCY_PROXY_* variables, with a fresh job token
///
/// `docker login` takes CI_DEPENDENCY_PROXY_SERVER, _USER and _PASSWORD. CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX is the image prefix
/// of the top-level group, CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX that of PATH. The password is a job token for PATH and its
/// subgroups; to pull by the prefix of the top-level group, give its path.
///
/// The command needs an API token with the scope `api` that may change the group (--token, ROADSTEAD_TOKEN). To keep CI free of
/// secrets, let the group trust the CI system's ID tokens instead: `roadstead oidc trust create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(roadstead ci-env acme)\"
  echo \"$CI_DEPENDENCY_PROXY_PASSWORD\" |
      docker login -u \"$CI_DEPENDENCY_PROXY_USER\" --password-stdin \\
      \"$CI_DEPENDENCY_PROXY_SERVER\"
  docker pull \"$CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX/alpine:latest\"

GitHub Actions, for later steps (the mask goes to stderr):
  roadstead ci-env acme --format github >> \"$GITHUB_ENV\"

GitLab, for later jobs, with artifacts: {reports: {dotenv: proxy.env}}:
  roadstead ci-env acme --format dotenv > proxy.env

GitLab, for a child pipeline, with \
trigger: {include: [{artifact: proxy.yml, job: …}, {local: child.yml}]}:
  roadstead ci-env acme --format gitlab > proxy.yml")]
pub struct CiEnv {
    /// Path of the group
    path: GroupPath,
    /// Format of the output
    #[arg(long, value_enum, default_value = "shell")]
    format: CiFormat,
    /// Lifetime of the password: 1m to 2h [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
    /// Name of the token in the audit, for example the job's URL
    #[arg(long, env = "CI_JOB_URL", default_value = "ci-env")]
    name: String,
    /// URL of the registry as jobs reach it [default: the one that nodes report]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    registry: Option<Url>,
    #[command(flatten)]
    admin: AdminFlags,
}

impl CiEnv {
    /// Calls the control plane and prints the variables.
    pub async fn run(self) -> Result<(), Failure> {
        self.admin.call(async |session| self.print(session).await).await
    }

    async fn print(&self, session: &Session) -> Result<(), CallError> {
        // Before the token is created, so that a failure leaves none behind.
        let prefix = image_prefix(session, &self.path, self.registry.as_ref()).await?;
        let request = CreateJobTokenRequest {
            group_path: self.path.to_string(),
            expires_in: self.expires_in.map(to_proto),
            name: self.name.clone(),
            request_id: String::new(),
        };
        let token = TokenServiceClient::new(session.channel()).create_job_token(request).await?.into_inner();
        let variables = Variables::new(&prefix, &token)?;
        match session.output {
            Format::Json => output::print(&variables.json()?)?,
            Format::Table | Format::Wide => {
                if let Some(mask) = variables.mask(self.format) {
                    eprintln!("{mask}");
                }
                output::print(&variables.written(self.format))?;
            }
        }
        Ok(())
    }
}
