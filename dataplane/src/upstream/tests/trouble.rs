//! Trouble: what is tried again, what is not, and when an upstream is left alone.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use super::{
    super::{
        Accept, Target, UpstreamClient, UpstreamMetrics,
        fake::{Fake, reply},
        metrics::RequestKind,
    },
    DIGEST, TIMEOUTS, client, get, head, latest, listing, target,
};

/// A manifest, and its digest.
const BODY: &str = "{}";
const DIGEST_OF_BODY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// A hub whose first `failures` answers are bad.
async fn recovering(failures: usize, status: u16, headers: &'static [(&str, &str)]) -> Fake {
    let asked = AtomicUsize::new(0);
    Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) < failures {
        true => reply(status, headers, ""),
        false => reply(200, &[("docker-content-digest", DIGEST)], ""),
    })
    .await
}

#[tokio::test]
async fn what_may_pass_is_tried_twice_and_nothing_else_is() {
    for (status, headers, failures, works, requests) in [
        (502, &[][..], 1, true, 2),
        (503, &[], 1, true, 2),
        (504, &[], 1, true, 2),
        (503, &[], 2, false, 2),
        (503, &[("retry-after", "1")], 1, false, 1),
        (500, &[], 1, false, 1),
        (404, &[], 1, false, 1),
        (400, &[], 1, false, 1),
        (422, &[], 1, false, 1),
    ] {
        let hub = recovering(failures, status, headers).await;
        let found = client().get_manifest(&target(&hub.url(), None), &latest(), Accept::Exactly(&[])).await;
        assert_eq!((found.is_ok(), hub.seen().len()), (works, requests), "{status} {headers:?} {failures} times");
    }
}

/// A server that closes its first connections without a word, and then answers.
async fn slammed(times: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, connections) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = socket.read(&mut [0; 4096]).await;
            if counted.fetch_add(1, Ordering::SeqCst) >= times {
                let answer = format!("HTTP/1.1 200 OK\r\nDocker-Content-Digest: {DIGEST}\r\nConnection: close\r\n\r\n");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        }
    });
    (port, connections)
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_made_once_more() {
    // A HEAD that fails again leaves the decision to a GET.
    for (times, works) in [(1, true), (2, false)] {
        let (port, connections) = slammed(times).await;
        let found = head(&client(), &target(&format!("http://127.0.0.1:{port}"), None)).await.unwrap();
        assert_eq!((found.is_some(), connections.load(Ordering::SeqCst)), (works, 2), "{found:?}");
    }
}

#[tokio::test]
async fn causes_below_http_are_told_apart_and_soon() {
    let plain = Fake::start(|_| reply(200, &[], "")).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (url, kind) in [
        (format!("http://127.0.0.1:{port}"), "connect"),
        (format!("https://127.0.0.1:{}", plain.port), "tls"),
        ("http://no-such-host.test".to_owned(), "connect"),
    ] {
        client();
        let lookup = Arc::new(|_| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async { Err(io::Error::other("no such name")) })
        });
        let client = UpstreamClient::with_lookup(TIMEOUTS, UpstreamMetrics::default(), Arc::default(), lookup).unwrap();
        let started = Instant::now();
        let error = head(&client, &target(&url, None)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{url}: {:?}", started.elapsed());
    }
}

/// Waits until requests to the host are suspended.
async fn suspended(client: &UpstreamClient, target: &Target) {
    let health = client.accounts.of(target);
    let until = async {
        while health.admit_to_host(RequestKind::ManifestGet).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until).await.unwrap();
}

#[tokio::test]
async fn requests_to_a_failing_host_are_suspended_but_for_one_probe() {
    let status = Arc::new(AtomicU16::new(500));
    let says = Arc::clone(&status);
    let hub =
        Fake::start(move |_| reply(says.load(Ordering::SeqCst), &[("docker-content-digest", DIGEST_OF_BODY)], BODY))
            .await;
    let (client, nobody) = (client(), target(&hub.url(), None));
    let (contents, pings) = (|| hub.count("/v2/library"), || hub.seen().iter().filter(|it| it.path == "/v2/").count());
    for _ in 0..5 {
        assert_eq!(get(&client, &nobody).await.unwrap_err().kind(), "status_5xx");
    }
    for _ in 0..3 {
        let error = get(&client, &nobody).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), ("circuit_open", true));
        assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(2)));
    }
    suspended(&client, &nobody).await;
    assert_eq!((contents(), pings()), (5, 1), "the host is asked whether it works, once");
    let other = Target { repository: "library/other".parse().unwrap(), ..nobody.clone() };
    assert_eq!(get(&client, &other).await.unwrap_err().kind(), "circuit_open");
    get(&client, &target(&hub.url(), Some(("ci", "x")))).await.unwrap_err();
    assert_eq!(contents(), 6, "other credentials have a circuit of their own");

    pass(Duration::from_secs(3)).await;
    status.store(503, Ordering::SeqCst);
    assert_eq!(get(&client, &other).await.unwrap_err().kind(), "status_5xx");
    assert_eq!(get(&client, &other).await.unwrap_err().kind(), "circuit_open");
    assert_eq!((contents(), pings()), (6, 2), "a probe is one request, sent once, and not for content");

    pass(Duration::from_secs(5)).await;
    status.store(200, Ordering::SeqCst);
    get(&client, &nobody).await.unwrap();
    get(&client, &other).await.unwrap();
    assert_eq!((contents(), pings()), (8, 3));
}

