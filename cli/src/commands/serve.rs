//! `roadstead serve`: the control plane and one data-plane node in one process, joined by an in-memory gRPC channel.

use std::sync::Arc;

use roadstead_control::Control;
use roadstead_dataplane::Dataplane;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::dataplane::cannot_start;
use crate::{
    banner::{self, Listening},
    embedded,
    failure::Failure,
    listener::{self, MetricsPort},
    metrics::{self, Readiness},
    output,
    process::{self, Signals},
    settings::{ServeFlags, ServeSettings},
};

/// Runs the server until a signal.
pub fn run(flags: ServeFlags) -> Result<(), Failure> {
    let settings = flags.check()?;
    process::run(&settings.process.clone(), |signals| serve(settings, signals))
}

async fn serve(settings: ServeSettings, signals: Signals) -> Result<(), Failure> {
    let stop = signals.stop.clone();
    let mut registry = metrics::registry();
    // The start may wait for the database.
    let Some(opened) = stop.run_until_cancelled(Control::open(settings.control, &mut registry)).await else {
        return Ok(());
    };
    let (control, first) = opened.map_err(|error| Failure::of(error.is_usage(), error))?;
    if let Some(token) = &first.admin_token {
        output::print(&banner::admin_token(token, &first.admin_token_file))?;
    }
    // The node drains while the control plane still runs, and the metrics port stops last.
    let control_stop = CancellationToken::new();
    for tls in settings.control_tls.iter().chain(&settings.dataplane.tls) {
        tokio::spawn(tls.clone().follow(signals.reload.clone()));
    }
    let channel = embedded::channel(control.router(), control_stop.clone());
    let node = Dataplane::bind(settings.dataplane.clone(), channel, control.embedded_node_token(), &mut registry)
        .await
        .map_err(|error| cannot_start(settings.dataplane.listen, &error))?;
    let ports = settings.process.ports;
    let control_listener = listener::bind("--control-listen", settings.control_listen, &ports)?;
    let metrics_listener = MetricsPort::bind(settings.process.metrics_listen)?;

    let control_address = control_listener.local_addr().unwrap_or(settings.control_listen);
    let listening = Listening {
        registry: node.local_addr(),
        control: Some(banner::control_url(control_address, settings.control_tls.is_some())),
        metrics: metrics_listener.local_addr().unwrap_or(settings.process.metrics_listen),
        dataplane: &settings.dataplane,
    };
    let readiness = readiness(&control, &node, &stop);
    let greeting = if first.is_first { listening.first() } else { listening.short() };
    tokio::spawn(banner::once_ready(Arc::clone(&readiness), greeting));

    let control_port = tokio::spawn(listener::serve_control(
        control_listener,
        settings.control_tls,
        control.router(),
        ports,
        control_stop.clone(),
    ));
    let pages = metrics::router(Arc::new(registry), readiness);
    let metrics_port = MetricsPort::start(metrics_listener, pages).map_err(Failure::failed)?;
    let mut background = tokio::spawn(control.run(control_stop.clone()));

    let mut node = std::pin::pin!(node.serve(stop.clone()));
    let result = tokio::select! {
        () = &mut node => Ok(()),
        _ = &mut background => {
            error!("the control plane's background work ended; stopping");
            stop.cancel();
            node.await;
            Err(Failure::failed("the control plane's background work ended; the log says why"))
        }
    };
    control_stop.cancel();
    let _ = control_port.await;
    if result.is_ok() {
        let _ = background.await;
    }
    metrics_port.stop().await;
    info!("stopped");
    result
}

/// Returns a check that passes if the database answers, the node has a snapshot and a writable store, and the process is not
/// stopping.
fn readiness(control: &Control, node: &Dataplane, stop: &CancellationToken) -> Readiness {
    let (control, node, stop) = (control.clone(), node.readiness(), stop.clone());
    Arc::new(move || {
        let (control, node, stop) = (control.clone(), node.clone(), stop.clone());
        Box::pin(async move {
            if stop.is_cancelled() {
                return Err("stopping".to_owned());
            }
            if !control.ready().await {
                return Err("control plane: the database does not answer".to_owned());
            }
            node.check()
        })
    })
}
