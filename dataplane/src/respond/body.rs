//! Bodies of answers: text held in memory, a stored blob, or a fill that is followed.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    fill::Follower,
    metrics::BodyBytes,
    storage::StoredBlob,
    trail::{Broken, Contents, Trail},
};

/// A body that could not be sent to its end. The connection is closed, so that no client takes it for whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The store could not be read.
    #[error("reading the blob store: {0}")]
    Storage(#[from] io::Error),
    /// The fill that was followed failed.
    #[error(transparent)]
    Fill(#[from] Arc<crate::fill::FillError>),
}

type Loading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// A body of an answer. Dropping it stops nothing but itself.
#[derive(Default)]
pub struct Body {
    source: Source,
    counter: Option<BodyBytes>,
    contents: Contents,
    ending: Option<Ending>,
}

/// Ends the trail of a request with the body: when all of it was sent, or it cannot be sent, or the client left.
struct Ending {
    /// Taken at the end.
    trail: Option<Trail>,
    sent: u64,
    /// The size, where it is known.
    size: Option<u64>,
    broken: Option<Broken>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(trail) = self.trail.take() else { return };
        let is_short = self.size.is_none_or(|size| self.sent < size);
        let broken = self.broken.take().or_else(|| is_short.then_some(Broken::ByClient));
        trail.end(self.sent, broken);
    }
}

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Memory(Bytes),
    Stored {
        blob: Arc<StoredBlob>,
        at: u64,
        end: u64,
        loading: Option<Loading>,
    },
    Followed(Box<Follower>),
}

impl Body {
    /// `start..end` of a stored blob.
    pub fn stored(blob: Arc<StoredBlob>, start: u64, end: u64) -> Self {
        let source = match blob.in_memory() {
            Some(bytes) => Source::Memory(bytes.slice(start as usize..end as usize)),
            None => Source::Stored { blob, at: start, end, loading: None },
        };
        Self { source, ..Self::default() }
    }

    /// The bytes of a fill, present and future.
    pub fn followed(follower: Follower) -> Self {
        Self { source: Source::Followed(Box::new(follower)), ..Self::default() }
    }

    /// Counts the bytes that leave.
    pub fn counted(mut self, counter: BodyBytes) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Says what is in the answer, or described by it.
    pub fn describe(&mut self, contents: Contents) {
        self.contents = contents;
    }

    /// Takes what was said of the answer.
    pub fn take_contents(&mut self) -> Contents {
        std::mem::take(&mut self.contents)
    }

    /// Ends `trail` when this body ends; at once if it is empty.
    pub fn end_with(&mut self, trail: Trail) {
        if http_body::Body::is_end_stream(self) {
            trail.end(0, None);
        } else {
            let size = http_body::Body::size_hint(self).exact();
            self.ending = Some(Ending { trail: Some(trail), sent: 0, size, broken: None });
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { source: Source::Memory(bytes), ..Self::default() }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl Source {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Memory(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Self::Followed(follower) => {
                follower.poll_piece(context).map(|piece| piece.map(|piece| piece.map_err(BodyError::from)))
            }
            Self::Stored { at, end, .. } if at == end => Poll::Ready(None),
            Self::Stored { blob, at, end, loading } => {
                let piece = match loading {
                    Some(load) => {
                        let loaded = ready!(load.as_mut().poll(context));
                        *loading = None;
                        loaded
                    }
                    None => match blob.ready(*at, *end) {
                        Some(piece) => Ok(piece),
                        None => {
                            let (blob, at, end) = (Arc::clone(blob), *at, *end);
                            *loading = Some(Box::pin(async move { blob.load(at, end).await }));
                            return self.poll_piece(context);
                        }
                    },
                };
                Poll::Ready(Some(match piece {
                    Ok(piece) => {
                        *at += piece.len() as u64;
                        Ok(piece)
                    }
                    Err(error) => {
                        *at = *end;
                        Err(error.into())
                    }
                }))
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = ready!(self.source.poll_piece(context));
        if let (Some(Ok(piece)), Some(counter)) = (&piece, &self.counter) {
            counter.add(piece.len() as u64);
        }
        if let Some(ending) = &mut self.ending {
            match &piece {
                Some(Ok(piece)) => ending.sent += piece.len() as u64,
                Some(Err(error)) => ending.broken = Some(Broken::ByUs(error.to_string())),
                // An end without a known size.
                None if ending.broken.is_none() => ending.size = Some(ending.sent),
                None => {}
            }
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Memory(bytes) => bytes.is_empty(),
            Source::Stored { at, end, .. } => at == end,
            Source::Followed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Memory(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stored { at, end, .. } => SizeHint::with_exact(end - at),
            Source::Followed(follower) => follower.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
