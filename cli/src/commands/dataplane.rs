//! `roadstead dataplane`: one data-plane node, with the control plane in another process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use roadstead_dataplane::{Dataplane, StartError};
use roadstead_proto::client::ControlReplicas;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    banner::{self, Listening},
    failure::Failure,
    listener::{self, MetricsPort},
    metrics::{self, Readiness},
    process::{self, Signals},
    settings::{DataplaneFlags, DataplaneSettings},
};

/// Timeout for a connection to a replica; the call then goes to another replica within its own time limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of keep-alive pings to a silent replica.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Timeout for the answer to a keep-alive ping.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(5);

/// Runs the server until a signal.
pub fn run(flags: DataplaneFlags) -> Result<(), Failure> {
    let settings = flags.check()?;
    process::run(&settings.process.clone(), |signals| serve(settings, signals))
}

async fn serve(settings: DataplaneSettings, signals: Signals) -> Result<(), Failure> {
    let stop = signals.stop.clone();
    if let Some(tls) = settings.dataplane.tls.clone() {
        tokio::spawn(tls.follow(signals.reload.clone()));
    }
    // Connects with the first call, and reconnects when needed: a node can start without its control plane.
    let replicas = ControlReplicas::new(settings.control_at.lasting_channels(|endpoint| {
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true)
    })?);
    let mut registry = metrics::registry();
    let node = Dataplane::bind(settings.dataplane.clone(), replicas, settings.node_token, &mut registry)
        .await
        .map_err(|error| cannot_start(settings.dataplane.listen, &error))?;
    let metrics_listener = MetricsPort::bind(settings.process.metrics_listen)?;

    let listening = Listening {
        registry: node.local_addr(),
        control: None,
        metrics: metrics_listener.local_addr().unwrap_or(settings.process.metrics_listen),
        dataplane: &settings.dataplane,
    };
    let readiness = readiness(&node, &stop);
    tokio::spawn(banner::once_ready(Arc::clone(&readiness), listening.short()));

    let pages = metrics::router(Arc::new(registry), readiness);
    let metrics_port = MetricsPort::start(metrics_listener, pages).map_err(Failure::failed)?;
    node.serve(stop).await;
    metrics_port.stop().await;
    info!("stopped");
    Ok(())
}

/// Explains why a node cannot start.
pub(super) fn cannot_start(listen: SocketAddr, error: &StartError) -> Failure {
    match error {
        StartError::Listen { source, .. } => listener::cannot_bind("--listen", listen, source),
        _ => Failure::of(error.is_usage(), error),
    }
}

fn readiness(node: &Dataplane, stop: &CancellationToken) -> Readiness {
    let (node, stop) = (node.readiness(), stop.clone());
    Arc::new(move || {
        let (node, stop) = (node.clone(), stop.clone());
        Box::pin(async move { if stop.is_cancelled() { Err("stopping".to_owned()) } else { node.check() } })
    })
}
