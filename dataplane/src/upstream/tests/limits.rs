//! Pull limits: read from every answer, and kept to.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    super::{
        Accept, Cursor, Target, UpstreamClient, UpstreamError,
        fake::{Fake, Seen, reply},
    },
    DIGEST, client_with, head, latest, listing, target,
};
use crate::control::{Account, Conditions};

fn account(username: &str) -> Account {
    Account { upstream: "docker.io".parse().unwrap(), username: username.to_owned() }
}

async fn get(client: &UpstreamClient, target: &Target) -> Result<(), UpstreamError> {
    client.get_manifest(target, &latest(), Accept::Exactly(&[])).await.map(drop)
}

async fn blob(client: &UpstreamClient, target: &Target) -> Result<(), UpstreamError> {
    client.get_blob(target, &DIGEST.parse().unwrap(), 0).await.map(drop)
}

#[track_caller]
fn waits(result: Result<impl std::fmt::Debug, UpstreamError>) -> u64 {
    let error = result.unwrap_err();
    assert!(matches!(error, UpstreamError::RateLimited { .. }), "{error}");
    error.retry_after().unwrap().as_secs()
}

fn is_manifest_get(seen: &Seen) -> bool {
    seen.method == "GET" && seen.path.contains("/manifests/")
}

#[tokio::test]
async fn a_429_pauses_everything_but_blobs_for_that_credential() {
    let hub = Fake::start(|seen| match is_manifest_get(seen) {
        true if seen.authorization().is_none() => reply(429, &[("retry-after", "30")], ""),
        _ => reply(200, &[("docker-content-digest", DIGEST)], "{}"),
    })
    .await;
    let conditions = Arc::<Conditions>::default();
    let client = client_with(&conditions);
    let nobody = target(&hub.url(), None);
    assert_eq!(waits(get(&client, &nobody).await), 30);
    let asked = hub.seen().len();
    assert!((29..=30).contains(&waits(get(&client, &nobody).await)));
    waits(head(&client, &nobody).await);
    waits(client.get_tags(&nobody, &Cursor::of_tags(None, None)).await);
    assert_eq!(hub.seen().len(), asked, "nothing is asked meanwhile");
    blob(&client, &nobody).await.unwrap();
    client.head_blob(&nobody, &DIGEST.parse().unwrap()).await.unwrap();
    assert_eq!(hub.seen().len(), asked + 2);
    head(&client, &target(&hub.url(), Some(("ci", "s3cret")))).await.unwrap();
    let until = conditions.paused_until(&account(""), SystemTime::now()).unwrap();
    assert!(until > SystemTime::now() + Duration::from_secs(28));
    assert_eq!(conditions.paused_until(&account("ci"), SystemTime::now()), None);
}

#[tokio::test]
async fn a_429_for_a_blob_pauses_blobs_too() {
    let hub = Fake::start(|seen| match seen.path.contains("/blobs/") {
        true => reply(429, &[("retry-after", "30")], ""),
        false => reply(200, &[], "{}"),
    })
    .await;
    let (client, target) = (client_with(&Arc::default()), target(&hub.url(), None));
    waits(blob(&client, &target).await);
    waits(blob(&client, &target).await);
    waits(get(&client, &target).await);
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn a_pause_lasts_as_long_as_upstream_says() {
    for (headers, seconds) in [
        (&[("retry-after", "7"), ("ratelimit-limit", "100;w=600"), ("ratelimit-remaining", "0;w=600")][..], 7),
        (&[("ratelimit-limit", "100;w=600"), ("ratelimit-remaining", "0;w=600")], 2),
        (&[("retry-after", "86400")], 86_400),
        (&[("retry-after", "99999999")], 2),
        (&[("retry-after", "-5")], 2),
        (&[], 2),
    ] {
        let hub = Fake::start(move |_| reply(429, headers, "")).await;
        let conditions = Arc::<Conditions>::default();
        let started = SystemTime::now();
        get(&client_with(&conditions), &target(&hub.url(), None)).await.unwrap_err();
        let until = conditions.paused_until(&account(""), started).unwrap();
        let lasts = until.duration_since(started).unwrap().as_secs();
        assert!((seconds..seconds + 3).contains(&lasts), "{lasts} s for {headers:?}");
    }
}

#[tokio::test]
async fn a_token_service_that_says_429_is_left_alone() {
    let hub = Fake::start(|seen| match seen.path.starts_with("/token") {
        true => reply(429, &[("retry-after", "30")], ""),
        false => {
            let bearer = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            reply(401, &[("www-authenticate", &bearer)], "")
        }
    })
    .await;
    let (client, target) = (client_with(&Arc::default()), target(&hub.url(), None));
    let error = head(&client, &target).await.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (Some(429), Some(Duration::from_secs(30))));
    waits(head(&client, &target).await);
    // A blob may be asked for, but not with a new token.
    let error = blob(&client, &target).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), ("token_service", Some(429)));
    assert_eq!((hub.count("/token"), hub.count("/v2/")), (1, 2));
}

#[tokio::test]
async fn limits_are_read_from_every_answer_of_upstream_and_of_nobody_else() {
    let cdn = Fake::start(|_| reply(200, &[("ratelimit-limit", "5"), ("ratelimit-remaining", "0")], "")).await;
    let location = cdn.url();
    let hub = Fake::start(move |seen| {
        let limit = |remaining: &'static str| {
            [
                ("ratelimit-limit", "100;w=21600"),
                ("ratelimit-remaining", remaining),
                ("docker-ratelimit-source", "192.0.2.1"),
            ]
        };
        match (seen.method.as_str(), seen.path.split('/').next_back().unwrap()) {
            ("HEAD", "latest") => reply(200, &limit("8"), ""),
            ("GET", "latest") => reply(404, &limit("7"), ""),
            ("GET", "list") => reply(200, &limit("6"), "{}"),
            ("GET", token) if token.starts_with("token") => reply(503, &limit("5"), "{}"),
            ("GET", _) => reply(302, &[("location", &location), limit("4")[0], limit("4")[1]], ""),
            _ => {
                let bearer = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
                reply(401, &[("www-authenticate", &bearer)], "")
            }
        }
    })
    .await;
    let conditions = Arc::<Conditions>::default();
    let target = listing(target(&hub.url(), None), &[&cdn.url()]);
    let client = client_with(&conditions);
    // Fewer than nine in a hundred are short, fewer than eight, and so on.
    let is_below = |percent| {
        let upstream = crate::control::UpstreamPolicy { reserve_percent: percent, ..super::policy(&hub.url()) };
        conditions.is_short(&upstream, "")
    };
    let check = |remaining: u8, what: &str| {
        assert!(is_below(remaining + 1) && !is_below(remaining), "after {what}");
    };
    head(&client, &target).await.unwrap();
    check(8, "a HEAD");
    get(&client, &target).await.unwrap_err();
    check(7, "a GET that found nothing");
    client.get_tags(&target, &Cursor::of_tags(None, None)).await.unwrap();
    check(6, "a list");
    client.head_blob(&target, &DIGEST.parse().unwrap()).await.unwrap_err();
    check(5, "a token service's failure");
    blob(&client, &target).await.unwrap();
    assert_eq!(cdn.seen().len(), 1);
    // FakeWatch without a source: that of another one is as good.
    check(4, "a redirect, whose target does not count");
}
