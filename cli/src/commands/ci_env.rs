//! `roadstead ci-env`: the variables by which CI jobs pull through a group, named as GitLab's dependency proxy has them.

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
/// CI_DEPENDENCY_PROXY_SERVER, _USER and _PASSWORD are what `docker login` takes. CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX begins
/// image names of the top-level group, CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX those of PATH. The password is a job token
/// for PATH and its subgroups: to pull by the top-level group's prefix, give its path.
///
/// To be called with an API token that has the scope `api` and may change the group (--token, ROADSTEAD_TOKEN). Without
/// such a secret in CI at all, let the group trust the CI system's ID tokens: `roadstead oidc trust add`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(roadstead ci-env acme)\"
  echo \"$CI_DEPENDENCY_PROXY_PASSWORD\" | docker login -u \"$CI_DEPENDENCY_PROXY_USER\" --password-stdin \"$CI_DEPENDENCY_PROXY_SERVER\"
  docker pull \"$CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX/alpine:latest\"

  roadstead ci-env acme --format github >> \"$GITHUB_ENV\"     # later steps have the variables; the mask goes to stderr

  roadstead ci-env acme --format dotenv > proxy.env          # GitLab: artifacts: {reports: {dotenv: proxy.env}}, for later jobs
  roadstead ci-env acme --format gitlab > proxy.yml          # GitLab: variables of a child pipeline: trigger: {include:
                                                             #   [{artifact: proxy.yml, job: …}, {local: child.yml}]}")]
pub struct CiEnv {
    /// Path of the group
    path: GroupPath,
    /// For whom
    #[arg(long, value_enum, default_value = "shell")]
    format: CiFormat,
    /// How long the password works: 1m to 2h [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
    /// What it is for, a job's URL or number; the audit shows it
    #[arg(long, env = "CI_JOB_URL", default_value = "ci-env")]
    name: String,
    /// Where the registry is, as jobs reach it [default: as its nodes told the control plane]
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
        // First what needs no token, so that none is made in vain.
        let prefix = image_prefix(session, &self.path, self.registry.as_ref()).await?;
        let request = CreateJobTokenRequest {
            group_path: self.path.to_string(),
            expires_in: self.expires_in.map(to_proto),
            name: self.name.clone(),
        };
        let token = TokenServiceClient::new(session.channel()).create_job_token(request).await?.into_inner();
        let variables = Variables::new(&prefix, &token)?;
        match session.output {
            Format::Json => output::print(&variables.json()?)?,
            Format::Table => {
                if let Some(mask) = variables.mask(self.format) {
                    eprintln!("{mask}");
                }
                output::print(&variables.written(self.format))?;
            }
        }
        Ok(())
    }
}
