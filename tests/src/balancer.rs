//! A load balancer for TCP: each connection goes to the next backend that takes it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{client, ports::free_address};

/// Longest that a backend may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the readiness checks of backends.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A target of connections.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// The address that it serves.
    pub address: SocketAddr,
    /// The address whose `/readyz` tells whether it accepts connections; without one, a successful connection is enough.
    pub metrics: Option<SocketAddr>,
}

/// A running balancer. Dropping it closes its port and its connections.
pub struct Balancer {
    address: SocketAddr,
    served: Arc<Vec<AtomicUsize>>,
    stop: CancellationToken,
}

struct Shared {
    backends: Vec<Backend>,
    ready: Vec<std::sync::atomic::AtomicBool>,
    next: AtomicUsize,
    served: Arc<Vec<AtomicUsize>>,
}

impl Balancer {
    /// Starts one.
    pub async fn start(backends: Vec<Backend>) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let served: Arc<Vec<_>> = Arc::new(backends.iter().map(|_| AtomicUsize::new(0)).collect());
        let ready = backends.iter().map(|_| true.into()).collect();
        let shared = Arc::new(Shared { backends, ready, next: AtomicUsize::new(0), served: Arc::clone(&served) });
        let stop = CancellationToken::new();
        for index in 0..shared.backends.len() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(watch_health(Arc::clone(&shared), index)));
        }
        let connections = stop.clone();
        let accept = async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let connection = connection(client, Arc::clone(&shared));
                tokio::spawn(connections.clone().run_until_cancelled_owned(connection));
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        Self { address, served, stop }
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections of each backend so far.
    pub fn served(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn watch_health(shared: Arc<Shared>, index: usize) {
    let Some(metrics) = shared.backends[index].metrics else { return };
    let (http, url) = (client::http(), format!("http://{metrics}/readyz"));
    loop {
        let answer = timeout(CONNECT_TIMEOUT, http.get(&url).send()).await;
        let ready = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success()));
        shared.ready[index].store(ready, Ordering::SeqCst);
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let Some((index, mut backend)) = connect(&shared).await else { return };
    shared.served[index].fetch_add(1, Ordering::SeqCst);
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    if copy_bidirectional_with_sizes(&mut client, &mut backend, PIECE_BYTES, PIECE_BYTES).await.is_err() {
        // What broke off there breaks off here, too.
        let _ = client.set_zero_linger();
    }
}

/// The next that takes it: first among those that are ready, then among the others.
async fn connect(shared: &Shared) -> Option<(usize, TcpStream)> {
    let (start, count) = (shared.next.fetch_add(1, Ordering::SeqCst), shared.backends.len());
    for wanted in [true, false] {
        for index in (0..count).map(|offset| (start + offset) % count) {
            if shared.ready[index].load(Ordering::SeqCst) == wanted
                && let Ok(Ok(stream)) =
                    timeout(CONNECT_TIMEOUT, TcpStream::connect(shared.backends[index].address)).await
            {
                return Some((index, stream));
            }
        }
    }
    None
}
