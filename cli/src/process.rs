//! The process of a server: its data folder, file descriptors, runtime, telemetry, and the signals that stop it.

use std::{io, os::unix::fs::DirBuilderExt, path::Path, time::Duration};

use rustix::{
    fs::Mode,
    process::{Resource, getrlimit, setrlimit, umask},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{failure::Failure, settings::ProcessSettings, telemetry::Telemetry};

/// Longest time that tasks which ignore the stop delay the end of the process.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// What signals ask for.
#[derive(Debug)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
    pub stop: CancellationToken,
    /// Told at each SIGHUP: certificates are to be read anew.
    pub reload: watch::Receiver<()>,
}

/// Runs a server to its end.
pub fn run<F>(settings: &ProcessSettings, server: impl FnOnce(Signals) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    // What is made from here on is for this user only, even in a folder that others may look into.
    umask(Mode::RWXG | Mode::RWXO);
    create_data_dir(&settings.data_dir)?;
    let cannot_start = |error: io::Error| Failure::failed(format_args!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_start)?;
    let telemetry = {
        let _within = runtime.enter();
        Telemetry::start(settings)?
    };
    raise_open_files();
    let result = runtime.block_on(async { server(listen_to_signals().map_err(cannot_start)?).await });
    telemetry.shutdown();
    runtime.shutdown_timeout(LAST_GRACE);
    result
}

/// Creates the folder with mode 0700. An existing folder keeps its mode.
fn create_data_dir(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::usage(format_args!("--data-dir {}: {error}", path.display())))
}

/// Raises the limit of open files as far as the system allows: every download uses two sockets and a file.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => debug!(limit = limit.maximum, "raised the limit of open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}

fn listen_to_signals() -> io::Result<Signals> {
    let stop = CancellationToken::new();
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(watch_signals(terminate, interrupt, stop.clone()));
    let (tell, reload) = watch::channel(());
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!("SIGHUP: certificates are read anew");
            tell.send_replace(());
        }
    });
    Ok(Signals { stop, reload })
}

async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = next().await;
    info!(signal, "stopping; a second signal stops at once");
    stop.cancel();
    let signal = next().await;
    warn!(signal, "stopped at once");
    std::process::exit(1);
}

#[cfg(test)]
mod tests;
