//! Bodies that break off, are encoded, or are not the part that was asked for.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::body::{Body, Bytes};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderValue;

use super::{
    super::{
        Accept, Cursor, UpstreamError,
        fake::{Fake, Seen, reply},
    },
    DIGEST, client, latest, target,
};

const BLOB: &[u8] = b"0123456789";

/// Sends the part that was asked for, as the version `etag`.
fn part(seen: &Seen, etag: &str, range_header: Option<&str>) -> Option<axum::response::Response> {
    let from = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let is_same = seen.header("if-range").is_none_or(|asked| asked == etag);
    match from {
        Some(from) if is_same => {
            let right = format!("bytes {from}-9/10");
            let range = range_header.unwrap_or(&right);
            reply(206, &[("etag", etag), ("content-range", range)], &BLOB[from..])
        }
        _ => reply(200, &[("etag", etag)], BLOB),
    }
}

/// The start of a resumption, and its kind of request.
async fn resumed(hub: &Fake, etag: Option<&'static str>) -> Result<(u64, Vec<u8>, Vec<String>), UpstreamError> {
    let etag = etag.map(HeaderValue::from_static);
    let body = client().resume_blob(&target(&hub.url(), None), &DIGEST.parse().unwrap(), 4, etag.as_ref()).await?;
    let bytes: Vec<Bytes> = body.stream.try_collect().await?;
    let asked = hub.seen().into_iter().map(|seen| {
        format!("{} {}", seen.header("range").unwrap_or("all"), seen.header("if-range").unwrap_or("always"))
    });
    Ok((body.offset, bytes.concat(), asked.collect()))
}

#[tokio::test]
async fn the_rest_is_asked_for_of_the_same_version_only() {
    let hub = Fake::start(|seen| part(seen, "\"v1\"", None)).await;
    let (offset, bytes, asked) = resumed(&hub, Some("\"v1\"")).await.unwrap();
    assert_eq!((offset, &*bytes), (4, &BLOB[4..]));
    assert_eq!(asked, ["bytes=4- \"v1\""]);

    let hub = Fake::start(|seen| part(seen, "\"v2\"", None)).await;
    let (offset, bytes, asked) = resumed(&hub, Some("\"v1\"")).await.unwrap();
    assert_eq!((offset, &*bytes), (0, BLOB), "upstream has another version and says so");
    assert_eq!(asked, ["bytes=4- \"v1\""]);

    // A weak one promises nothing of bytes, so that it is not asked for; but a change is seen.
    let hub = Fake::start(|seen| part(seen, "W/\"v2\"", None)).await;
    let (offset, bytes, asked) = resumed(&hub, Some("W/\"v1\"")).await.unwrap();
    assert_eq!((offset, &*bytes), (0, BLOB));
    assert_eq!(asked, ["bytes=4- always", "all always"]);
}

