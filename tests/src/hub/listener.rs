//! Listeners that can be closed and opened again on the same port, and connections that can be reset.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Shared, serve};

/// The role of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Registry,
    Cdn,
    TokenService,
}

/// A port of our own. While it is closed, clients are refused; the port stays ours by a bound socket that does not
/// listen.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    role: Role,
    tls: Option<Arc<rustls::ServerConfig>>,
    _reserved: TcpSocket,
    open: Mutex<Option<Open>>,
}

/// The tasks of an open listener: one that accepts and one for each connection.
struct Open {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Listener {
    pub(super) fn bind(role: Role, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseport(true).unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = reserved.local_addr().unwrap();
        Self { address, role, tls, _reserved: reserved, open: Mutex::default() }
    }

    /// Accepts connections, unless it does already.
    pub(super) fn open(&self, shared: &Arc<Shared>) {
        let mut open = self.open.lock().unwrap();
        if open.is_some() {
            return;
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (role, tls, shared) = (self.role, self.tls.clone(), Arc::clone(shared));
        let (stop, connections) = (cancel.clone(), tasks.clone());
        let accept = async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let connection = connection(stream, role, tls.clone(), Arc::clone(&shared));
                connections.spawn(stop.clone().run_until_cancelled_owned(connection));
            }
        };
        tasks.spawn(cancel.clone().run_until_cancelled_owned(accept));
        *open = Some(Open { cancel, tasks });
    }

    /// Refuses connections and drops those there are; returns when all are gone.
    pub(super) async fn close(&self) {
        let open = self.open.lock().unwrap().take();
        if let Some(open) = open {
            open.cancel.cancel();
            open.tasks.close();
            open.tasks.wait().await;
        }
    }
}

async fn connection(stream: TcpStream, role: Role, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Resettable { stream, reset: Arc::clone(&reset) };
    match tls {
        None => answer(stream, role, reset, shared).await,
        Some(config) => {
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                answer(stream, role, reset, shared).await;
            }
        }
    }
}

async fn answer<S>(stream: S, role: Role, reset: Arc<AtomicBool>, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
        async move {
            let answered = serve::answer(&shared, role, request).await;
            // An error from the service makes hyper drop the connection.
            answered.ok_or_else(|| {
                reset.store(true, Ordering::SeqCst);
                io::Error::from(io::ErrorKind::ConnectionReset)
            })
        }
    });
    // Clients go away as they like; that is no concern of the hub.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// A connection that, if asked to, ends in a reset rather than in an orderly close.
struct Resettable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::SeqCst) {
            // A shutdown would say goodbye first.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
