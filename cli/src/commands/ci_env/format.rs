//! Formats of CI variables for shells and CI systems.

use std::fmt::Write;

use clap::ValueEnum;
use roadstead_proto::v1::{CreateJobTokenResponse, GetImagePrefixResponse};

use crate::failure::Failure;

/// Name of the secret variable.
const PASSWORD: &str = "CI_DEPENDENCY_PROXY_PASSWORD";

/// Format of the variables.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CiFormat {
    /// Lines for `eval` in a POSIX shell
    Shell,
    /// NAME=VALUE lines, as GitLab's dotenv reports and `docker run --env-file` take them
    Dotenv,
    /// YAML with `variables:`, for GitLab CI
    Gitlab,
    /// NAME=VALUE lines for "$GITHUB_ENV", and on stderr the command that masks the password in logs
    Github,
}

/// Names and values. No value has a control character, so none ends its line early.
pub struct Variables([(&'static str, String); 5]);

impl Variables {
    /// Returns the variables; fails if a value could smuggle in others.
    pub fn new(prefix: &GetImagePrefixResponse, token: &CreateJobTokenResponse) -> Result<Self, Failure> {
        let variables = [
            ("CI_DEPENDENCY_PROXY_SERVER", prefix.server.clone()),
            ("CI_DEPENDENCY_PROXY_USER", token.username.clone()),
            (PASSWORD, token.token.clone()),
            ("CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX", prefix.group_image_prefix.clone()),
            ("CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX", prefix.direct_group_image_prefix.clone()),
        ];
        match variables.iter().find(|(_, value)| value.is_empty() || value.contains(char::is_control)) {
            Some((name, _)) => Err(Failure::failed(format_args!("the control plane gave no usable value for {name}"))),
            None => Ok(Self(variables)),
        }
    }

    /// Returns the variables in a format.
    pub fn written(&self, format: CiFormat) -> String {
        let mut text = if matches!(format, CiFormat::Gitlab) { "variables:\n".to_owned() } else { String::new() };
        for (name, value) in &self.0 {
            let _ = match format {
                CiFormat::Shell => writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''")),
                CiFormat::Dotenv | CiFormat::Github => writeln!(text, "{name}={value}"),
                // JSON strings are YAML strings; a single `$` would name another variable.
                CiFormat::Gitlab => {
                    writeln!(text, "  {name}: {}", serde_json::Value::from(value.replace('$', "$$")))
                }
            };
        }
        text
    }

    /// Returns the command that masks the password in the job's log. It goes to stderr, which the runner reads too, because
    /// stdout goes to a file.
    pub fn mask(&self, format: CiFormat) -> Option<String> {
        let (_, password) = self.0.iter().find(|(name, _)| *name == PASSWORD)?;
        matches!(format, CiFormat::Github).then(|| format!("::add-mask::{}", password.replace('%', "%25")))
    }

    /// Returns one JSON object.
    pub fn json(&self) -> Result<String, Failure> {
        let object: serde_json::Map<_, _> =
            self.0.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        serde_json::to_string_pretty(&object)
            .map_err(|error| Failure::failed(format_args!("cannot print the variables as JSON: {error}")))
    }
}

#[cfg(test)]
mod tests;
