use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;

use super::*;
use roadstead_proto::Algorithm;

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
        (&[][..], Encoding::Identity),
        (&["identity"], Encoding::Identity),
        (&["gzip"], Encoding::Gzip),
        (&["X-GZip, identity"], Encoding::Gzip),
        (&["gzip", "gzip"], Encoding::Other),
        (&["br"], Encoding::Other),
        (&["zstd"], Encoding::Other),
    ] {
        let lines = lines.iter().map(|line| (header::CONTENT_ENCODING, HeaderValue::from_static(line)));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        assert_eq!(Encoding::of(&headers), expected, "{headers:?}");
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
        let pieces: Vec<_> = encoded.chunks(size.min(encoded.len())).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
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

/// Returns the blob `want` as it comes out, from a labelled body.
async fn undone(encoded: &Encoded, want: &[u8], body: &[u8]) -> Result<Vec<u8>, UpstreamError> {
    let pieces: Vec<_> = body.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let digest = Digest::of(Algorithm::Sha256, want);
    let undone: Vec<Bytes> = encoded.undo(upstream(), digest, iter(pieces).boxed()).try_collect().await?;
    Ok(undone.concat())
}

#[tokio::test]
async fn the_digest_decides_whether_a_label_is_true() {
    let encoded = Encoded::new();
    for size in [10, 100_000, 3 * MAX_KEPT_BYTES] {
        let layer: Vec<u8> =
            (0..size.div_ceil(4) as u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let compressed = gzip(&layer);
        assert_eq!(undone(&encoded, &compressed, &compressed).await.unwrap(), compressed, "its own compression");
        assert_eq!(undone(&encoded, &layer, &layer).await.unwrap(), layer, "no compression at all");
        if compressed.len() <= MAX_KEPT_BYTES {
            assert_eq!(undone(&encoded, &layer, &compressed).await.unwrap(), layer, "encoded on the way");
        } else {
            undone(&encoded, &layer, &compressed).await.unwrap_err();
            assert_eq!(undone(&encoded, &layer, &compressed).await.unwrap(), layer, "known from the first try");
        }
    }
}
