//! Restoring a backup: the database and its key are put back, and a new timeline begins, so that nodes which have seen
//! later changes use nothing that they remember.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use tracing::info;

use crate::{
    auth::seal::SecretKey,
    backup::{BackupError, DUMP, copy_private, is_postgres, libpq_environment, with_mode},
    clock::Clock,
    open::{ADMIN_TOKEN_FILE, DATABASE, KEY_FILE, sqlite_url},
    rules::audit::Entry,
    store::{Store, StoreError, StoreSettings, audit, changes, engine::sqlite},
};

/// Longest wait for the database to answer after it was put back.
const OPEN_TIME: Duration = Duration::from_secs(30);

/// The place that a backup is restored to.
pub struct RestoreTarget {
    /// The server's data folder.
    pub data_dir: PathBuf,
    /// The database; `None` means `control.db` in the data folder. May hold a password.
    pub database_url: Option<SecretString>,
    /// The place of the key that the database's secrets are sealed with.
    pub secret_key: SecretKey,
    /// Put a SQLite database that exists aside.
    pub replace: bool,
}

/// A restored backup.
#[derive(Debug)]
pub struct Restored {
    /// The first revision of the new timeline.
    pub revision: i64,
    /// The old database, where one was put aside.
    pub put_aside: Option<PathBuf>,
}

/// A backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup lacks a file.
    #[error("{0} is missing; name a folder that roadstead backup made of a database of this kind")]
    NoBackup(PathBuf),
    /// There is a database already.
    #[error("{0} is there already; stop the server, and use --replace to put the database aside")]
    TargetExists(PathBuf),
    /// There is another key already.
    #[error("{0} holds another key than the backup; move it away first")]
    OtherKey(PathBuf),
    /// The key was given as a value that is not the backup's.
    #[error("--secret-key is not the key of the backup")]
    WrongKey,
    /// A file or the database cannot be read or written.
    #[error(transparent)]
    Files(#[from] BackupError),
    /// The database cannot be used.
    #[error("the restored database cannot be used: {0}")]
    Database(#[from] StoreError),
    /// PostgreSQL's own tool is not there.
    #[error("pg_restore is missing; install PostgreSQL's client tools, of the server's version or later")]
    NoTool,
    /// PostgreSQL's own tool failed.
    #[error("pg_restore failed, and changed nothing: {0}")]
    Tool(String),
}

impl RestoreError {
    /// True if other arguments would help: exit code 2.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NoBackup(_) | Self::TargetExists(_) | Self::OtherKey(_) | Self::WrongKey)
    }
}

/// Puts the backup in `folder` back, while no server runs, and begins a new timeline.
pub async fn restore(folder: &Path, target: &RestoreTarget) -> Result<Restored, RestoreError> {
    let postgres = target.database_url.as_ref().map(|url| url.expose_secret()).filter(|url| is_postgres(url));
    let source = folder.join(if postgres.is_some() { DUMP } else { DATABASE });
    for file in [&source, &folder.join(KEY_FILE)] {
        if !file.is_file() {
            return Err(RestoreError::NoBackup(file.clone()));
        }
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Files(BackupError::File { path, source })
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&target.data_dir).map_err(failed(&target.data_dir))?;
    restore_key(&folder.join(KEY_FILE), target)?;
    let admin_token = target.data_dir.join(ADMIN_TOKEN_FILE);
    if folder.join(ADMIN_TOKEN_FILE).is_file() {
        // The token of the database that is put back.
        match fs::remove_file(&admin_token) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&admin_token)(error)),
            _ => copy_private(&folder.join(ADMIN_TOKEN_FILE), &admin_token)?,
        };
    }
    let (url, put_aside) = match postgres {
        Some(url) => {
            restore_postgres(url, &source)?;
            (url.to_owned(), None)
        }
        None => {
            let file = match &target.database_url {
                Some(url) => file_of(url.expose_secret()),
                None => target.data_dir.join(DATABASE),
            };
            let put_aside = restore_sqlite(&source, &file, target.replace).await?;
            (sqlite_url(&file).map_err(BackupError::from)?, put_aside)
        }
    };
    Ok(Restored { revision: begin_timeline(url, folder).await?, put_aside })
}

