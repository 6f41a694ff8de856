//! A TCP connection between two of a test's processes that can be made to misbehave while they use it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::ports::free_address;

/// Bytes handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The behaviour of a link towards existing and new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hands on what comes.
    Pass,
    /// No process listens; open connections are reset.
    Refuse,
    /// Connections are accepted and reset.
    Reset,
    /// Every piece waits so long.
    Delay(Duration),
    /// Connections are accepted; nothing arrives, in either direction, and nothing is lost: what was sent goes on with
    /// [`Mode::Pass`].
    BlackHole,
    /// Every request is answered with these bytes, whatever it is, and the connection closed: `HTTP/1.1 503 …`.
    Answer(String),
}

impl Mode {
    /// An HTTP answer without a body.
    pub fn status(status: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
    }

    /// True if existing connections continue.
    fn hands_on(&self) -> bool {
        matches!(self, Self::Pass | Self::Delay(_) | Self::BlackHole)
    }
}

/// A link to one address. Dropping it closes its port and its connections.
pub struct Link {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// The listener's present state.
    applied: watch::Receiver<Mode>,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    /// From those who connect to the target.
    sent: AtomicU64,
    /// From the target to those who connect.
    received: AtomicU64,
}

impl Link {
    /// A link to `target` that hands everything on.
    pub async fn to(target: SocketAddr) -> Self {
        let address = free_address();
        let (mode, wanted) = watch::channel(Mode::Pass);
        let (apply, applied) = watch::channel(Mode::Pass);
        let (counts, stop) = (Arc::<Counts>::default(), CancellationToken::new());
        let listener = TcpListener::bind(address).await.unwrap();
        let serving = serve(listener, address, target, wanted, apply, Arc::clone(&counts), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self { address, mode, applied, counts, stop }
    }

    /// Returns the address to connect to instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from now on; returns when it does.
    pub async fn set(&self, mode: Mode) {
        self.mode.send_replace(mode.clone());
        self.applied.clone().wait_for(|applied| *applied == mode).await.unwrap();
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Bytes handed on so far: to the target, and back from it.
    pub fn bytes(&self) -> (u64, u64) {
        (self.counts.sent.load(Ordering::SeqCst), self.counts.received.load(Ordering::SeqCst))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    apply: watch::Sender<Mode>,
    counts: Arc<Counts>,
    stop: CancellationToken,
) {
    let mut listener = Some(first);
    let tasks = TaskTracker::new();
    loop {
        let now = mode.borrow_and_update().clone();
        if now == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        if !now.hands_on() {
            // Connections of before see the change by themselves; the test goes on when they are gone.
            let _ = timeout(Duration::from_secs(5), async {
                while counts.open.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        apply.send_replace(now);
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = mode.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok((stream, _)) = accepted => {
                    counts.connections.fetch_add(1, Ordering::SeqCst);
                    let connection = connection(stream, target, mode.clone(), Arc::clone(&counts));
                    tasks.spawn(stop.clone().run_until_cancelled_owned(connection));
                }
            }
        }
    }
}

async fn connection(mut here: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>, counts: Arc<Counts>) {
    let at_first = mode.borrow().clone();
    if let Mode::Answer(answer) = &at_first {
        let _ = timeout(Duration::from_secs(5), answer_all(&mut here, answer)).await;
        return;
    }
    let _open = Open::count(&counts);
    let mut changes = mode.clone();
    let cut = async {
        let _ = changes.wait_for(|mode| !mode.hands_on()).await;
    };
    let handing_on = async {
        passing(&mut mode.clone()).await;
        let mut there = TcpStream::connect(target).await?;
        let _ = (here.set_nodelay(true), there.set_nodelay(true));
        let (mut from_here, mut to_here) = here.split();
        let (mut from_there, mut to_there) = there.split();
        tokio::try_join!(
            hand_on(&mut from_here, &mut to_there, mode.clone(), &counts.sent),
            hand_on(&mut from_there, &mut to_here, mode.clone(), &counts.received),
        )
    };
    let orderly = tokio::select! {
        ended = handing_on => ended.is_ok(),
        () = cut => false,
    };
    if !orderly {
        let _ = here.set_zero_linger();
    }
}

/// One direction, to its end.
async fn hand_on(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut mode: watch::Receiver<Mode>,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece).await?;
        passing(&mut mode).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
        count.fetch_add(read as u64, Ordering::SeqCst);
    }
}

/// Waits until something may pass.
async fn passing(mode: &mut watch::Receiver<Mode>) {
    let delay = match &*mode.borrow() {
        Mode::Delay(delay) => Some(*delay),
        _ => None,
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    if mode.wait_for(|mode| *mode != Mode::BlackHole).await.is_err() {
        std::future::pending().await
    }
}

/// Answers once and takes the rest of the request, so that its sender gets to read the answer.
async fn answer_all(stream: &mut TcpStream, answer: &str) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    if stream.read(&mut piece).await? > 0 {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        while stream.read(&mut piece).await? > 0 {}
    }
    Ok(())
}

struct Open<'a>(&'a Counts);

impl<'a> Open<'a> {
    fn count(counts: &'a Counts) -> Self {
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
