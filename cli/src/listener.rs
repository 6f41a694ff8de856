//! A server for axum routers: the control port, the metrics port, and connections within the process.
//!
//! It bounds connections, request heads and idle time. A stop gives calls in progress some time to finish. Requests over a port
//! carry the peer's address as [`ConnectInfo`], for audit and limits.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::failure::Failure;

/// Maximum number of connections to one port; others wait to be accepted.
const MAX_CONNECTIONS: usize = 2048;
/// Maximum number of concurrent calls on one HTTP/2 connection. A busy node's calls share one connection.
const MAX_STREAMS: u32 = 2000;
/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 32 * 1024;
/// Timeout for the start of a connection, and for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval and timeout of keep-alive pings on a silent HTTP/2 connection.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Time for calls in progress to finish after a stop; endless streams are cut off then.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the port that `flag` names.
pub async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| cannot_bind(flag, address, &error))
}

/// Explains a port that cannot be bound, with the next step.
pub fn cannot_bind(flag: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => "; is another server running? Stop it, or choose another address",
        _ => "",
    };
    Failure::failed(format_args!("{flag} {address}: {error}{next}"))
}

/// Serves a port until `stop`, with TLS if there is a certificate.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, stop: CancellationToken) {
    let tls = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((place, socket, peer)) = accepted else { continue };
        let (watcher, router, tls) = (graceful.watcher(), router.clone(), tls.clone());
        tokio::spawn(async move {
            // Protocol detection has no timeout of its own.
            if matches!(timeout(HEAD_TIMEOUT, socket.peek(&mut [0])).await, Ok(Ok(1))) {
                match tls {
                    None => serve_until_stopped(socket, router, peer, watcher).await,
                    Some(tls) => match timeout(HEAD_TIMEOUT, tls.accept(socket)).await {
                        Ok(Ok(socket)) => serve_until_stopped(socket, router, peer, watcher).await,
                        Ok(Err(error)) => {
                            info!(%peer, %error, "a TLS handshake on the control port failed")
                        }
                        Err(_) => debug!(%peer, "a TLS handshake timed out"),
                    },
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        debug!("calls in progress were cut off");
    }
}

/// Serves one connection until it ends or, after its port stops, until its calls in progress have ended.
async fn serve_until_stopped(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    peer: SocketAddr,
    watcher: Watcher,
) {
    let service = TowerToHyperService::new(router.map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    }));
    let connection = http().serve_connection(TokioIo::new(io), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        debug!(%error, "connection ended");
    }
}

/// Serves one connection until it ends or, after `stop`, until its calls in progress have ended.
pub async fn serve_one(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    stop: CancellationToken,
) {
    let connection = http().serve_connection(TokioIo::new(io), TowerToHyperService::new(router)).into_owned();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => {
            // Small answers must not wait for more data. Fails only if the peer has gone already.
            let _ = socket.set_nodelay(true);
            Some((place, socket, peer))
        }
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    http
}

#[cfg(test)]
mod tests;
