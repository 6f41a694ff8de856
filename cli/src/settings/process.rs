//! Settings of every server's process: the metrics port, the data folder and the log.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use roadstead_dataplane::listener::PortSettings;
use tracing_subscriber::EnvFilter;

use super::{ports::PortFlags, refuse::bad};
use crate::{failure::Failure, value_parsers::address};

/// Flags of every server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(super) struct ProcessFlags {
    /// Address to serve /metrics, /livez and /readyz on
    #[arg(long, env = "ROADSTEAD_METRICS_LISTEN", default_value = "127.0.0.1:7072", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub metrics_listen: SocketAddr,
    /// Folder of all embedded data; created with mode 0700
    #[arg(long, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Log level, or directives such as info,roadstead_dataplane=debug [default: RUST_LOG, or info]
    #[arg(long, env = "ROADSTEAD_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Format of log lines
    #[arg(long, env = "ROADSTEAD_LOG_FORMAT", value_enum, default_value = "human", value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(flatten)]
    ports: PortFlags,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    Human,
    /// One JSON object a line
    Json,
}

/// Checked settings of every server's process.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Address of metrics and probes.
    pub metrics_listen: SocketAddr,
    /// Folder of all embedded data.
    pub data_dir: PathBuf,
    /// Bounds of the ports on their clients.
    pub ports: PortSettings,
    /// Directives for [`EnvFilter`].
    pub log: String,
    /// Format of log lines.
    pub log_format: LogFormat,
}

impl ProcessFlags {
    pub(super) fn check(self) -> Result<ProcessSettings, Failure> {
        let (flag, log) = match self.log {
            Some(log) => ("--log", log),
            None => {
                ("RUST_LOG", std::env::var("RUST_LOG").ok().filter(|log| !log.is_empty()).unwrap_or("info".to_owned()))
            }
        };
        EnvFilter::try_new(&log).map_err(|error| bad(flag, &log, error))?;
        Ok(ProcessSettings {
            metrics_listen: self.metrics_listen,
            data_dir: self.data_dir,
            ports: self.ports.check()?,
            log,
            log_format: self.log_format,
        })
    }
}
