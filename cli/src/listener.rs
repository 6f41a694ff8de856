//! The ports that serve routers: the control port, the metrics port, and connections within the process. All of them
//! use the one [`listener`] there is. Requests carry their client's address as [`ConnectInfo`], so that the audit and the
//! login throttle know whom they see.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use roadstead_dataplane::listener::{
    self, Connection, Handler, Limits, Listener, PortSettings, RequestBody, ServerTls, Timeouts, source_address,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::failure::Failure;

/// Most calls at a time on one HTTP/2 connection to the control port. A busy node's calls share one connection.
const MAX_CALLS: u32 = 2000;
/// Interval and timeout of keep-alive pings on a silent HTTP/2 connection to the control port.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Time for calls in progress to finish after a stop; endless streams are cut off then.
const DRAIN: Duration = Duration::from_secs(5);

/// Binds a port; `flag` is what named it.
pub fn bind(flag: &str, address: SocketAddr, settings: &PortSettings) -> Result<TcpListener, Failure> {
    listener::bind(address, settings.limits.backlog).map_err(|error| cannot_bind(flag, address, &error))
}

/// Explains a port that cannot be bound, with the next step.
pub fn cannot_bind(flag: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => "; is another server running? Stop it, or choose another address",
        _ => "",
    };
    Failure::failed(format_args!("{flag} {address}: {error}{next}"))
}

/// A router as the listener serves it.
pub struct Routes {
    router: Router,
    trusted_proxies: Arc<[IpNet]>,
}

impl Routes {
    /// Serves `router`; proxies in front name the client.
    pub const fn new(router: Router, trusted_proxies: Arc<[IpNet]>) -> Self {
        Self { router, trusted_proxies }
    }
}

impl Handler for Routes {
    type Body = Body;

    async fn answer(self: Arc<Self>, mut request: Request<RequestBody>) -> Response<Body> {
        if let Some(peer) = request.extensions().get::<Connection>().map(|connection| connection.peer) {
            let client = source_address(peer.ip(), request.headers(), &self.trusted_proxies);
            let client = if client == peer.ip().to_canonical() { peer } else { SocketAddr::new(client, 0) };
            request.extensions_mut().insert(ConnectInfo(client));
        }
        match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

/// Returns the limits of the control port, from the `settings` of all ports.
fn control_settings(settings: &PortSettings) -> PortSettings {
    PortSettings {
        limits: Limits { streams: MAX_CALLS, ..settings.limits },
        timeouts: Timeouts { drain: DRAIN, keep_alive: Some(KEEP_ALIVE), ..settings.timeouts },
        ..settings.clone()
    }
}

/// Serves the control port until `stop`.
pub async fn serve_control(
    socket: TcpListener,
    tls: Option<ServerTls>,
    router: Router,
    settings: PortSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let routes = Arc::new(Routes::new(router, Arc::clone(&settings.trusted_proxies)));
    Listener::new(socket, tls, control_settings(&settings), routes, Gauge::default())?.serve(stop).await;
    Ok(())
}

/// Serves one connection within the process until it ends or, after `stop`, its calls under way have.
pub async fn serve_stream(stream: tokio::io::DuplexStream, router: Router, stop: CancellationToken) {
    let settings = control_settings(&PortSettings::default());
    listener::serve_stream(stream, Arc::new(Routes::new(router, Arc::default())), &settings, stop).await;
}

/// The metrics port: served by a thread, a runtime and bounds of its own, so that probes are answered whatever else
/// keeps the process busy.
pub struct MetricsPort {
    stop: CancellationToken,
    thread: thread::JoinHandle<()>,
}

impl MetricsPort {
    /// Bounds of the port: a scrape a second by a handful of collectors, and probes.
    fn settings() -> PortSettings {
        let seconds = Duration::from_secs;
        PortSettings {
            limits: Limits { connections: 256, per_client: 32, streams: 16, backlog: 128 },
            timeouts: Timeouts {
                head: seconds(5),
                body: seconds(5),
                idle: seconds(60),
                drain: seconds(1),
                keep_alive: None,
            },
            trusted_proxies: Arc::default(),
        }
    }

    /// Binds the port.
    pub fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
        bind("--metrics-listen", address, &Self::settings())
    }

    /// Starts to serve it.
    pub fn start(socket: TcpListener, router: Router) -> io::Result<Self> {
        let socket = socket.into_std()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let port = {
            let _within = runtime.enter();
            let routes = Arc::new(Routes::new(router, Arc::default()));
            Listener::new(TcpListener::from_std(socket)?, None, Self::settings(), routes, Gauge::default())?
        };
        let serve = move || runtime.block_on(port.serve(stopped));
        Ok(Self { stop, thread: thread::Builder::new().name("metrics-port".to_owned()).spawn(serve)? })
    }

    /// Stops it and waits until it has stopped.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

#[cfg(test)]
mod tests;
