//! Content encodings. None is asked for, but some servers, and boxes between here and there, compress all the same; others
//! label a layer with the compression that is its own. The digest decides which bytes were meant. gzip is undone, as
//! container runtimes do it; any other encoding is taken for a wrong label.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, iter, once, try_unfold};
use http::{HeaderMap, header};
use quick_cache::sync::Cache;
use roadstead_proto::{Digest, DigestHasher, UpstreamHost};
use tokio::sync::Semaphore;

use crate::upstream::UpstreamError;

/// Bytes that go into the decoder at a time. gzip grows no more than a thousandfold, so at most about a megabyte comes out
/// before it is handed on.
const STEP_BYTES: usize = 1024;
/// Longest labelled body that is kept in memory until its digest is known, in bytes: configurations, and small layers.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Largest content that such a body is decoded to, in bytes.
const MAX_DECODED_BYTES: u64 = 32 * 1024 * 1024;
/// Most such bodies that are kept at a time.
const MAX_KEPT: usize = 8;
/// Blobs remembered to be encoded as labelled.
const REMEMBERED: usize = 1000;

/// The label of a body's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Any other, or several.
    Other,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let mut found = Self::Identity;
        for name in lines.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim) {
            found = match (found, name.to_ascii_lowercase().as_str()) {
                (found, "" | "identity") => found,
                (Self::Identity, "gzip" | "x-gzip") => Self::Gzip,
                _ => Self::Other,
            };
        }
        found
    }
}

/// Undoes the encoding of labelled blobs, where they have one.
#[derive(Clone)]
pub(crate) struct Encoded {
    /// Blobs that turned out to be encoded as labelled.
    known: Arc<Cache<Digest, ()>>,
    turns: Arc<Semaphore>,
}

impl Encoded {
    pub(crate) fn new() -> Self {
        Self { known: Arc::new(Cache::new(REMEMBERED)), turns: Arc::new(Semaphore::new(MAX_KEPT)) }
    }

    /// True if a blob is known to be encoded as labelled.
    pub(crate) fn is_known(&self, want: &Digest) -> bool {
        self.known.get(want).is_some()
    }

    /// The blob `want`, from a body that is labelled as gzip. A short body is looked at as a whole. A long one is a layer,
    /// which is compressed by itself as a rule: it is taken as it is, and hashed both ways. If it turns out to be encoded, it
    /// ends in [`UpstreamError::Encoded`], and the next try decodes: until its end nobody may use it.
    pub(crate) fn undo(
        &self,
        upstream: UpstreamHost,
        want: Digest,
        mut body: BoxStream<'static, Result<Bytes, UpstreamError>>,
    ) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
        let this = self.clone();
        once(async move {
            let turn = this.turns.acquire().await;
            let mut kept = BytesMut::new();
            while let Some(piece) = body.next().await {
                kept.extend_from_slice(&piece?);
                if kept.len() > MAX_KEPT_BYTES {
                    drop(turn);
                    let all = once(async move { Ok(kept.freeze()) }).chain(body).boxed();
                    return Ok(if this.is_known(&want) {
                        gunzip_stream(upstream, all)
                    } else {
                        this.watched(upstream, want, all)
                    });
                }
            }
            let meant = meant(kept.freeze(), MAX_DECODED_BYTES, Some(&want), &upstream)?;
            Ok::<BoxStream<'static, _>, UpstreamError>(once(async move { Ok(meant) }).boxed())
        })
        .try_flatten()
        .boxed()
    }

    /// Passes a body on as it is, and finds out at its end whether it was what was wanted.
    fn watched(
        self,
        upstream: UpstreamHost,
        want: Digest,
        body: BoxStream<'static, Result<Bytes, UpstreamError>>,
    ) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
        let raw = DigestHasher::new(want.algorithm());
        let decoder = Some(MultiGzDecoder::new(Hashing(DigestHasher::new(want.algorithm()))));
        try_unfold((body, raw, decoder), move |(mut body, mut raw, mut decoder)| {
            let (known, upstream) = (Arc::clone(&self.known), upstream.clone());
            async move {
                let Some(piece) = body.next().await.transpose()? else {
                    let decoded = decoder.and_then(|decoder| Some(decoder.finish().ok()?.0.finish()));
                    if raw.finish() != want && decoded == Some(want) {
                        known.insert(want, ());
                        return Err(UpstreamError::Encoded { upstream });
                    }
                    return Ok(None);
                };
                raw.update(&piece);
                // What cannot be decoded was not encoded.
                decoder = decoder.and_then(|mut decoder| decoder.write_all(&piece).is_ok().then_some(decoder));
                Ok(Some((piece, (body, raw, decoder))))
            }
        })
        .boxed()
    }
}