#[tokio::test]
async fn a_wrong_part_is_not_taken() {
    let hub = Fake::start(|seen| part(seen, "\"v1\"", Some("bytes 3-9/10"))).await;
    let (offset, bytes, asked) = resumed(&hub, None).await.unwrap();
    assert_eq!((offset, &*bytes), (0, BLOB));
    assert_eq!(asked, ["bytes=4- always", "all always"]);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_that_nobody_asked_for_is_undone() {
    let encoded = [("content-encoding", "gzip"), ("content-type", "a/b")];
    let hub = Fake::start(move |seen| match seen.header("range") {
        Some(_) => reply(206, &[encoded[0], ("content-range", "bytes 4-9/10")], &BLOB[4..]),
        None => reply(200, &encoded, gzip(BLOB)),
    })
    .await;
    let (client, target, digest) = (client(), target(&hub.url(), None), DIGEST.parse().unwrap());
    let manifest = client.get_manifest(&target, &latest(), Accept::Exactly(&[])).await.unwrap();
    assert_eq!(manifest.body, BLOB);
    assert_eq!(client.get_tags(&target, &Cursor::of_tags(None, None)).await.unwrap().body, BLOB);
    assert_eq!(client.head_blob(&target, &digest).await.unwrap().unwrap().size_bytes, None);
    let body = client.get_blob(&target, &digest, 0).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(body.total, None, "the length is not that of the content");
    assert_eq!(body.stream.try_collect::<Vec<_>>().await.unwrap().concat(), BLOB);
    let (offset, bytes, asked) = resumed(&hub, None).await.unwrap();
    assert_eq!((offset, &*bytes), (0, BLOB), "a part of something encoded is of no use");
    assert_eq!(asked.last().unwrap(), "all always");
    assert!(hub.seen().iter().all(|seen| seen.header("accept-encoding") == Some("identity")));

    // A label that cannot be true is passed over; what the bytes are used for decides.
    let hub = Fake::start(|_| reply(200, &[("content-encoding", "br")], BLOB)).await;
    let target = super::target(&hub.url(), None);
    assert_eq!(client.get_manifest(&target, &latest(), Accept::Exactly(&[])).await.unwrap().body, BLOB);
    let body = client.get_blob(&target, &digest, 0).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(body.stream.try_collect::<Vec<_>>().await.unwrap().concat(), BLOB);
}

#[tokio::test]
async fn every_refusal_of_a_resumption_leads_to_the_whole_blob() {
    for status in [400, 401, 403, 404, 405, 410, 412, 416, 501] {
        let hub = Fake::start(move |seen| match seen.header("range") {
            Some(_) => reply(status, &[], ""),
            None => reply(200, &[], BLOB),
        })
        .await;
        let (offset, bytes, asked) = resumed(&hub, None).await.unwrap();
        assert_eq!((offset, &*bytes), (0, BLOB), "{status}");
        assert_eq!(asked.last().unwrap(), "all always");
        assert!(asked.len() <= 4, "{asked:?}");
    }
    for status in [429, 500, 503] {
        let hub = Fake::start(move |_| reply(status, &[("retry-after", "1")], "")).await;
        assert!(resumed(&hub, None).await.is_err());
        assert_eq!(hub.seen().len(), 1, "{status} is trouble, and no refusal");
    }
}

#[tokio::test]
async fn an_expired_address_is_replaced_by_a_new_one() {
    let given = AtomicUsize::new(0);
    let hub = Fake::start(move |seen| match &*seen.path {
        "/v2/" => reply(200, &[], ""),
        "/cdn/0" => reply(403, &[], ""),
        path if path.starts_with("/cdn/") => part(seen, "\"v1\"", None),
        _ => reply(307, &[("location", &format!("/cdn/{}", given.fetch_add(1, Ordering::SeqCst)))], ""),
    })
    .await;
    let (offset, bytes, _) = resumed(&hub, None).await.unwrap();
    assert_eq!((offset, &*bytes), (4, &BLOB[4..]));
    // The refusal comes from the upstream's own host, so its challenge is looked for once.
    assert_eq!((hub.count("/v2/"), hub.count("/cdn/")), (3, 2));
}

#[tokio::test]
async fn an_upstream_without_more_bytes_says_that_the_blob_is_whole() {
    let hub = Fake::start(|_| reply(416, &[("content-range", "bytes */4")], "")).await;
    let (offset, bytes, asked) = resumed(&hub, None).await.unwrap();
    assert_eq!((offset, bytes.len(), asked.len()), (4, 0, 1));
}

#[tokio::test]
async fn a_manifest_that_breaks_off_or_stops_coming_is_fetched_once_more() {
    for hangs in [false, true] {
        for (failures, works) in [(1, true), (2, false)] {
            let asked = AtomicUsize::new(0);
            let hub = Fake::start(move |_| {
                if asked.fetch_add(1, Ordering::SeqCst) >= failures {
                    return reply(200, &[], "{}");
                }
                let begun = stream::iter([Ok(Bytes::from_static(b"{"))]);
                let body = match hangs {
                    true => Body::from_stream(begun.chain(stream::pending())),
                    false => {
                        // hyper throws away what it has not sent yet when a body fails.
                        let fails = stream::once(async {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            Err(std::io::Error::other("cut"))
                        });
                        Body::from_stream(begun.chain(fails))
                    }
                };
                reply(200, &[], body)
            })
            .await;
            let fetched = client().get_manifest(&target(&hub.url(), None), &latest(), Accept::Exactly(&[])).await;
            assert_eq!((fetched.is_ok(), hub.seen().len()), (works, 2), "{fetched:?}");
        }
    }
}
