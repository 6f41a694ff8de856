//! The process of a server: its data folder, file descriptors, runtime, telemetry, and the signals that stop it.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    time::Duration,
};

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

/// Files of the data folder that hold secrets.
const SECRET_FILES: [&str; 5] = ["control.db", "control.db-wal", "control.db-shm", "secret.key", "admin-token"];

/// The stops that signals ask for.
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
    close_to_others(&settings.data_dir);
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

/// Takes from other users what they may do to the secrets in the folder: an earlier version, or whoever copied them there,
/// may have left them readable. Files that cannot be changed are logged.
fn close_to_others(data_dir: &Path) {
    let mode = |path: &Path| path.metadata().map(|found| found.permissions().mode());
    if mode(data_dir).is_ok_and(|mode| mode & 0o002 != 0) {
        warn!(path = %data_dir.display(), "other users may write to the data folder; `chmod 700` it");
    }
    for path in SECRET_FILES.map(|name| data_dir.join(name)) {
        if mode(&path).is_ok_and(|mode| mode & 0o077 != 0) {
            match std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
                Ok(()) => warn!(path = %path.display(), "other users could read this file; it is closed to them now"),
                Err(error) => warn!(path = %path.display(), %error, "other users can read this file; `chmod 600` it"),
            }
        }
    }
}

/// Every download holds two sockets and a file: as many as the system lets us have.
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
