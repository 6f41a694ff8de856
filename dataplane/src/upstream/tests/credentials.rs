//! The hosts that get credentials, and those that never do.

use super::{
    super::{
        UpstreamError,
        fake::{Fake, reply},
    },
    DIGEST, client, get, head, listing, target,
};

const CREDENTIAL: Option<(&str, &str)> = Some(("ci", "s3cret"));

#[tokio::test]
async fn a_foreign_token_service_gets_no_credentials() {
    let thief = Fake::start(|_| reply(200, &[], r#"{"token":"anonymous"}"#)).await;
    // Another host: "localhost" is not "127.0.0.1".
    let bearer = format!(r#"Bearer realm="http://localhost:{}/token",service="x""#, thief.port);
    let hub = Fake::start(move |seen| match seen.authorization() {
        Some("Bearer anonymous") => reply(200, &[("docker-content-digest", DIGEST)], ""),
        _ => reply(401, &[("www-authenticate", &bearer)], ""),
    })
    .await;
    let place = format!("localhost:{}", thief.port);
    head(&client(), &listing(target(&hub.url(), CREDENTIAL), &[&place])).await.unwrap();
    let seen = thief.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].authorization(), None);
    assert!(!seen[0].path.contains("account"));
}

#[tokio::test]
async fn a_redirect_target_gets_no_authorization_and_keeps_the_range() {
    let cdn = Fake::start(|_| reply(206, &[("content-range", "bytes 5-9/10")], "56789")).await;
    let location = format!("http://127.0.0.1:{}/blob?signature=1", cdn.port);
    let hub = Fake::start(move |seen| match (seen.path.as_str(), seen.authorization()) {
        ("/back", Some("Bearer t")) => reply(307, &[("location", &location)], ""),
        ("/token?scope=repository%3Alibrary%2Falpine%3Apull&account=ci", _) => reply(200, &[], r#"{"token":"t"}"#),
        (path, Some("Bearer t")) if path.starts_with("/v2/") => reply(302, &[("location", "/back")], "moved"),
        _ => {
            let bearer = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            reply(401, &[("www-authenticate", &bearer)], "")
        }
    })
    .await;
    let target = listing(target(&hub.url(), CREDENTIAL), &[&cdn.url()]);
    let body = client().get_blob(&target, &DIGEST.parse().unwrap(), 5).await;
    let body = body.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((body.offset, body.total), (5, Some(10)));
    let seen = cdn.seen();
    assert_eq!((seen.len(), seen[0].authorization(), seen[0].header("range")), (1, None, Some("bytes=5-")));
    assert!(hub.seen().iter().any(|seen| seen.path == "/back" && seen.authorization().is_some()));
}

#[tokio::test]
async fn a_refusal_where_upstream_redirected_to_says_nothing_of_the_credentials() {
    let cdn = Fake::start(|_| reply(403, &[("www-authenticate", "Basic realm=x")], "")).await;
    let location = cdn.url();
    let hub = Fake::start(move |_| reply(302, &[("location", &location)], "")).await;
    let target = listing(target(&hub.url(), CREDENTIAL), &[&cdn.url()]);
    let error = client().get_blob(&target, &DIGEST.parse().unwrap(), 0).await.err().unwrap();
    assert_eq!((error.is_refusal(), error.status()), (false, Some(403)));
    assert!(client().head_blob(&target, &DIGEST.parse().unwrap()).await.unwrap().is_none());
    assert!(cdn.seen().iter().all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let hub = Fake::start(|_| reply(302, &[("location", "/again")], "")).await;
    assert_eq!(head(&client(), &target(&hub.url(), None)).await.unwrap_err().kind(), "bad_answer");
    assert_eq!(hub.seen().len(), 6);
}

#[tokio::test]
async fn basic_credentials_are_sent_when_asked_for() {
    let hub = Fake::start(|seen| match seen.authorization() {
        Some("Basic Y2k6czNjcmV0") => reply(200, &[("docker-content-digest", DIGEST)], ""),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"Registry\"")], ""),
    })
    .await;
    let (client, good) = (client(), target(&hub.url(), CREDENTIAL));
    head(&client, &good).await.unwrap();
    assert_eq!(hub.seen()[0].authorization(), None, "nothing is sent unasked");
    head(&client, &good).await.unwrap();
    assert_eq!(hub.seen().len(), 3, "what upstream wants is remembered");
    for credential in [None, Some(("ci", "wrong"))] {
        let error = get(&client, &target(&hub.url(), credential)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Unauthorized { .. }));
    }
}
