//! The flags of `serve`, `control` and `dataplane`, and the settings that they come to.

use std::net::SocketAddr;

use clap::Args;
use roadstead_control::ControlConfig;
use roadstead_dataplane::{DataplaneConfig, listener::ServerTls};
use secrecy::{ExposeSecret, SecretString};

use super::{
    control_plane::ControlPlaneFlags,
    process::{ProcessFlags, ProcessSettings},
    refuse::bad,
    registry::RegistryFlags,
};
use crate::{connect::ControlAt, failure::Failure};

/// Run the whole proxy in one process: the control plane and a data-plane node
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead serve
  docker pull 127.0.0.1:7070/default/dependency_proxy/containers/alpine:latest

Set ROADSTEAD_ADMIN_TOKEN at the first start to choose the administrator's token; otherwise the server creates one and writes \
it to DIR/admin-token. On SIGTERM or SIGINT the server finishes the downloads in progress and stops; a second signal stops it \
at once.")]
pub struct ServeFlags {
    #[command(flatten)]
    registry: RegistryFlags,
    #[command(flatten)]
    control_plane: ControlPlaneFlags,
    #[command(flatten)]
    process: ProcessFlags,
}

/// Run one control-plane replica
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead control --data-dir /var/lib/roadstead
  roadstead token create --node --name node-1 --data-dir /var/lib/roadstead")]
pub struct ControlFlags {
    #[command(flatten)]
    control_plane: ControlPlaneFlags,
    #[command(flatten)]
    process: ProcessFlags,
}

/// Run one data-plane node
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ROADSTEAD_NODE_TOKEN=rs_node_… roadstead dataplane \\
      --control https://control.example --listen 0.0.0.0:7070
  ROADSTEAD_NODE_TOKEN=rs_node_… roadstead dataplane \\
      --control https://c1.example:7071,https://c2.example:7071 \\
      --control-ca-file ca.pem \\
      --control-client-cert node.pem --control-client-key node.key")]
pub struct DataplaneFlags {
    #[command(flatten)]
    control: ControlAt,
    /// The node's credential at the control plane (`roadstead token create --node`)
    #[arg(long, env = "ROADSTEAD_NODE_TOKEN", hide_env_values = true, value_name = "TOKEN", required = true)]
    node_token: SecretString,
    #[command(flatten)]
    registry: RegistryFlags,
    #[command(flatten)]
    process: ProcessFlags,
}

/// Checked settings of `roadstead serve`.
#[derive(Debug)]
pub struct ServeSettings {
    pub process: ProcessSettings,
    pub control_listen: SocketAddr,
    /// The control port's certificate; `None` is plain HTTP.
    pub control_tls: Option<ServerTls>,
    pub control: ControlConfig,
    pub dataplane: DataplaneConfig,
}

/// Checked settings of `roadstead control`.
#[derive(Debug)]
pub struct ControlSettings {
    pub process: ProcessSettings,
    pub control_listen: SocketAddr,
    /// The control port's certificate; `None` is plain HTTP.
    pub control_tls: Option<ServerTls>,
    pub control: ControlConfig,
}

/// Checked settings of `roadstead dataplane`.
#[derive(Debug)]
pub struct DataplaneSettings {
    pub process: ProcessSettings,
    pub dataplane: DataplaneConfig,
    pub control_at: ControlAt,
    pub node_token: SecretString,
}

impl ServeFlags {
    /// Returns the settings, or the first fault.
    pub fn check(self) -> Result<ServeSettings, Failure> {
        let control_listen = self.control_plane.control_listen;
        let listeners = [
            ("--listen", self.registry.listen),
            ("--control-listen", control_listen),
            ("--metrics-listen", self.process.metrics_listen),
        ];
        apart(listeners.into_iter().chain(self.registry.peer_listener()))?;
        let control_tls = self.control_plane.tls()?;
        let process = self.process.check()?;
        let dataplane = self.registry.check(&process)?;
        let control = self.control_plane.check(&process.data_dir)?;
        Ok(ServeSettings { process, control_listen, control_tls, control, dataplane })
    }
}

impl ControlFlags {
    /// Returns the settings, or the first fault.
    pub fn check(self) -> Result<ControlSettings, Failure> {
        let control_listen = self.control_plane.control_listen;
        apart([("--control-listen", control_listen), ("--metrics-listen", self.process.metrics_listen)])?;
        let control_tls = self.control_plane.tls()?;
        let control = self.control_plane.check(&self.process.data_dir)?;
        Ok(ControlSettings { process: self.process.check()?, control_listen, control_tls, control })
    }
}

impl DataplaneFlags {
    /// Returns the settings, or the first fault.
    pub fn check(self) -> Result<DataplaneSettings, Failure> {
        let listeners = [("--listen", self.registry.listen), ("--metrics-listen", self.process.metrics_listen)];
        apart(listeners.into_iter().chain(self.registry.peer_listener()))?;
        let token = self.node_token.expose_secret().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(
                "--node-token: empty or not a token; create one with `roadstead token create --node --name NAME`",
            ));
        }
        let node_token = SecretString::from(token);
        let process = self.process.check()?;
        let dataplane = self.registry.check(&process)?;
        Ok(DataplaneSettings { process, dataplane, control_at: self.control, node_token })
    }
}

/// Fails if two listeners want the same port of the same address.
fn apart(listeners: impl IntoIterator<Item = (&'static str, SocketAddr)>) -> Result<(), Failure> {
    let listeners: Vec<_> = listeners.into_iter().collect();
    for (index, (flag, address)) in listeners.iter().enumerate() {
        for (other_flag, other) in &listeners[..index] {
            let ip_taken = address.ip() == other.ip() || address.ip().is_unspecified() || other.ip().is_unspecified();
            if address.port() == other.port() && address.port() != 0 && ip_taken {
                return Err(bad(flag, address, format_args!("already taken by {other_flag} {other}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
