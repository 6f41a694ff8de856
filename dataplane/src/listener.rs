//! Serves every port of every server: accepting, TLS, HTTP/1.1 and HTTP/2, and the stop that lets answers finish.
//!
//! It guarantees, whatever clients do:
//! - One client (an IPv4 address, or an IPv6 network of 64 bits) has at most [`Limits::per_client`] connections; trusted
//!   proxies are exempt, for they bring many clients.
//! - At a bound, a connection without a request gives way to a newer one ([`connections`]).
//! - The TLS handshake, the HTTP/2 preface, each request's head, each request's body and an idle connection each have
//!   their time ([`Timeouts`]). A connection that waits for this server is never cut.

mod activity;
mod connection;
mod connections;
mod forwarded;
mod request_body;
mod tls;

#[cfg(test)]
mod tests;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

pub(crate) use self::connections::client_of;
pub use self::{
    connection::serve_stream,
    forwarded::{Forwarded, forwarded, source_address},
    request_body::{BodyError, RequestBody},
    tls::{InvalidTls, ServerTls, TlsFiles},
};
use self::{
    connection::{Stop, http, serve_socket},
    connections::{Connections, Entry},
};

/// The time that a stop gives connections which have not asked for anything yet.
const LAST_CALL: Duration = Duration::from_millis(500);
/// The pause when the system has no more file descriptors, or the like.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The service of a port.
pub trait Handler<B = RequestBody>: Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static;

    /// Answers one request, which carries its [`Connection`]. The future is dropped when the client leaves.
    fn answer(self: Arc<Self>, request: Request<B>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// True if it is encrypted.
    pub tls: bool,
}

impl Connection {
    /// The scheme of URLs that lead back here.
    pub const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// A port's bounds on its clients.
#[derive(Clone, Debug, Default)]
pub struct PortSettings {
    /// Bounds on numbers.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Proxies in front: their connections are not counted by client.
    pub trusted_proxies: Arc<[IpNet]>,
}

/// Bounds on the number of connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time.
    pub connections: usize,
    /// Most connections of one client at a time.
    pub per_client: usize,
    /// Most requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Most connections that the system keeps for this port before they are accepted. The system may keep fewer
    /// (`net.core.somaxconn` on Linux).
    pub backlog: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, per_client: 1_000, streams: 250, backlog: 4_096 }
    }
}

/// Bounds on time.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the TLS handshake, for the first request to begin, and for each request's head.
    pub head: Duration,
    /// For each request's body to arrive, all of it.
    pub body: Duration,
    /// For a connection without a request, or with an answer that the client does not take.
    pub idle: Duration,
    /// For answers under way when a stop is asked for.
    pub drain: Duration,
    /// The interval at which a silent HTTP/2 connection is pinged, and the time for its answer; no pings if not set.
    pub keep_alive: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { head: seconds(10), body: seconds(30), idle: seconds(60), drain: seconds(30), keep_alive: None }
    }
}

/// Binds a port.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// A bound port.
pub struct Listener<H> {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
    settings: PortSettings,
    handler: Arc<H>,
    connections: Arc<Connections>,
}

/// The state that all connections of a port share.
struct Shared {
    http: auto::Builder<TokioExecutor>,
    timeouts: Timeouts,
    stop: Stop,
}

impl<H: Handler> Listener<H> {
    /// Serves what comes to `socket`; `open` tells how many connections there are.
    pub fn new(
        socket: TcpListener,
        tls: Option<ServerTls>,
        settings: PortSettings,
        handler: Arc<H>,
        open: Gauge,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let connections = Connections::new(settings.limits, Arc::clone(&settings.trusted_proxies), open);
        Ok(Self { socket, address, tls, settings, handler, connections })
    }

    /// Returns its address.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns its service.
    pub const fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Serves until `stop`, then lets answers under way finish within the drain time.
    pub async fn serve(self, stop: CancellationToken) {
        let drain = self.settings.timeouts.drain;
        let shared =
            Arc::new(Shared { http: http(&self.settings), timeouts: self.settings.timeouts, stop: Stop::default() });
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            let Some((socket, peer)) = accepted else { continue };
            // With all places taken, the newest connection waits here, and those behind it in the system's queue.
            let admitted = tokio::select! {
                () = stop.cancelled() => break,
                admitted = self.connections.admit(peer.ip()) => admitted,
            };
            match admitted {
                Some(entry) => self.spawn(&tasks, socket, peer, entry, &shared),
                None => debug!(%peer, "connection refused: the client has as many as it may"),
            }
        }
        // Clients in the queue take themselves for connected.
        for _ in 0..self.settings.limits.backlog {
            let Ok(Some((socket, peer))) = timeout(Duration::ZERO, self.accept()).await else { break };
            if let Some(entry) = self.connections.admit_now(peer.ip()) {
                self.spawn(&tasks, socket, peer, entry, &shared);
            }
        }
        drop(self.socket);
        info!(address = %self.address, "draining: no new connections, answers under way go on");
        // A graceful end closes connections that have not asked yet; one that has just connected is about to.
        sleep(LAST_CALL.min(drain)).await;
        shared.stop.soon.cancel();
        tasks.close();
        if timeout(drain, tasks.wait()).await.is_err() {
            warn!(address = %self.address, timeout_ms = drain.as_millis() as u64, "answers under way were cut off");
            shared.stop.now.cancel();
        }
    }

    fn spawn(&self, tasks: &TaskTracker, socket: TcpStream, peer: SocketAddr, entry: Entry, shared: &Arc<Shared>) {
        let connection = Connection { peer, tls: self.tls.is_some() };
        let (tls, handler, shared) = (self.tls.clone(), Arc::clone(&self.handler), Arc::clone(shared));
        tasks.spawn(async move {
            // Small answers must not wait for the client's delayed acknowledgement.
            if let Err(error) = socket.set_nodelay(true) {
                debug!(%peer, %error, "TCP_NODELAY could not be set");
            }
            serve_socket(socket, tls, connection, handler, &entry, &shared).await;
        });
    }

    async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        match self.socket.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                // Out of descriptors, most likely: connections that end make room.
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}
