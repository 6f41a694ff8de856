//! The control plane and the token that `roadstead login` keeps for later commands.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{failure::Failure, value_parsers::base_url};

/// A login as kept in the file `roadstead/login.json` of the user's configuration folder, which only the user can read.
pub struct SavedLogin {
    /// URLs of the control plane's replicas.
    pub control: Vec<Url>,
    /// CA certificates for the control plane, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The API token.
    pub token: SecretString,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Content {
    control: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    token: String,
}

impl SavedLogin {
    /// Reads the login, if one was saved.
    pub fn load() -> Result<Option<Self>, Failure> {
        file().map_or(Ok(None), |file| Self::load_from(&file))
    }

    /// Saves the login, in place of an earlier one, and returns the file's path.
    pub fn save(&self) -> Result<PathBuf, Failure> {
        let file = file().ok_or_else(|| {
            Failure::failed("there is no folder to save the login in: set HOME or XDG_CONFIG_HOME to an absolute path")
        })?;
        self.save_to(&file)?;
        Ok(file)
    }

    /// Removes the saved login; `false` if no login was saved.
    pub fn remove() -> Result<bool, Failure> {
        let Some(file) = file() else { return Ok(false) };
        match fs::remove_file(&file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::failed(format_args!("cannot remove {}: {error}", file.display()))),
        }
    }

    fn load_from(file: &Path) -> Result<Option<Self>, Failure> {
        let unusable = |why: &dyn std::fmt::Display| {
            Failure::failed(format_args!(
                "the saved login in {} is unusable: {why}; run `roadstead login` again",
                file.display()
            ))
        };
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&error)),
        };
        let content: Content = serde_json::from_slice(&text).map_err(|error| unusable(&error))?;
        let urls: Result<Vec<Url>, _> = content.control.iter().map(|url| base_url(url)).collect();
        let control = urls.map_err(|error| unusable(&error))?;
        Ok(Some(Self { control, ca_file: content.ca_file, token: content.token.into() }))
    }

    /// Writes a new file beside the old one and renames it, so that the secret is never in a file that others can read.
    fn save_to(&self, file: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::failed(format_args!("cannot write {}: {error}", file.display()));
        let content = Content {
            control: self.control.iter().map(ToString::to_string).collect(),
            ca_file: self.ca_file.clone(),
            token: self.token.expose_secret().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&content).map_err(|error| failed(error.into()))?;
        if let Some(folder) = file.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let new = file.with_extension(format!("new-{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&new, file));
        written.inspect_err(|_| drop(fs::remove_file(&new))).map_err(failed)
    }
}

/// Returns the path of the file; `None` without a home.
fn file() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("roadstead/login.json"))
}

#[cfg(test)]
mod tests;
