//! `roadstead backup`: copies the control plane's database and keys, as of one moment, to a folder.

use std::path::PathBuf;

use clap::Args;
use roadstead_control::{BackupSource, back_up};
use secrecy::SecretString;

use crate::{failure::Failure, output, settings::SecretKeyFlags};

/// Back up the control plane's database and keys while it runs
///
/// Run it on the server's machine: it reads the files, and calls no server. The backup has no blobs; nodes use those in the store
/// and fetch others again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead backup /var/backups/roadstead-1 --data-dir /var/lib/roadstead
  roadstead backup backup-1 --database-url postgres://roadstead@db/roadstead \\
      --secret-key-file /etc/roadstead/secret.key

Restore it with roadstead restore.")]
pub struct Backup {
    /// Folder to create; it must not exist
    folder: PathBuf,
    /// Data folder of the server
    #[arg(long, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Database of the server [default: sqlite://DIR/control.db]
    #[arg(long, env = "ROADSTEAD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(flatten)]
    secret_key: SecretKeyFlags,
}

impl Backup {
    /// Makes the backup and prints the names of its files.
    pub async fn run(self) -> Result<(), Failure> {
        let source = BackupSource {
            data_dir: self.data_dir,
            database_url: self.database_url,
            secret_key: self.secret_key.into(),
        };
        let files = back_up(&source, &self.folder).await.map_err(|error| Failure::of(error.is_usage(), error))?;
        let listed: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
        output::print(&listed)
    }
}