/// Keeps a key that is the backup's; never overwrites another.
fn restore_key(backup: &Path, target: &RestoreTarget) -> Result<(), RestoreError> {
    let read = |path: &Path| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::File { path: path.to_owned(), source }),
    };
    let key = read(backup)?;
    let file = match &target.secret_key {
        SecretKey::DataDir => target.data_dir.join(KEY_FILE),
        SecretKey::File(file) => file.clone(),
        SecretKey::Value(given) if Some(given.expose_secret().trim()) == key.as_deref() => return Ok(()),
        SecretKey::Value(_) => return Err(RestoreError::WrongKey),
    };
    match read(&file)? {
        None => Ok(copy_private(backup, &file).map(|_| ())?),
        Some(present) if key.as_ref() == Some(&present) => Ok(()),
        Some(_) => Err(RestoreError::OtherKey(file)),
    }
}

/// The file of a SQLite URL.
fn file_of(url: &str) -> PathBuf {
    let path = url.strip_prefix("sqlite://").unwrap_or(url);
    let path = path.split('?').next().unwrap_or(path);
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned().into()
}

/// Puts the copy in the place of `file`, whole or not at all; answers where the old database is then.
async fn restore_sqlite(copy: &Path, file: &Path, replace: bool) -> Result<Option<PathBuf>, RestoreError> {
    let failed = |source| RestoreError::Files(BackupError::File { path: file.to_owned(), source });
    if let Some(fault) = sqlite::fault_of(&with_mode(&sqlite_url(copy).map_err(BackupError::from)?, "ro")).await? {
        return Err(BackupError::Damaged(fault).into());
    }
    if file.exists() && !replace {
        return Err(RestoreError::TargetExists(file.to_owned()));
    }
    let with = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let staged = with(file, ".restoring");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    copy_private(copy, &staged)?;
    let put_aside = file.exists().then(|| with(file, &format!(".before-restore-{}", Clock::system().now_ms())));
    if let Some(aside) = &put_aside {
        // What is still in its log belongs to the old database, and must not be applied to the new one.
        for end in ["", "-wal", "-shm"] {
            match fs::rename(with(file, end), with(aside, end)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
    }
    for end in ["-wal", "-shm"] {
        if with(file, end).exists() {
            return Err(RestoreError::TargetExists(with(file, end)));
        }
    }
    fs::rename(&staged, file).map_err(failed)?;
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(put_aside)
}

/// In one transaction: whole, or not at all.
fn restore_postgres(url: &str, dump: &Path) -> Result<(), RestoreError> {
    let environment = libpq_environment(url)?;
    let database = environment.iter().find(|(name, _)| *name == "PGDATABASE");
    let database = database.map(|(_, value)| value.clone()).unwrap_or_default();
    let mut command = Command::new("pg_restore");
    command.args(["--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", "--no-password"]);
    command.arg("--dbname").arg(database).arg(dump).envs(environment);
    let done = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RestoreError::NoTool,
        _ => RestoreError::Tool(error.to_string()),
    })?;
    if !done.status.success() {
        return Err(RestoreError::Tool(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    Ok(())
}

async fn begin_timeline(url: String, folder: &Path) -> Result<i64, StoreError> {
    let clock = Clock::system();
    let settings = StoreSettings { timeout: OPEN_TIME, ..StoreSettings::new(url) };
    let store = Store::open(&settings, &clock).await?;
    let now_ms = clock.now_ms();
    let mut tx = store.write().await?;
    let revision = tx.begin_timeline(0, now_ms).await?;
    let timeline = changes::timeline(&mut tx).await?;
    let entry = Entry::by_server("database.restore", timeline).detail(format!("from {}", folder.display()));
    audit::record(&mut tx, &entry, now_ms).await?;
    tx.commit().await?;
    store.close().await;
    info!(revision, "the database is restored; nodes read everything anew");
    Ok(revision)
}