#[tokio::test]
async fn one_failing_repository_suspends_no_other() {
    for hangs in [false, true] {
        let hub = Fake::start(move |seen| match seen.path.contains("/bad/") {
            true if hangs => None,
            true => reply(500, &[], ""),
            false => reply(200, &[("docker-content-digest", DIGEST)], ""),
        })
        .await;
        let (client, good) = (client(), target(&hub.url(), None));
        let bad = Target { repository: "library/bad".parse().unwrap(), ..good.clone() };
        for _ in 0..15 {
            get(&client, &bad).await.unwrap_err();
            head(&client, &good).await.unwrap();
        }
        for _ in 0..15 {
            get(&client, &bad).await.unwrap_err();
        }
        assert_eq!(hub.count("/v2/library/bad"), 5, "it is suspended itself");
        for name in 0..15 {
            let repository = format!("library/new{name}").parse().unwrap();
            head(&client, &Target { repository, ..good.clone() }).await.unwrap();
        }
    }
}

/// Passes time for code that reads the clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_upstream_that_was_moved_starts_anew() {
    let old = Fake::start(|_| reply(500, &[], "")).await;
    let new = Fake::start(|_| reply(200, &[("docker-content-digest", DIGEST)], "")).await;
    let client = client();
    for _ in 0..6 {
        get(&client, &target(&old.url(), None)).await.unwrap_err();
    }
    assert_eq!(old.seen().len(), 5);
    head(&client, &target(&new.url(), None)).await.unwrap();
}

#[tokio::test]
async fn refusals_open_no_circuit() {
    for status in [404, 401, 403] {
        let hub = Fake::start(move |_| reply(status, &[], "")).await;
        let (client, target) = (client(), target(&hub.url(), None));
        for _ in 0..10 {
            let fetched = client.get_manifest(&target, &latest(), Accept::Exactly(&[])).await;
            assert_eq!(fetched.unwrap_err().status(), Some(status));
        }
        // A refusal without a challenge sends the client to `/v2/`, once.
        assert_eq!(hub.count("/v2/library"), 10);
        assert!(hub.seen().len() <= 11);
    }
}

#[tokio::test]
async fn a_token_service_that_keeps_failing_counts_as_the_upstream_does() {
    let hub = Fake::start(|seen| match seen.path.starts_with("/token") {
        true => reply(500, &[], ""),
        false => {
            let bearer = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            reply(401, &[("www-authenticate", &bearer)], "")
        }
    })
    .await;
    let (client, target) = (client(), target(&hub.url(), None));
    for _ in 0..5 {
        assert_eq!(get(&client, &target).await.unwrap_err().kind(), "token_service");
    }
    assert_eq!(get(&client, &target).await.unwrap_err().kind(), "circuit_open");
    assert_eq!(hub.count("/token"), 5);
}

#[tokio::test]
async fn trouble_at_a_redirects_target_is_not_the_upstreams() {
    let hub = Fake::start(|seen| match seen.path.contains("/blobs/") {
        // Nobody listens there.
        true => reply(302, &[("location", "http://127.0.0.1:1/")], ""),
        false => reply(200, &[("docker-content-digest", DIGEST)], ""),
    })
    .await;
    let (client, target) = (client(), listing(target(&hub.url(), None), &["127.0.0.1:1"]));
    for _ in 0..6 {
        let error = client.get_blob(&target, &DIGEST.parse().unwrap(), 0).await.err().unwrap();
        assert_eq!(error.kind(), "connect");
    }
    head(&client, &target).await.unwrap();
}

#[tokio::test]
async fn redirects_lead_to_no_address_that_is_not_listed() {
    for place in ["10.0.0.1", "169.254.169.254", "0.0.0.0", "[::ffff:192.168.1.1]", "[fe80::1]", "inside.test"] {
        let location = format!("http://{place}:5/x");
        let hub = Fake::start(move |_| reply(307, &[("location", &location)], "")).await;
        client();
        let lookup = Arc::new(|_| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async { Ok(vec!["10.0.0.1:0".parse().unwrap()]) })
        });
        let client = UpstreamClient::with_lookup(TIMEOUTS, UpstreamMetrics::default(), Arc::default(), lookup).unwrap();
        let error = client.get_blob(&target(&hub.url(), None), &DIGEST.parse().unwrap(), 0).await.err().unwrap();
        assert_eq!((error.kind(), hub.seen().len()), ("unsafe_address", 1), "{place}: {error}");
    }
}

#[tokio::test]
async fn a_token_service_in_a_network_that_the_upstream_is_not_in_is_not_asked() {
    let hub =
        Fake::start(|_| reply(401, &[("www-authenticate", r#"Bearer realm="http://169.254.169.254/token""#)], ""))
            .await;
    let error = head(&client(), &target(&hub.url(), None)).await.unwrap_err();
    assert_eq!(error.kind(), "token_service");
    assert!(error.to_string().contains("not public"), "{error}");
}

#[tokio::test]
async fn a_move_to_another_host_is_followed_without_credentials() {
    let other = Fake::start(|_| reply(200, &[("content-type", "a/b")], "{}")).await;
    let location = format!("http://localhost:{}/v2/library/alpine/manifests/latest", other.port);
    let hub = Fake::start(move |seen| match seen.authorization() {
        Some(_) => reply(301, &[("location", &location)], ""),
        None => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
    })
    .await;
    let place = format!("localhost:{}", other.port);
    let target = listing(target(&hub.url(), Some(("ci", "s3cret"))), &[&place]);
    let manifest = client().get_manifest(&target, &latest(), Accept::Exactly(&[])).await.unwrap();
    assert_eq!(manifest.body, "{}");
    assert_eq!(other.seen().iter().filter(|seen| seen.authorization().is_some()).count(), 0);
    assert_eq!((other.seen().len(), hub.seen().len()), (1, 2));
}
