//! Settings of the key that encrypts stored secrets.

use std::path::PathBuf;

use clap::Args;
use roadstead_control::SecretKey;
use secrecy::SecretString;

/// Flags of the secret key, for servers and backups.
#[derive(Debug, Args)]
pub struct SecretKeyFlags {
    /// File with the key that encrypts stored secrets, 32 bytes as base64; all replicas need the same [default:
    /// DIR/secret.key, which a server's first start creates]
    #[arg(long, env = "ROADSTEAD_SECRET_KEY_FILE", value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// The key itself; prefer the environment variable: others on the machine can read arguments
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
