//! Backing up what the control plane owns: its database and the key that opens the secrets in it.
//!
//! The copy is of one moment, while everything goes on; it becomes visible under its name only once it is whole, so
//! that half a backup is never taken for one. Blobs are not part of it: what the store has is found again, and the rest
//! is fetched again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    auth::seal::{SecretKey, keys_of_both, write_private},
    open::{ADMIN_TOKEN_FILE, DATABASE, KEY_FILE, OpenError, sqlite_url},
    store::{StoreError, engine::sqlite},
};

/// File of a dump of PostgreSQL in a backup.
pub(crate) const DUMP: &str = "control.dump";

/// The source of a backup.
pub struct BackupSource {
    /// The server's data folder.
    pub data_dir: PathBuf,
    /// The database; `None` means `control.db` in the data folder. May hold a password.
    pub database_url: Option<SecretString>,
    /// The key that the database's secrets are sealed with.
    pub secret_key: SecretKey,
}

/// A backup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something under the name of the backup already.
    #[error("{0} is there already; name a folder that is not")]
    TargetExists(PathBuf),
    /// The source does not exist.
    #[error("{path} is not there; point --data-dir (and --secret-key-file, or --secret-key) at what the server uses")]
    SourceMissing {
        /// The missing path.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The database cannot be read.
    #[error("the database cannot be copied: {0}")]
    Database(#[from] StoreError),
    /// The copy is damaged.
    #[error("the copy of the database is corrupt: {0}")]
    Damaged(String),
    /// PostgreSQL's own tool is not there.
    #[error("pg_dump is missing; install PostgreSQL's client tools, of the server's version or later")]
    NoDump,
    /// PostgreSQL's own tool failed.
    #[error("pg_dump failed: {0}")]
    Dump(String),
    /// The database URL is invalid.
    #[error("--database-url: {0}")]
    Url(String),
    /// The data folder's name cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl BackupError {
    /// True if other arguments would help: exit code 2.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::TargetExists(_) | Self::Url(_))
    }
}

/// Copies database and keys into a new folder `target` (0700); answers the files in it.
pub async fn back_up(source: &BackupSource, target: &Path) -> Result<Vec<PathBuf>, BackupError> {
    if target.exists() {
        return Err(BackupError::TargetExists(target.to_owned()));
    }
    let partial = target.with_file_name(format!(
        "{}.partial-{}",
        target.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&partial).map_err(failed(&partial))?;
    let made = fill(source, &partial).await;
    let files = match made {
        Ok(files) => files,
        Err(error) => {
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    fs::rename(&partial, target).map_err(failed(target))?;
    if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))?;
    }
    Ok(files.into_iter().map(|file| target.join(file)).collect())
}

/// The key before the database and after it: while one takes over from another, the copy may hold secrets of both.
async fn fill(source: &BackupSource, folder: &Path) -> Result<Vec<&'static str>, BackupError> {
    let copy = folder.join(KEY_FILE);
    let copy_key = |file: PathBuf| copy_private(&file, &copy)?.ok_or(BackupError::SourceMissing { path: file });
    match &source.secret_key {
        SecretKey::DataDir => copy_key(source.data_dir.join(KEY_FILE))?,
        SecretKey::File(file) => copy_key(file.clone())?,
        SecretKey::Value(key) => write_new(&copy, format!("{}\n", key.expose_secret().trim()).as_bytes())?,
    }
    let mut files = vec![KEY_FILE];
    if copy_private(&source.data_dir.join(ADMIN_TOKEN_FILE), &folder.join(ADMIN_TOKEN_FILE))?.is_some() {
        files.push(ADMIN_TOKEN_FILE);
    }
    match source.database_url.as_ref().map(ExposeSecret::expose_secret) {
        Some(url) if is_postgres(url) => {
            dump_postgres(url, &folder.join(DUMP))?;
            files.push(DUMP);
        }
        other => {
            let url = match other {
                Some(url) => url.to_owned(),
                None => sqlite_url(&source.data_dir.join(DATABASE))?,
            };
            copy_sqlite(&url, &folder.join(DATABASE)).await?;
            files.push(DATABASE);
        }
    }
    let key_file = match &source.secret_key {
        SecretKey::DataDir => Some(source.data_dir.join(KEY_FILE)),
        SecretKey::File(file) => Some(file.clone()),
        SecretKey::Value(_) => None,
    };
    if let Some(file) = key_file {
        add_keys(&file, &copy)?;
    }
    Ok(files)
}