/// Hashes what is written to it.
struct Hashing(DigestHasher);

impl Write for Hashing {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the content of a body that is labelled as gzip: itself if that has the digest `want`, or if it is not gzip at all;
/// otherwise what it decodes to, if that is no larger than `limit` bytes.
pub(crate) fn meant(
    body: Bytes,
    limit: u64,
    want: Option<&Digest>,
    upstream: &UpstreamHost,
) -> Result<Bytes, UpstreamError> {
    if want.is_some_and(|want| Digest::of(want.algorithm(), &body) == *want) {
        return Ok(body);
    }
    match gunzip(&body, limit, upstream) {
        Err(UpstreamError::BadAnswer { .. }) if !body.starts_with(&GZIP_MAGIC) => Ok(body),
        decoded => decoded,
    }
}

/// The first bytes of everything in gzip.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Decodes a gzip-encoded body, if the result is no larger than `limit` bytes.
pub(crate) fn gunzip(body: &[u8], limit: u64, upstream: &UpstreamHost) -> Result<Bytes, UpstreamError> {
    let mut decoder = MultiGzDecoder::new(Vec::new());
    for step in body.chunks(STEP_BYTES) {
        decoder.write_all(step).map_err(|error| broken(upstream, &error))?;
        if decoder.get_ref().len() as u64 > limit {
            return Err(UpstreamError::TooLarge { upstream: upstream.clone(), limit_bytes: limit });
        }
    }
    let decoded = decoder.finish().map_err(|error| broken(upstream, &error))?;
    if decoded.len() as u64 > limit {
        return Err(UpstreamError::TooLarge { upstream: upstream.clone(), limit_bytes: limit });
    }
    Ok(decoded.into())
}

/// Decodes piece by piece.
pub(crate) fn gunzip_stream(
    upstream: UpstreamHost,
    body: BoxStream<'static, Result<Bytes, UpstreamError>>,
) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
    let steps = body
        .map_ok(|piece| {
            let steps: Vec<_> = (0..piece.len().div_ceil(STEP_BYTES))
                .map(|step| Ok(piece.slice(step * STEP_BYTES..piece.len().min((step + 1) * STEP_BYTES))))
                .collect();
            iter(steps)
        })
        .try_flatten()
        .boxed();
    try_unfold((Some(MultiGzDecoder::new(Vec::new())), steps), move |(decoder, mut steps)| {
        let upstream = upstream.clone();
        async move {
            let Some(mut decoder) = decoder else { return Ok(None) };
            while let Some(step) = steps.next().await {
                decoder.write_all(&step?).map_err(|error| broken(&upstream, &error))?;
                let decoded = std::mem::take(decoder.get_mut());
                if !decoded.is_empty() {
                    return Ok(Some((Bytes::from(decoded), (Some(decoder), steps))));
                }
            }
            let last = decoder.finish().map_err(|error| broken(&upstream, &error))?;
            Ok((!last.is_empty()).then(|| (Bytes::from(last), (None, steps))))
        }
    })
    .boxed()
}

fn broken(upstream: &UpstreamHost, error: &io::Error) -> UpstreamError {
    UpstreamError::BadAnswer { upstream: upstream.clone(), problem: format!("its gzip encoding is broken: {error}") }
}

#[cfg(test)]
mod tests;
