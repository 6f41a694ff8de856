//! One reader of a fill.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use tokio_stream::wrappers::WatchStream;

use super::{Fill, FillError, Phase, Progress};
use crate::storage::StorageError;

/// Reads the staged file as it grows, at its own pace. Dropping it stops nothing but itself.
pub struct Follower {
    fill: Arc<Fill>,
    news: WatchStream<Progress>,
    latest: Progress,
    at: u64,
    end: u64,
    loading: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>>,
}

impl Follower {
    pub(super) fn new(fill: Arc<Fill>, start: u64, end: u64) -> Self {
        let news = WatchStream::new(fill.progress.subscribe());
        Self { fill, news, latest: Progress::default(), at: start, end, loading: None }
    }

    /// Bytes still to come, if that is known.
    pub fn remaining(&self) -> Option<u64> {
        (self.end != u64::MAX).then(|| self.end - self.at)
    }

    /// Returns the end of this reader, as far as it is known now, and whether it may end there.
    fn is_at_end(&self) -> bool {
        match self.latest.phase {
            Phase::Verified => self.at >= self.end.min(self.latest.written),
            // The end of a part that does not reach the end of the blob; nothing is empty but the empty blob.
            _ => self.at > 0 && self.at == self.end,
        }
    }

    /// The next piece.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Arc<FillError>>>> {
        loop {
            if let Some(load) = &mut self.loading {
                let loaded = ready!(load.as_mut().poll(context));
                self.loading = None;
                return Poll::Ready(Some(loaded.map_err(unreadable).inspect(|piece| self.at += piece.len() as u64)));
            }
            if self.is_at_end() {
                return Poll::Ready(None);
            }
            let limit = self.latest.released().min(self.end);
            if limit > self.at
                && let Some(staged) = self.fill.staged()
            {
                if let Some(piece) = staged.ready(self.at, limit) {
                    self.at += piece.len() as u64;
                    return Poll::Ready(Some(Ok(piece)));
                }
                let at = self.at;
                self.loading = Some(Box::pin(async move { staged.load(at, limit).await }));
                continue;
            }
            if let Phase::Failed(error) = &self.latest.phase {
                return Poll::Ready(Some(Err(Arc::clone(error))));
            }
            match ready!(Pin::new(&mut self.news).poll_next(context)) {
                Some(progress) => self.latest = progress,
                None => return Poll::Ready(Some(Err(Arc::new(FillError::Aborted)))),
            }
        }
    }
}

fn unreadable(source: io::Error) -> Arc<FillError> {
    Arc::new(FillError::Storage(StorageError::from_io("read a staged file", source)))
}
