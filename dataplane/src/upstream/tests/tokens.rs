//! The Bearer flow: when tokens are fetched, and how often.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tokio::time::{Duration, sleep};

use super::{
    super::{
        UpstreamError,
        fake::{Fake, Seen, reply},
    },
    DIGEST, client, get, head, target,
};

/// Answers a request that carries one of the tokens it takes.
fn manifest() -> Option<axum::response::Response> {
    reply(200, &[("docker-content-digest", DIGEST)], "")
}

fn challenge(seen: &Seen) -> Option<axum::response::Response> {
    let host = seen.header("host").unwrap();
    let bearer = format!(r#"Bearer realm="http://{host}/token",service="hub",scope="repository:library/alpine:pull""#);
    reply(401, &[("www-authenticate", &bearer)], "{}")
}

/// A hub whose tokens are numbered, live for `expires_in` seconds, and are taken if `takes` says so.
async fn hub(expires_in: u64, takes: impl Fn(usize) -> bool + Send + Sync + 'static) -> Fake {
    let issued = AtomicUsize::new(0);
    Fake::start(move |seen| {
        if seen.path.starts_with("/token") {
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return reply(200, &[], format!(r#"{{"token":"t{number}","expires_in":{expires_in}}}"#));
        }
        let number = seen.authorization().and_then(|text| text.strip_prefix("Bearer t")?.parse().ok());
        if number.is_some_and(&takes) { manifest() } else { challenge(seen) }
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_a_warm_request_is_one_request() {
    let hub = hub(300, |_| true).await;
    let (client, target) = (client(), target(&hub.url(), None));
    assert_eq!(head(&client, &target).await.unwrap().unwrap().digest.to_string(), DIGEST);
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (2, 1));
    assert_eq!(hub.seen()[1].path, "/token?service=hub&scope=repository%3Alibrary%2Falpine%3Apull");
    head(&client, &target).await.unwrap();
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (3, 1));
}

#[tokio::test]
async fn an_expired_token_is_renewed_without_asking_for_a_refusal() {
    let hub = hub(1, |_| true).await;
    let (client, target) = (client(), target(&hub.url(), None));
    head(&client, &target).await.unwrap();
    sleep(Duration::from_millis(800)).await;
    head(&client, &target).await.unwrap();
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (3, 2));
}

#[tokio::test]
async fn concurrent_requests_share_one_token() {
    let hub = hub(300, |_| true).await;
    let (client, target) = (client(), target(&hub.url(), None));
    let all = join_all((0..20).map(|_| head(&client, &target))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(hub.count("/token"), 1);
}

#[tokio::test]
async fn different_credentials_have_different_tokens() {
    let hub = hub(300, |_| true).await;
    let client = client();
    for credential in [None, Some(("ci", "a")), Some(("ci", "b")), Some(("ci", "a"))] {
        head(&client, &target(&hub.url(), credential)).await.unwrap();
    }
    assert_eq!(hub.count("/token"), 3);
    assert!(
        hub.seen()
            .iter()
            .any(|seen| seen.path.ends_with("&account=ci") && seen.authorization() == Some("Basic Y2k6YQ=="))
    );
}

#[tokio::test]
async fn a_stale_token_is_renewed_once() {
    // The first token is refused the second time it is used.
    let uses = AtomicUsize::new(0);
    let hub = hub(300, move |number| number > 1 || uses.fetch_add(1, Ordering::SeqCst) == 0).await;
    let (client, target) = (client(), target(&hub.url(), None));
    head(&client, &target).await.unwrap();
    head(&client, &target).await.unwrap();
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (4, 2));
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_the_last_word() {
    let hub = hub(300, |_| false).await;
    let (client, target) = (client(), target(&hub.url(), None));
    assert!(matches!(get(&client, &target).await, Err(UpstreamError::Unauthorized { .. })));
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (2, 1));
    assert!(matches!(get(&client, &target).await, Err(UpstreamError::Unauthorized { .. })));
    assert_eq!((hub.count("/v2/"), hub.count("/token")), (4, 2), "a remembered one is renewed once");
}

#[tokio::test]
async fn a_failing_token_service_is_told_apart() {
    for (status, body, kind, told) in [
        (503, "", "token_service", Some(503)),
        (429, "", "token_service", Some(429)),
        (302, "", "token_service", None),
        (200, "<html>", "token_service", None),
        (401, "", "unauthorized", Some(401)),
        (403, "", "forbidden", Some(403)),
    ] {
        let hub = Fake::start(move |seen| match seen.path.starts_with("/token") {
            true => reply(status, &[("retry-after", "7"), ("location", "http://127.0.0.1:1/")], body),
            false => challenge(seen),
        })
        .await;
        let error = head(&client(), &target(&hub.url(), None)).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, told), "{status} {body}");
        if matches!(status, 429 | 503) {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn an_endless_token_answer_is_cut_off() {
    let hub = Fake::start(|seen| match seen.path.starts_with("/token") {
        true => reply(200, &[], format!(r#"{{"token":"{}"}}"#, "x".repeat(70_000))),
        false => challenge(seen),
    })
    .await;
    assert_eq!(head(&client(), &target(&hub.url(), None)).await.unwrap_err().kind(), "token_service");
}

#[tokio::test]
async fn a_hanging_token_service_is_bounded() {
    let hub = Fake::start(|seen| if seen.path.starts_with("/token") { None } else { challenge(seen) }).await;
    assert_eq!(head(&client(), &target(&hub.url(), None)).await.unwrap_err().kind(), "token_service");
}

#[tokio::test]
async fn a_moved_token_service_is_found_after_one_failure() {
    let moved = Arc::new(AtomicUsize::new(0));
    let flag = Arc::clone(&moved);
    let hub = Fake::start(move |seen| {
        let (place, moved) = (if flag.load(Ordering::SeqCst) == 0 { "/old" } else { "/new" }, seen.path.clone());
        if moved.starts_with("/old") || moved.starts_with("/new") {
            let body = r#"{"token":"t","expires_in":1}"#;
            return if moved.starts_with(place) { reply(200, &[], body) } else { reply(500, &[], "") };
        }
        if seen.authorization().is_some() {
            return manifest();
        }
        let bearer = format!(r#"Bearer realm="http://{}{place}""#, seen.header("host").unwrap());
        reply(401, &[("www-authenticate", &bearer)], "")
    })
    .await;
    let (client, target) = (client(), target(&hub.url(), None));
    head(&client, &target).await.unwrap();
    moved.store(1, Ordering::SeqCst);
    sleep(Duration::from_millis(800)).await;
    assert_eq!(head(&client, &target).await.unwrap_err().kind(), "token_service");
    head(&client, &target).await.unwrap();
}

#[tokio::test]
async fn no_form_of_refusal_is_believed_of_a_remembered_token() {
    for (status, with_challenge) in [(401, true), (401, false), (403, true), (403, false)] {
        let good = Arc::new(AtomicUsize::new(1));
        let (takes, issued) = (Arc::clone(&good), AtomicUsize::new(0));
        let hub = Fake::start(move |seen| {
            if seen.path.starts_with("/token") {
                let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                return reply(200, &[], format!(r#"{{"token":"t{number}"}}"#));
            }
            match seen.authorization().and_then(|text| text.strip_prefix("Bearer t")?.parse::<usize>().ok()) {
                Some(number) if number >= takes.load(Ordering::SeqCst) => manifest(),
                Some(_) if with_challenge => challenge(seen).map(|mut answer| {
                    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
                    answer
                }),
                Some(_) => reply(status, &[], ""),
                None => challenge(seen),
            }
        })
        .await;
        let (client, target) = (client(), target(&hub.url(), None));
        head(&client, &target).await.unwrap();
        good.store(2, Ordering::SeqCst);
        head(&client, &target).await.unwrap().unwrap();
        assert_eq!((hub.count("/v2/"), hub.count("/token")), (4, 2), "{status} {with_challenge}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_new_token_is_believed_for_the_rest_of_the_pull() {
    for status in [401, 403] {
        let hub = Fake::start(move |seen| match seen.authorization() {
            _ if seen.path.starts_with("/token") => reply(200, &[], r#"{"token":"t"}"#),
            Some(_) => reply(status, &[], r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
            None => challenge(seen),
        })
        .await;
        let (client, target) = (client(), target(&hub.url(), None));
        for _ in 0..3 {
            let got = client.get_manifest(&target, &super::latest(), super::Accept::Exactly(&[])).await;
            let error = got.unwrap_err();
            assert!(error.is_refusal() && error.to_string().ends_with("(it says: DENIED: no)"), "{error}");
        }
        assert_eq!((hub.count("/v2/"), hub.count("/token")), (4, 1), "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_challenges_at_its_root_only_is_sent_credentials() {
    for status in [401, 403, 404] {
        let hub = Fake::start(move |seen| match seen.authorization() {
            Some("Basic Y2k6eA==") => manifest(),
            _ if seen.path == "/v2/" => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
            _ => reply(status, &[], ""),
        })
        .await;
        let (client, target) = (client(), target(&hub.url(), Some(("ci", "x"))));
        head(&client, &target).await.unwrap().unwrap();
        assert_eq!(hub.seen().len(), 3, "{status}");
        head(&client, &target).await.unwrap().unwrap();
        let other = super::Target { repository: "library/other".parse().unwrap(), ..target };
        head(&client, &other).await.unwrap().unwrap();
        assert_eq!(hub.seen().len(), 5, "what was learnt is remembered for the whole registry");
    }
}

#[tokio::test]
async fn a_registry_without_any_challenge_is_asked_for_one_seldom() {
    let hub = Fake::start(|seen| reply(if seen.path == "/v2/" { 200 } else { 404 }, &[], "")).await;
    let (client, target) = (client(), target(&hub.url(), Some(("ci", "x"))));
    for _ in 0..3 {
        assert_eq!(head(&client, &target).await.unwrap(), None);
    }
    assert_eq!(hub.seen().len(), 4);
}

#[tokio::test]
async fn a_token_service_that_moved_is_followed_with_credentials_only_to_where_they_may_go() {
    for status in [301, 302, 303, 307, 308] {
        let foreign = Fake::start(|_| reply(200, &[], r#"{"token":"t"}"#)).await;
        let away = format!("http://localhost:{}/token", foreign.port);
        for (location, works) in [("/moved/token?again=1", true), (&*away, false)] {
            let to = location.to_owned();
            let hub = Fake::start(move |seen| match seen.path.split('?').next().unwrap() {
                "/token" => reply(status, &[("location", &to)], ""),
                "/moved/token" => {
                    reply(if seen.authorization().is_some() { 200 } else { 401 }, &[], r#"{"token":"t"}"#)
                }
                _ if seen.authorization() == Some("Bearer t") => manifest(),
                _ => challenge(seen),
            })
            .await;
            let found = head(&client(), &target(&hub.url(), Some(("ci", "x")))).await;
            assert_eq!(found.is_ok(), works, "{status} {location}: {found:?}");
            assert!(works || found.unwrap_err().to_string().contains("not listed"));
        }
        assert!(foreign.seen().is_empty(), "credentials do not follow a redirect to elsewhere");
    }
}