/// Returns whether a database URL is of PostgreSQL.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Adds the keys that are in a file now to an earlier copy of it.
fn add_keys(file: &Path, copy: &Path) -> Result<(), BackupError> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|source| BackupError::File { path: path.to_owned(), source });
    let (now, before) = (read(file)?, read(copy)?);
    if now == before {
        return Ok(());
    }
    let both = keys_of_both(&before, &now);
    write_private(copy, both.expose_secret()).map_err(|source| BackupError::File { path: copy.to_owned(), source })
}

/// Copies a file for its owner only; `None` if it does not exist.
pub(crate) fn copy_private(from: &Path, to: &Path) -> Result<Option<()>, BackupError> {
    let text = match fs::read(from) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BackupError::File { path: from.to_owned(), source }),
    };
    write_new(to, &text).map(Some)
}

fn write_new(to: &Path, text: &[u8]) -> Result<(), BackupError> {
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        io::Write::write_all(&mut file, text)?;
        file.sync_all()
    };
    write().map_err(|source| BackupError::File { path: to.to_owned(), source })
}

/// `VACUUM INTO` reads one moment while others write, and leaves nothing behind of what was deleted.
async fn copy_sqlite(url: &str, to: &Path) -> Result<(), BackupError> {
    let name = to.to_str().ok_or_else(|| BackupError::Url(format!("{}: the path must be UTF-8", to.display())))?;
    let failed = |source| BackupError::File { path: to.to_owned(), source };
    // Made before, so that it is its owner's from the first byte on; SQLite writes into an empty file.
    File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    sqlite::copy(&with_mode(url, "rw"), name).await?;
    File::open(to).and_then(|file| file.sync_all()).map_err(failed)?;
    match sqlite::fault_of(&with_mode(&sqlite_url(to)?, "ro")).await? {
        None => Ok(()),
        Some(fault) => Err(BackupError::Damaged(fault)),
    }
}

/// A SQLite URL that opens the database in another mode.
pub(crate) fn with_mode(url: &str, mode: &str) -> String {
    format!("{}?mode={mode}", url.split('?').next().unwrap_or(url))
}

/// Everything goes by the environment: arguments can be read by everybody on the machine.
fn dump_postgres(url: &str, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::File { path: to.to_owned(), source };
    let environment = libpq_environment(url)?;
    File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let mut command = Command::new("pg_dump");
    command.arg("--format=custom").arg("--no-password").arg("--file").arg(to).envs(environment);
    let done = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BackupError::NoDump,
        _ => BackupError::Dump(error.to_string()),
    })?;
    if !done.status.success() {
        return Err(BackupError::Dump(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(failed)
}

/// Returns a server's URL in the form of PostgreSQL's own tools. Settings that only the server's pool knows are left
/// out.
pub(crate) fn libpq_environment(url: &str) -> Result<Vec<(&'static str, String)>, BackupError> {
    let url = Url::parse(url).map_err(|error| BackupError::Url(error.to_string()))?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut environment = Vec::new();
    let mut put = |name, value: String| {
        if !value.is_empty() {
            environment.push((name, value));
        }
    };
    // IPv6 addresses are in brackets in URLs only.
    put("PGHOST", decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']'])));
    put("PGPORT", url.port().map(|port| port.to_string()).unwrap_or_default());
    put("PGUSER", decoded(url.username()));
    put("PGPASSWORD", decoded(url.password().unwrap_or_default()));
    put("PGDATABASE", decoded(url.path().trim_start_matches('/')));
    for (name, value) in url.query_pairs() {
        let name = match name.as_ref() {
            "host" | "hostaddr" => "PGHOST",
            "port" => "PGPORT",
            "user" => "PGUSER",
            "password" => "PGPASSWORD",
            "dbname" => "PGDATABASE",
            "sslmode" | "ssl-mode" => "PGSSLMODE",
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "PGSSLROOTCERT",
            "sslcert" | "ssl-cert" => "PGSSLCERT",
            "sslkey" | "ssl-key" => "PGSSLKEY",
            "passfile" => "PGPASSFILE",
            _ => continue,
        };
        put(name, value.into_owned());
    }
    Ok(environment)
}

#[cfg(test)]
mod tests;
