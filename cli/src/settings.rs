//! Servers' settings: flags and their environment variables, checked whole before a port is bound. An error names the
//! flag and its value; the exit code is 2.

mod check;
mod control_tls;
mod flags;
mod peers;
mod secret_key;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use roadstead_control::ControlConfig;
use roadstead_dataplane::DataplaneConfig;
use rustls::ServerConfig;
use secrecy::SecretString;

use crate::connect::ControlAt;

pub use check::storage_url;
pub use flags::{ControlFlags, DataplaneFlags, LogFormat, ServeFlags};
pub use secret_key::SecretKeyFlags;

/// What every server needs besides its planes' settings.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Where metrics and probes are served.
    pub metrics_listen: SocketAddr,
    /// Where everything embedded lives.
    pub data_dir: PathBuf,
    /// What is logged, in `EnvFilter`'s words; checked.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Settings of `roadstead serve`.
#[derive(Debug)]
pub struct ServeSettings {
    pub process: ProcessSettings,
    pub control_listen: SocketAddr,
    /// The control port's certificate; plain HTTP without.
    pub control_tls: Option<Arc<ServerConfig>>,
    pub control: ControlConfig,
    pub dataplane: DataplaneConfig,
}

/// Settings of `roadstead control`.
#[derive(Debug)]
pub struct ControlSettings {
    pub process: ProcessSettings,
    pub control_listen: SocketAddr,
    /// The control port's certificate; plain HTTP without.
    pub control_tls: Option<Arc<ServerConfig>>,
    pub control: ControlConfig,
}

/// Settings of `roadstead dataplane`.
#[derive(Debug)]
pub struct DataplaneSettings {
    pub process: ProcessSettings,
    pub dataplane: DataplaneConfig,
    pub control_at: ControlAt,
    pub node_token: SecretString,
}
