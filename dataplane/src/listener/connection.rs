//! One connection, from its first byte to its end.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Connection, Handler, PortSettings, RequestBody, Shared,
    activity::{Activity, Counted, Watched},
    connections::Entry,
    tls::ServerTls,
};

/// Largest head of a request, in bytes: nginx's and most registries' bound is 32 KiB too.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header fields of a request.
const MAX_HEADERS: usize = 100;
/// Bytes that a client may send unasked on one HTTP/2 stream; larger bodies come in steps.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes that one HTTP/2 stream may hold back for a slow client.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// The time that an idle connection has after the goodbye, for requests that were on their way.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The signals that end connections.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// After the answers under way.
    pub soon: CancellationToken,
    /// At once.
    pub now: CancellationToken,
}

/// The protocols, as every port speaks them.
pub(super) fn http(settings: &PortSettings) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.timeouts.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .pipeline_flush(false);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.limits.streams)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    if let Some(every) = settings.timeouts.keep_alive {
        http.http2().keep_alive_interval(every).keep_alive_timeout(every);
    }
    http
}

/// Serves an accepted socket until its client leaves, has to give way, or is told to end.
pub(super) async fn serve_socket<H: Handler>(
    socket: TcpStream,
    tls: Option<ServerTls>,
    connection: Connection,
    handler: Arc<H>,
    entry: &Entry,
    shared: &Shared,
) {
    let head = shared.timeouts.head;
    let peer = connection.peer;
    let served = async {
        let Some(tls) = tls else { return serve(socket, connection, handler, entry, shared).await };
        match timeout(head, TlsAcceptor::from(tls.current()).accept(socket)).await {
            Ok(Ok(socket)) => serve(socket, connection, handler, entry, shared).await,
            Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => debug!(%peer, "TLS handshake took too long"),
        }
    };
    tokio::select! {
        () = served => {}
        () = shared.stop.now.cancelled() => {}
        () = entry.close.cancelled() => debug!(%peer, "connection without a request closed for a newer one"),
    }
}

async fn serve<I, H>(socket: I, connection: Connection, handler: Arc<H>, entry: &Entry, shared: &Shared)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let activity = &entry.activity;
    let service = service(connection, handler, Arc::clone(activity), shared.timeouts.body);
    let socket = TokioIo::new(Counted::new(socket, Arc::clone(activity)));
    let mut serving = pin!(shared.http.serve_connection(socket, service));
    let peer = connection.peer;
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shared.stop.soon.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = activity.stands_still(shared.timeouts.head, shared.timeouts.idle) => Ok(()),
            }
        }
        () = activity.stands_still(shared.timeouts.head, shared.timeouts.idle) => {
            debug!(%peer, "connection closed: the client neither asked nor took its answer");
            serving.as_mut().graceful_shutdown();
            timeout(LAST_WORDS, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended");
    }
}

/// A connection's requests, each with what is known of the connection, timed and watched.
fn service<H: Handler>(
    connection: Connection,
    handler: Arc<H>,
    activity: Arc<Activity>,
    body: Duration,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<Watched<H::Body>>,
    Error = Infallible,
    Future: Send + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|inner| RequestBody::new(inner, body));
        request.extensions_mut().insert(connection);
        activity.watch(Arc::clone(&handler).answer(request))
    })
}

/// Serves a connection within the process until it ends or, after `stop`, its calls under way have.
pub async fn serve_stream<I, H>(stream: I, handler: Arc<H>, settings: &PortSettings, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let here = Connection { peer: ([127, 0, 0, 1], 0).into(), tls: false };
    let service = service(here, handler, Arc::default(), settings.timeouts.body);
    let http = http(settings);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(settings.timeouts.drain, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection within the process ended");
    }
}

#[cfg(test)]
mod tests;
