//! A time limit on connections that stand still: without a request, or with an answer that the client does not take.
//!
//! Turns decide, not bytes: while an answer waits for something of ours (a fill, control), its
//! connection may be silent for as long as that takes, and pings keep no connection that nobody uses. Requests and
//! frames cost an atomic step or two; the clock is looked at once per connection and eighth of the limit.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

/// An answer that moves fewer bytes than this within the limit counts as stalled: pings and acknowledgements are bytes too.
const LEAST_BYTES: u64 = 4096;
/// Checks of a limit within its time: a connection ends at most an eighth late.
const LOOKS: u32 = 8;

/// The activity of one connection.
#[derive(Debug)]
pub struct Activity {
    /// The time at which the connection began.
    began: Instant,
    /// Requests without the end of their answer.
    open: AtomicUsize,
    /// Answers for which we have nothing to send yet.
    ours: AtomicUsize,
    /// Requests begun, frames handed out, answers ended.
    steps: AtomicU64,
    /// Bytes that the client's side took, before encryption.
    written: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            open: AtomicUsize::new(0),
            ours: AtomicUsize::new(0),
            steps: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// Returns whether the connection has ever asked for anything and when it began; `None` while a request is under way.
    pub fn waiting(&self) -> Option<(bool, Instant)> {
        (self.open.load(Relaxed) == 0).then(|| (self.steps.load(Relaxed) > 0, self.began))
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Turn {
        self.open.fetch_add(1, Relaxed);
        let turn = Turn { activity: Arc::clone(self), ours: false };
        turn.step();
        turn
    }

    /// The answer, watched from here on to its end.
    pub fn watch<B, F>(
        self: &Arc<Self>,
        answer: F,
    ) -> impl Future<Output = Result<Response<Watched<B>>, Infallible>> + use<B, F>
    where
        F: Future<Output = Response<B>>,
    {
        let mut turn = self.begin();
        turn.set(true);
        async move {
            let answer = answer.await;
            turn.set(false);
            Ok(answer.map(|body| Watched { body, turn }))
        }
    }

    /// Returns once no first request has come within `first`, or it has been the client's turn for `limit` and nothing
    /// came of it.
    pub async fn stands_still(&self, first: Duration, limit: Duration) {
        let begun = Instant::now();
        let (mut since, mut steps, mut written) = (begun, 0, 0);
        loop {
            let look = limit / LOOKS;
            sleep(if steps == 0 { look.min(first.saturating_sub(begun.elapsed())) } else { look }).await;
            let (steps_now, written_now) = (self.steps.load(Relaxed), self.written.load(Relaxed));
            if steps_now == 0 && begun.elapsed() >= first {
                return;
            }
            let moved = steps_now != steps || written_now - written >= LEAST_BYTES;
            if moved || self.ours.load(Relaxed) > 0 {
                (since, steps, written) = (Instant::now(), steps_now, written_now);
            } else if since.elapsed() >= limit {
                return;
            }
        }
    }
}

/// The turn of one answer: ours or the client's. Dropped with the answer.
pub struct Turn {
    activity: Arc<Activity>,
    ours: bool,
}

impl Turn {
    fn step(&self) {
        self.activity.steps.fetch_add(1, Relaxed);
    }

    fn set(&mut self, ours: bool) {
        match (self.ours, ours) {
            (false, true) => self.activity.ours.fetch_add(1, Relaxed),
            (true, false) => self.activity.ours.fetch_sub(1, Relaxed),
            _ => return,
        };
        self.ours = ours;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.set(false);
        self.step();
        self.activity.open.fetch_sub(1, Relaxed);
    }
}

/// A body that keeps track of the turn: ours while it has nothing, the client's from each frame until the next is wanted.
pub struct Watched<B> {
    body: B,
    turn: Turn,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.turn.set(frame.is_pending());
        if frame.is_ready() {
            self.turn.step();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that counts what is written to it: clients may take long over what was handed out last.
pub struct Counted<I> {
    inner: I,
    activity: Arc<Activity>,
}

impl<I> Counted<I> {
    /// Counts for `activity`.
    pub const fn new(inner: I, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }

    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.activity.written.fetch_add(*bytes as u64, Relaxed);
        }
        result
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, buf);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, bufs);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
