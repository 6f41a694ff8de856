//! The sources of an admin command's API token.

use std::{fs, io, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::saved_login::SavedLogin;
use crate::failure::Failure;

/// Variable with the administrator's token, for servers and for clients on the same machine.
const ADMIN_TOKEN_VARIABLE: &str = "ROADSTEAD_ADMIN_TOKEN";
/// File that a server's first start writes.
const ADMIN_TOKEN_FILE: &str = "admin-token";

/// A token and its source, for errors.
#[derive(Debug)]
pub struct Found {
    pub secret: SecretString,
    pub source: String,
}

/// Returns the token from `--token` (or its variable), else that of the saved login, else from `ROADSTEAD_ADMIN_TOKEN`, else from
/// the file in the server's folder.
pub fn find(given: Option<&SecretString>, saved: Option<&SavedLogin>, data_dir: &Path) -> Result<Found, Failure> {
    if let Some(saved) = saved.filter(|_| given.is_none_or(is_blank)) {
        return Ok(Found { secret: saved.token.clone(), source: "`roadstead login`".to_owned() });
    }
    let variable = std::env::var(ADMIN_TOKEN_VARIABLE).ok();
    choose(given, variable, data_dir)
}

fn is_blank(secret: &SecretString) -> bool {
    secret.expose_secret().trim().is_empty()
}

fn choose(given: Option<&SecretString>, variable: Option<String>, data_dir: &Path) -> Result<Found, Failure> {
    if let Some(secret) = given.filter(|secret| !is_blank(secret)) {
        let secret = secret.expose_secret().trim().into();
        return Ok(Found { secret, source: "--token or ROADSTEAD_TOKEN".to_owned() });
    }
    if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
        return Ok(Found { secret: text.trim().into(), source: ADMIN_TOKEN_VARIABLE.to_owned() });
    }
    let file = data_dir.join(ADMIN_TOKEN_FILE);
    match fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => {
            Ok(Found { secret: text.trim().into(), source: file.display().to_string() })
        }
        Ok(_) => Err(Failure::failed(format_args!("{} is empty; give a token with --token", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::failed(format_args!(
            "no API token: run `roadstead login`, give --token, set ROADSTEAD_TOKEN or {ADMIN_TOKEN_VARIABLE}, or give the server's folder as --data-dir ({} does \
             not exist)",
            file.display()
        ))),
        Err(error) => Err(Failure::failed(format_args!(
            "cannot read {}: {error}; give a token with --token or ROADSTEAD_TOKEN",
            file.display()
        ))),
    }
}

#[cfg(test)]
mod tests;
