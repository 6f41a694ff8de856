//! The translation of upstream's answers, and of missing ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::{
    super::{
        Accept, Cursor, MAX_MANIFEST_BYTES, UpstreamClient, UpstreamMetrics, UpstreamTimeouts,
        fake::{Fake, reply},
    },
    DIGEST, client, head, latest, target,
};
use crate::control::TagOutcome;

#[tokio::test]
async fn statuses_are_told_apart() {
    for (status, kind, retryable) in [
        (404, "not_found", false),
        (401, "unauthorized", false),
        (403, "forbidden", false),
        (429, "rate_limited", false),
        (400, "status_4xx", false),
        (500, "status_5xx", true),
        (503, "status_5xx", true),
    ] {
        let hub = Fake::start(move |_| reply(status, &[("retry-after", "30")], "")).await;
        let fetched = client().get_manifest(&target(&hub.url(), None), &latest(), Accept::Exactly(&[])).await;
        let error = fetched.unwrap_err();
        assert_eq!((error.kind(), error.retryable(), error.status()), (kind, retryable, Some(status)));
        if status == 429 {
            let retry_after = Some(Duration::from_secs(30));
            assert_eq!(error.tag_outcome(), TagOutcome::RateLimited { retry_after });
        }
    }
}

#[tokio::test]
async fn a_head_that_tells_nothing_is_an_outcome_of_its_own() {
    for status in [400, 403, 404, 405, 406, 410, 501, 200] {
        let hub = Fake::start(move |_| reply(status, &[], "")).await;
        let (client, target) = (client(), target(&hub.url(), None));
        assert_eq!(head(&client, &target).await.unwrap(), None, "{status}");
        let blob = client.head_blob(&target, &DIGEST.parse().unwrap()).await.unwrap();
        assert_eq!(blob.is_some(), status == 200);
    }
}

#[tokio::test]
async fn a_hang_is_bounded() {
    let hub = Fake::start(|_| None).await;
    let started = Instant::now();
    assert_eq!(head(&client(), &target(&hub.url(), None)).await.unwrap_err().kind(), "timeout");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn nobody_there_is_told_as_such() {
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = head(&client(), &target(&format!("http://127.0.0.1:{port}"), None)).await.unwrap_err();
    assert_eq!(error.kind(), "connect");
}

/// A server that says `answer`, whatever it is asked, and closes the connection.
async fn says(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn manifests_are_whole_and_bounded() {
    let cut = says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}").await;
    let partial = says("HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}").await;
    let chunked = Fake::start(|_| {
        let piece = Bytes::from(vec![b' '; 1024 * 1024]);
        reply(200, &[], Body::from_stream(stream::iter((0..5).map(move |_| Ok::<_, std::io::Error>(piece.clone())))))
    })
    .await;
    let large = Fake::start(|_| reply(200, &[], vec![b' '; MAX_MANIFEST_BYTES as usize + 1])).await;
    let full = Fake::start(|_| reply(200, &[("content-type", "a/b")], vec![b' '; MAX_MANIFEST_BYTES as usize])).await;
    for (port, kind) in [(cut, "cut"), (partial, "bad_answer"), (chunked.port, "too_large"), (large.port, "too_large")]
    {
        let target = target(&format!("http://127.0.0.1:{port}"), None);
        let error = client().get_manifest(&target, &latest(), Accept::Exactly(&[])).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    let manifest = client().get_manifest(&target(&full.url(), None), &latest(), Accept::Exactly(&[])).await.unwrap();
    assert_eq!(manifest.body.len() as u64, MAX_MANIFEST_BYTES);
    assert_eq!((manifest.media_type.as_deref(), manifest.digest), (Some("a/b"), None));
}

#[tokio::test]
async fn every_accept_line_is_sent_and_no_encoding_is_asked_for() {
    let hub = Fake::start(|_| reply(200, &[("docker-content-digest", DIGEST), ("content-length", "7")], "")).await;
    let lines = ["application/x", "application/y"].map(HeaderValue::from_static);
    let found = client().head_manifest(&target(&hub.url(), None), &latest(), Accept::Exactly(&lines)).await.unwrap();
    assert_eq!(found.unwrap().size_bytes, Some(7));
    let seen = hub.seen();
    assert_eq!(seen[0].method, Method::HEAD);
    assert_eq!(seen[0].headers.get_all("accept").iter().collect::<Vec<_>>(), lines.iter().collect::<Vec<_>>());
    assert_eq!(
        (seen[0].header("accept-encoding"), seen[0].path.as_str()),
        (Some("identity"), "/v2/library/alpine/manifests/latest")
    );
}

#[tokio::test]
async fn blobs_resume_where_upstream_lets_them() {
    let open = async |status, headers: &'static [(&str, &str)], from| {
        let hub = Fake::start(move |_| reply(status, headers, "0123456789")).await;
        let body = client().get_blob(&target(&hub.url(), None), &DIGEST.parse().unwrap(), from).await;
        body.map(|body| (body.offset, body.total)).map_err(|error| (error.kind(), error.status()))
    };
    assert_eq!(open(200, &[], 0).await, Ok((0, Some(10))));
    assert_eq!(open(200, &[], 5).await, Ok((0, Some(10))), "the range was ignored");
    assert_eq!(open(206, &[("content-range", "bytes 5-14/15")], 5).await, Ok((5, Some(15))));
    assert_eq!(open(206, &[("content-range", "bytes 5-14/*")], 5).await, Ok((5, None)));
    assert_eq!(open(206, &[("content-range", "bytes 4-13/15")], 5).await, Err(("bad_answer", None)));
    assert_eq!(open(206, &[], 5).await, Err(("bad_answer", None)));
    assert_eq!(open(204, &[], 0).await, Err(("bad_answer", None)));
    assert_eq!(open(416, &[("content-range", "bytes */9")], 5).await, Err(("status_4xx", Some(416))));
    assert_eq!(open(416, &[("content-range", "bytes */5")], 5).await, Ok((5, Some(5))), "there is no more");
}

#[tokio::test]
async fn an_idle_or_cut_blob_ends_in_an_error() {
    let idle = Fake::start(|_| {
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"01234"))]).chain(stream::pending());
        reply(200, &[], Body::from_stream(body))
    })
    .await;
    let cut = says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
    for (port, kind) in [(idle.port, "timeout"), (cut, "cut")] {
        let target = target(&format!("http://127.0.0.1:{port}"), None);
        let mut body = client().get_blob(&target, &DIGEST.parse().unwrap(), 0).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(body.stream.next().await.unwrap().unwrap(), "01234");
        let end = timeout(Duration::from_secs(3), body.stream.next()).await.unwrap();
        let error = end.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (kind, true));
        assert!(body.stream.next().await.is_none());
    }
}

