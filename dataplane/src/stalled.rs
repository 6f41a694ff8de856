//! A time limit on connections that stand still: clients that neither read their answer nor send a request.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A socket that fails with `TimedOut` once no byte could be read or written for a while, although somebody wanted to.
pub struct StallTimeout<I> {
    inner: I,
    limit: Duration,
    moved: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<I> StallTimeout<I> {
    /// Fails after `limit` without a byte in either direction.
    pub fn new(inner: I, limit: Duration) -> Self {
        Self { inner, limit, moved: Instant::now(), timer: Box::pin(sleep(limit)) }
    }

    /// Notes progress, or checks how long there was none.
    fn check<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.moved = Instant::now();
            return result;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let due = self.moved + self.limit;
            if due <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(due);
        }
        result
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallTimeout<I> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(context, buf);
        self.check(context, result)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallTimeout<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, buf);
        self.check(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, bufs);
        self.check(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(context);
        self.check(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_stands_still_is_given_up_and_one_that_moves_is_not() {
        let (ours, mut theirs) = duplex(64);
        let mut ours = StallTimeout::new(ours, Duration::from_secs(10));
        for _ in 0..5 {
            let later = async {
                sleep(Duration::from_secs(9)).await;
                theirs.write_all(b"x").await.unwrap();
            };
            let (read, ()) = tokio::join!(ours.read_u8(), later);
            assert_eq!(read.unwrap(), b'x');
        }
        let started = Instant::now();
        assert_eq!(ours.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 10);
        // Nobody reads: the pipe is full after 64 bytes.
        assert_eq!(ours.write_all(&[0; 100]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
