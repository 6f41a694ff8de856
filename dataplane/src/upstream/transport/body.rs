//! Bodies of answers: whole and bounded, or piece by piece.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, try_unfold};
use reqwest::Response;
use roadstead_proto::{Digest, UpstreamHost};
use tokio::time::timeout;

use super::{
    encoding::{Encoding, meant},
    exchange::Exchange,
};
use crate::upstream::UpstreamError;

/// Most of an unwanted body that is read so that its connection can be used again, in bytes.
const MAX_DISCARDED_BYTES: usize = 16 * 1024;

impl Exchange {
    /// The next piece, waited for no longer than the idle time; `None` at the body's end. A body that ends before
    /// its `Content-Length` is an error.
    async fn piece(&self, upstream: &UpstreamHost, response: &mut Response) -> Result<Option<Bytes>, UpstreamError> {
        match timeout(self.timeouts.body_idle, response.chunk()).await {
            Ok(Ok(piece)) => {
                self.metrics.received(piece.as_ref().map_or(0, Bytes::len));
                Ok(piece)
            }
            Ok(Err(error)) => Err(UpstreamError::from_transport(upstream, error)),
            Err(_) => Err(UpstreamError::Timeout { upstream: upstream.clone(), phase: "next piece of the body" }),
        }
    }

    /// The whole body, decoded, if it is no larger than `limit` bytes. `want` is the digest it should have, where known.
    pub(crate) async fn whole(
        &self,
        upstream: &UpstreamHost,
        mut response: Response,
        limit: u64,
        want: Option<&Digest>,
    ) -> Result<Bytes, UpstreamError> {
        let too_large = || UpstreamError::TooLarge { upstream: upstream.clone(), limit_bytes: limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let encoding = Encoding::of(response.headers());
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece(upstream, &mut response).await? {
            if (body.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        match encoding {
            // Whatever it is called, what it is used for tells whether it is right.
            Encoding::Identity | Encoding::Other => Ok(body.freeze()),
            Encoding::Gzip => meant(body.freeze(), limit, want, upstream),
        }
    }

    /// The body as it arrives. Dropping the stream closes the connection.
    pub(crate) fn stream(
        &self,
        upstream: UpstreamHost,
        response: Response,
    ) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
        try_unfold((self.clone(), upstream, response), |(exchange, upstream, mut response)| async move {
            let piece = exchange.piece(&upstream, &mut response).await?;
            Ok(piece.map(|piece| (piece, (exchange, upstream, response))))
        })
        .boxed()
    }

    /// Reads the rest of a small body, so that the connection can be used again. Returns whether that works does not matter.
    pub(crate) async fn discard(&self, upstream: &UpstreamHost, response: Response) {
        self.beginning(upstream, response, MAX_DISCARDED_BYTES).await;
    }

    /// A body's first bytes, `limit` at most, as far as they arrive.
    pub(crate) async fn beginning(&self, upstream: &UpstreamHost, mut response: Response, limit: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while let Ok(Some(piece)) = self.piece(upstream, &mut response).await {
            read.extend_from_slice(&piece[..piece.len().min(limit - read.len())]);
            if read.len() == limit {
                break;
            }
        }
        read
    }
}
