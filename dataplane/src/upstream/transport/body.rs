//! Bodies of answers: whole and bounded, or piece by piece.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, try_unfold};
use reqwest::Response;
use roadstead_proto::UpstreamHost;
use tokio::time::timeout;

use super::{
    encoding::{Encoding, gunzip},
    exchange::Exchange,
};
use crate::upstream::UpstreamError;

/// How much of a body that nobody wants is read so that its connection can be used again, in bytes.
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

    /// The whole body, decoded, if it is no larger than `limit` bytes.
    pub(crate) async fn whole(
        &self,
        upstream: &UpstreamHost,
        mut response: Response,
        limit: u64,
    ) -> Result<Bytes, UpstreamError> {
        let too_large = || UpstreamError::TooLarge { upstream: upstream.clone(), limit_bytes: limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let encoding = Encoding::of(response.headers(), upstream)?;
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece(upstream, &mut response).await? {
            if (body.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        match encoding {
            Encoding::Identity => Ok(body.freeze()),
            Encoding::Gzip => gunzip(&body, limit, upstream),
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

    /// Reads what is left of a small body, so that the connection can be used again. Whether it works does not matter.
    pub(crate) async fn discard(&self, upstream: &UpstreamHost, mut response: Response) {
        let mut read = 0;
        while let Ok(Some(piece)) = self.piece(upstream, &mut response).await {
            read += piece.len();
            if read > MAX_DISCARDED_BYTES {
                break;
            }
        }
    }
}
