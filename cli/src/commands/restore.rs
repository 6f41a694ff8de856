//! `roadstead restore`: puts a backup back.

use std::path::PathBuf;

use clap::Args;
use roadstead_control::{RestoreTarget, restore};
use secrecy::SecretString;

use crate::{failure::Failure, output, settings::SecretKeyFlags};

/// Restore a backup of the control plane's database and keys
///
/// Stop the control plane before, and start it afterwards. All changes after the backup are lost. Data-plane nodes may run on: once
/// they reach the restored control plane, they use nothing that they remember from before.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead restore /var/backups/roadstead-1 --data-dir /var/lib/roadstead
  roadstead restore backup-1 --database-url postgres://roadstead@db/roadstead \\
      --secret-key-file /etc/roadstead/secret.key")]
pub struct Restore {
    /// Folder that roadstead backup made
    folder: PathBuf,
    /// Data folder of the server
    #[arg(long, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Database of the server [default: sqlite://DIR/control.db]
    #[arg(long, env = "ROADSTEAD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(flatten)]
    secret_key: SecretKeyFlags,
    /// Put a SQLite database that exists aside, as DATABASE.before-restore-TIME
    #[arg(long)]
    replace: bool,
}

impl Restore {
    /// Restores the backup, and prints where the old database is.
    pub async fn run(self) -> Result<(), Failure> {
        let target = RestoreTarget {
            data_dir: self.data_dir,
            database_url: self.database_url,
            secret_key: self.secret_key.into(),
            replace: self.replace,
        };
        let restored = restore(&self.folder, &target).await.map_err(|error| Failure::of(error.is_usage(), error))?;
        eprintln!("restored; a new timeline begins at revision {}: start the control plane", restored.revision);
        match restored.put_aside {
            Some(path) => output::print(&format!("{}\n", path.display())),
            None => Ok(()),
        }
    }
}