#[tokio::test]
async fn listings_pass_their_page_on() {
    let hub = Fake::start(|seen| match seen.path.contains("/tags/list") {
        true => {
            reply(200, &[("link", "</v2/library/alpine/tags/list?n=2&last=c>; rel=\"next\"")], r#"{"tags":["b","c"]}"#)
        }
        false => reply(200, &[("oci-filters-applied", "artifactType")], "{}"),
    })
    .await;
    let (client, target) = (client(), target(&hub.url(), None));
    let tags = client.get_tags(&target, &Cursor::of_tags(Some(2), Some("a&b"))).await.unwrap();
    assert_eq!(tags.next.unwrap().query, "n=2&last=c");
    assert_eq!(hub.seen()[0].path, "/v2/library/alpine/tags/list?n=2&last=a%26b");
    let referrers = client.get_referrers(&target, &DIGEST.parse().unwrap(), Some("a/b+c")).await.unwrap();
    assert_eq!(referrers, ["{}"]);
    assert_eq!(hub.seen()[1].path, format!("/v2/library/alpine/referrers/{DIGEST}?artifactType=a%2Fb%2Bc"));
}

#[tokio::test]
async fn referrers_are_followed_over_their_pages() {
    let path = format!("/v2/library/alpine/referrers/{DIGEST}");
    let pages = AtomicUsize::new(0);
    let hub = Fake::start(move |seen| {
        let further =
            |kind: &str| format!("<?artifactType={kind}&page={}>; rel=\"next\"", pages.fetch_add(1, Ordering::SeqCst));
        let query = seen.path.split_once('?').map_or("", |(_, query)| query);
        match query {
            "artifactType=a" => reply(200, &[("link", "<?artifactType=a&cursor=x%2By>; rel=\"next\"")], "one"),
            "artifactType=a&cursor=x%2By" => reply(200, &[], "two"),
            "artifactType=gone" => reply(200, &[("link", "<?cursor=gone>; rel=\"next\"")], "one"),
            "artifactType=loop" => reply(200, &[("link", "<?artifactType=loop2>; rel=\"next\"")], "one"),
            "artifactType=loop2" => reply(200, &[("link", "<?artifactType=loop>; rel=\"next\"")], "two"),
            _ if query.starts_with("artifactType=endless") => reply(200, &[("link", &further("endless"))], "again"),
            _ if query.starts_with("artifactType=large") => {
                reply(200, &[("link", &further("large"))], "x".repeat(1024 * 1024))
            }
            _ => reply(404, &[], ""),
        }
    })
    .await;
    let (client, target, digest) = (client(), target(&hub.url(), None), DIGEST.parse().unwrap());
    assert_eq!(client.get_referrers(&target, &digest, Some("a")).await.unwrap(), ["one", "two"]);
    assert_eq!(client.get_referrers(&target, &digest, Some("loop")).await.unwrap(), ["one", "two"], "loops end");
    let endless = client.get_referrers(&target, &digest, Some("endless")).await.unwrap_err();
    assert!(endless.to_string().contains("more than 20 pages"), "{endless}");
    assert_eq!(hub.count(&format!("{path}?artifactType=endless")), 20);
    let large = client.get_referrers(&target, &digest, Some("large")).await.unwrap_err();
    assert!(large.to_string().contains("bytes"), "{large}");
    assert_eq!(hub.count(&format!("{path}?artifactType=large")), 5);
    let gone = client.get_referrers(&target, &digest, Some("gone")).await.unwrap_err();
    assert!(matches!(gone, super::UpstreamError::Cut { .. }), "{gone}");
    let unknown = client.get_referrers(&target, &digest, None).await.unwrap_err();
    assert!(matches!(unknown, super::UpstreamError::NotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let hub = Fake::start(|_| reply(200, &[], "0123456789")).await;
    let mut registry = Registry::default();
    client();
    let client =
        UpstreamClient::new(UpstreamTimeouts::default(), UpstreamMetrics::register(&mut registry), Arc::default())
            .unwrap();
    client.get_manifest(&target(&hub.url(), None), &latest(), Accept::Exactly(&[])).await.unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"roadstead_upstream_requests_total{kind="manifest_get",status="2xx"} 1"#), "{text}");
    assert!(text.contains("roadstead_upstream_bytes_total 10"), "{text}");
}
