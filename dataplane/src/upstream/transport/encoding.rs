//! Content encodings. None is asked for, but some servers, and boxes between here and there, compress all the same;
//! digests are those of what was meant. gzip is undone, as container runtimes do it; others are refused.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, iter, try_unfold};
use http::{HeaderMap, header};
use roadstead_proto::UpstreamHost;

use crate::upstream::UpstreamError;

/// How much is put into the decoder at a time, in bytes. gzip grows no more than a thousandfold, so that no more than
/// about a megabyte comes out before it is handed on.
const STEP_BYTES: usize = 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap, upstream: &UpstreamHost) -> Result<Self, UpstreamError> {
        let lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let mut found = Self::Identity;
        for name in lines.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim) {
            found = match (found, name.to_ascii_lowercase().as_str()) {
                (found, "" | "identity") => found,
                (Self::Identity, "gzip" | "x-gzip") => Self::Gzip,
                _ => {
                    let problem = format!("it is encoded ({name}), which was not asked for");
                    return Err(UpstreamError::BadAnswer { upstream: upstream.clone(), problem });
                }
            };
        }
        Ok(found)
    }
}

/// What a gzip-encoded body means, if it is no larger than `limit` bytes.
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

/// The same piece by piece.
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
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn upstream() -> UpstreamHost {
        "docker.io".parse().unwrap()
    }

    #[test]
    fn encodings_are_told_apart() {
        for (lines, expected) in [
            (&[][..], Some(Encoding::Identity)),
            (&["identity"], Some(Encoding::Identity)),
            (&["gzip"], Some(Encoding::Gzip)),
            (&["X-GZip, identity"], Some(Encoding::Gzip)),
            (&["gzip", "gzip"], None),
            (&["br"], None),
            (&["zstd"], None),
        ] {
            let lines = lines.iter().map(|line| (header::CONTENT_ENCODING, HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value);
            }
            assert_eq!(Encoding::of(&headers, &upstream()).ok(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_body_is_decoded_and_bounded() {
        let content = b"content ".repeat(10_000);
        let encoded = gzip(&content);
        assert_eq!(gunzip(&encoded, 80_000, &upstream()).unwrap(), content);
        assert!(matches!(gunzip(&encoded, 79_999, &upstream()), Err(UpstreamError::TooLarge { .. })));
        assert!(matches!(gunzip(&gzip(&vec![0; 50_000_000]), 1000, &upstream()), Err(UpstreamError::TooLarge { .. })));
        for broken in [&encoded[..encoded.len() - 1], b"no gzip at all"] {
            assert!(matches!(gunzip(broken, 80_000, &upstream()), Err(UpstreamError::BadAnswer { .. })));
        }
    }

    #[tokio::test]
    async fn a_stream_is_decoded_however_it_is_cut() {
        let content: Vec<u8> = (0..200_000_u32).flat_map(|i| i.to_be_bytes()).collect();
        let encoded = Bytes::from(gzip(&content));
        for size in [1, 1000, 1024, 100_000, usize::MAX] {
            let pieces: Vec<_> =
                encoded.chunks(size.min(encoded.len())).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
            let decoded: Vec<Bytes> = gunzip_stream(upstream(), iter(pieces).boxed()).try_collect().await.unwrap();
            assert_eq!(decoded.concat(), content, "{size}");
        }
        let zeros = Bytes::from(gzip(&vec![0; 50_000_000]));
        let mut bomb = gunzip_stream(upstream(), iter([Ok(zeros)]).boxed());
        while let Some(piece) = bomb.next().await {
            assert!(piece.unwrap().len() < 2 * 1024 * 1024);
        }
        let cut = iter([Ok(encoded.slice(..encoded.len() - 4))]).boxed();
        let end: Result<Vec<Bytes>, _> = gunzip_stream(upstream(), cut).try_collect().await;
        assert!(matches!(end, Err(UpstreamError::BadAnswer { .. })));
    }
}
