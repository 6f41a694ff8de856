//! `roadstead control`: one control-plane replica.

use std::sync::Arc;

use roadstead_control::Control;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    banner,
    failure::Failure,
    listener::{self, MetricsPort},
    metrics::{self, Readiness},
    output,
    process::{self, Signals},
    settings::{ControlFlags, ControlSettings},
};

/// Runs the server until a signal.
pub fn run(flags: ControlFlags) -> Result<(), Failure> {
    let settings = flags.check()?;
    process::run(&settings.process.clone(), |signals| serve(settings, signals))
}

async fn serve(settings: ControlSettings, signals: Signals) -> Result<(), Failure> {
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
    let ports = settings.process.ports;
    let control_listener = listener::bind("--control-listen", settings.control_listen, &ports)?;
    let metrics_listener = MetricsPort::bind(settings.process.metrics_listen)?;
    let address = control_listener.local_addr().unwrap_or(settings.control_listen);
    let metrics_address = metrics_listener.local_addr().unwrap_or(settings.process.metrics_listen);

    let readiness = readiness(&control, &stop);
    let url = banner::control_url(address, settings.control_tls.is_some());
    let greeting = format!("Roadstead's control plane serves gRPC on {url}, metrics on {metrics_address}.");
    tokio::spawn(banner::once_ready(Arc::clone(&readiness), greeting));

    let pages = metrics::router(Arc::new(registry), readiness);
    let metrics_port = MetricsPort::start(metrics_listener, pages).map_err(Failure::failed)?;
    if let Some(tls) = settings.control_tls.clone() {
        tokio::spawn(tls.follow(signals.reload.clone()));
    }
    let control_port = tokio::spawn(listener::serve_control(
        control_listener,
        settings.control_tls,
        control.router(),
        ports,
        stop.clone(),
    ));
    control.run(stop.clone()).await;
    let result = if stop.is_cancelled() {
        Ok(())
    } else {
        error!("the background work ended; stopping");
        stop.cancel();
        Err(Failure::failed("the control plane's background work ended; the log says why"))
    };
    let _ = control_port.await;
    metrics_port.stop().await;
    info!("stopped");
    result
}

fn readiness(control: &Control, stop: &CancellationToken) -> Readiness {
    let (control, stop) = (control.clone(), stop.clone());
    Arc::new(move || {
        let (control, stop) = (control.clone(), stop.clone());
        Box::pin(async move {
            match stop.is_cancelled() {
                true => Err("stopping".to_owned()),
                false if control.ready().await => Ok(()),
                false => Err("the database does not answer".to_owned()),
            }
        })
    })
}
