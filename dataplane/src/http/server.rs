//! The registry port, and that for other nodes: accepting, TLS, HTTP/1.1 and HTTP/2, time limits, and the graceful stop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::http::idle_timeout::{Activity, Counted};

/// Largest head of a request, in bytes: nginx's and most registries' bound is 32 KiB too.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header fields of a request.
const MAX_HEADERS: usize = 100;
/// Most requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// What a client may send us unasked on one HTTP/2 stream, in bytes; requests here have no bodies to speak of.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What one HTTP/2 stream may hold back for a slow client, in bytes.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// How long a stop waits before connections are closed that have not asked for anything yet.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Most connections in the queue of the operating system, as tokio asks for.
const MAX_QUEUE: usize = 1024;

/// A connection that was let in, and its place among those that may be.
type Accepted = (OwnedSemaphorePermit, TcpStream, SocketAddr);

/// What is known of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub tls: bool,
}

impl Connection {
    /// The scheme of URLs that lead back here.
    pub const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// What a port serves.
pub trait Handler<B = Incoming>: Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request. The future is dropped when the client leaves.
    fn answer(self: Arc<Self>, request: Request<B>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at a time.
    pub connections: usize,
    /// For the handshake and for each request's head.
    pub header: Duration,
    /// Without a request, or with an answer that the client does not take.
    pub idle: Duration,
    /// For answers under way when a stop is asked for.
    pub drain: Duration,
}

/// A bound registry port.
pub struct Server<H> {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    handler: Arc<H>,
    open: Gauge,
    address: SocketAddr,
}

impl<H: Handler> Server<H> {
    /// Serves what comes to `listener`; `open` tells how many connections there are.
    pub fn new(
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        bounds: Bounds,
        handler: Arc<H>,
        open: Gauge,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, tls: tls.map(TlsAcceptor::from), bounds, handler, open, address })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    #[cfg(test)]
    pub const fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Serves until `stop`, then lets answers under way finish within the drain time.
    pub async fn serve(self, stop: CancellationToken) {
        let http = Arc::new(http(self.bounds));
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.bounds.connections));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            if let Some(accepted) = accepted {
                self.spawn(accepted, &http, &graceful);
            }
        }
        // Who waits in the queue has been let in, as far as they know.
        for _ in 0..MAX_QUEUE {
            let Ok(Some(accepted)) = timeout(Duration::ZERO, self.accept(&places)).await else { break };
            self.spawn(accepted, &http, &graceful);
        }
        drop(self.listener);
        info!("draining: no new connections, answers under way go on");
        // The shutdown closes connections that have not asked yet; who has just connected is about to.
        sleep(LAST_CALL.min(self.bounds.drain)).await;
        if timeout(self.bounds.drain, graceful.shutdown()).await.is_err() {
            warn!(timeout_ms = self.bounds.drain.as_millis() as u64, "answers under way were cut off");
        }
    }

    fn spawn(&self, accepted: Accepted, http: &Arc<auto::Builder<TokioExecutor>>, graceful: &GracefulShutdown) {
        let (place, socket, peer) = accepted;
        let connection = Connection { peer, tls: self.tls.is_some() };
        let (tls, bounds, http) = (self.tls.clone(), self.bounds, Arc::clone(http));
        let handler = Arc::clone(&self.handler);
        let (watcher, open) = (graceful.watcher(), self.open.clone());
        tokio::spawn(async move {
            open.inc();
            match tls {
                None => serve_connection(socket, connection, &http, handler, watcher, bounds).await,
                Some(tls) => match timeout(bounds.header, tls.accept(socket)).await {
                    Ok(Ok(socket)) => serve_connection(socket, connection, &http, handler, watcher, bounds).await,
                    Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => debug!(%peer, "TLS handshake took too long"),
                },
            }
            open.dec();
            drop(place);
        });
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> Option<Accepted> {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((socket, peer)) => {
                // Small answers must not wait for the client's delayed acknowledgement.
                if let Err(error) = socket.set_nodelay(true) {
                    debug!(%peer, %error, "TCP_NODELAY could not be set");
                }
                Some((place, socket, peer))
            }
            Err(error) => {
                // Out of descriptors, most likely: connections that end make room.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }
}

fn http(bounds: Bounds) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .pipeline_flush(false);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    http
}

async fn serve_connection<I, H>(
    socket: I,
    connection: Connection,
    http: &auto::Builder<TokioExecutor>,
    handler: Arc<H>,
    watcher: hyper_util::server::graceful::Watcher,
    bounds: Bounds,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let activity = Arc::<Activity>::default();
    let watched = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection);
        watched.watch(Arc::clone(&handler).answer(request))
    });
    let socket = TokioIo::new(Counted::new(socket, Arc::clone(&activity)));
    let serving = watcher.watch(http.serve_connection(socket, service).into_owned());
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                debug!(peer = %connection.peer, %error, "connection ended");
            }
        }
        () = activity.stands_still(bounds.idle) => {
            debug!(peer = %connection.peer, "connection closed: the client neither asked nor took its answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;
    use crate::respond::{Answer, Body};

    const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    /// The preface, empty settings, and `GET /` on stream 1.
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0roadwork";
    const IDLE: Duration = Duration::from_secs(60);

    /// Answers with `bytes` bytes after `delay`.
    struct Slow {
        delay: Duration,
        bytes: usize,
    }

    impl Handler for Slow {
        type Body = Body;

        async fn answer(self: Arc<Self>, _: Request<Incoming>) -> Answer {
            sleep(self.delay).await;
            Answer::new(Body::from(Bytes::from(vec![b'x'; self.bytes])))
        }
    }

    /// A client's end of a connection to a server that answers `bytes` bytes after `delay`, and when the server ends.
    fn serve(delay: Duration, bytes: usize) -> (DuplexStream, tokio::task::JoinHandle<Duration>) {
        let (theirs, ours) = duplex(16 * 1024);
        let handler = Arc::new(Slow { delay, bytes });
        let connection = Connection { peer: ([127, 0, 0, 1], 1).into(), tls: false };
        let bounds = Bounds { connections: 1, header: IDLE * 100, idle: IDLE, drain: IDLE };
        let server = tokio::spawn(async move {
            let started = Instant::now();
            let watcher = GracefulShutdown::new();
            serve_connection(ours, connection, &http(bounds), handler, watcher.watcher(), bounds).await;
            started.elapsed()
        });
        (theirs, server)
    }

    /// Takes all that comes until the server closes.
    async fn take_all(mut client: DuplexStream) -> usize {
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all.len()
    }

    fn assert_in_time(took: Duration, after: Duration) {
        assert!(took >= after + IDLE && took <= after + IDLE * 5 / 4, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_closed_whatever_they_speak() {
        for request in [b"".as_slice(), HTTP1, HTTP2] {
            let (mut client, server) = serve(Duration::ZERO, 10);
            client.write_all(request).await.unwrap();
            take_all(client).await;
            assert_in_time(server.await.unwrap(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_keep_no_connection() {
        let (client, server) = serve(Duration::ZERO, 10);
        let (mut read, mut write) = tokio::io::split(client);
        write.write_all(HTTP2).await.unwrap();
        let pings = async {
            while write.write_all(PING).await.is_ok() {
                sleep(Duration::from_secs(5)).await;
            }
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(pings, read.read_to_end(&mut all));
        read.unwrap();
        assert_in_time(server.await.unwrap(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_do_not_take_their_answer_are_cut() {
        for request in [HTTP1, HTTP2] {
            let (mut client, server) = serve(Duration::ZERO, 1_000_000);
            client.write_all(request).await.unwrap();
            assert_in_time(server.await.unwrap(), Duration::ZERO);
        }
        // All that comes is read, but the window of the stream is never opened.
        let (mut client, server) = serve(Duration::ZERO, 1_000_000);
        client.write_all(HTTP2).await.unwrap();
        assert!(take_all(client).await < 100_000);
        assert_in_time(server.await.unwrap(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_wait_for_us_or_take_their_time_are_not_cut() {
        for request in [HTTP1, HTTP2] {
            let (mut client, server) = serve(IDLE * 5, 10);
            client.write_all(request).await.unwrap();
            assert!(take_all(client).await > 10);
            assert_in_time(server.await.unwrap(), IDLE * 5);
        }
        // The whole body is handed out at once; the client takes 8 KiB each half of the limit.
        let (mut client, server) = serve(Duration::ZERO, 200_000);
        client.write_all(HTTP1).await.unwrap();
        let (mut taken, mut piece) = (0, vec![0; 8192]);
        while taken < 200_000 {
            sleep(IDLE / 2).await;
            taken += client.read(&mut piece).await.unwrap();
        }
        drop(client);
        server.await.unwrap();
    }
}
