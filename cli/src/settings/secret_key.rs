//! The flags that say what stored secrets are sealed with.

use std::path::PathBuf;

use clap::Args;
use roadstead_control::SecretKey;
use secrecy::SecretString;

/// Flags for the sealing key: the servers' and the backup's.
#[derive(Debug, Args)]
pub struct SecretKeyFlags {
    /// The key that stored secrets are sealed with, 32 bytes as base64; all replicas need the same [default:
    /// DIR/secret.key, which a server makes at its first start]
    #[arg(long, env = "ROADSTEAD_SECRET_KEY_FILE", value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// That key itself, best given by the environment: arguments can be read by everybody on the machine
    #[arg(long, env = "ROADSTEAD_SECRET_KEY", hide_env_values = true, value_name = "BASE64")]
    #[arg(conflicts_with = "secret_key_file")]
    secret_key: Option<SecretString>,
}

impl From<SecretKeyFlags> for SecretKey {
    fn from(flags: SecretKeyFlags) -> Self {
        match (flags.secret_key, flags.secret_key_file) {
            (Some(key), _) => Self::Value(key),
            (None, Some(file)) => Self::File(file),
            (None, None) => Self::DataDir,
        }
    }
}
