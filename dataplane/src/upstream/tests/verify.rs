//! Trying credentials.

use std::sync::Arc;

use super::{
    super::{
        UpstreamError,
        fake::{Fake, reply},
    },
    client, policy,
};
use crate::control::Credential;

async fn verify(hub: &Fake, password: &str) -> Result<(), UpstreamError> {
    let credential = Arc::new(Credential::new("ci".to_owned(), password.into()));
    client().verify_credential(&Arc::new(policy(&hub.url())), credential).await
}

#[tokio::test]
async fn a_token_service_says_whether_credentials_are_good() {
    let hub = Fake::start(|seen| match (seen.path.split('?').next().unwrap(), seen.authorization()) {
        ("/token", Some("Basic Y2k6czNjcmV0")) => reply(200, &[], r#"{"token":"t"}"#),
        ("/token", _) => reply(401, &[], "{}"),
        ("/v2/", Some("Bearer t")) => reply(200, &[], "{}"),
        _ => {
            let bearer = format!(r#"Bearer realm="http://{}/token",service="s""#, seen.header("host").unwrap());
            reply(401, &[("www-authenticate", &bearer)], "{}")
        }
    })
    .await;
    verify(&hub, "s3cret").await.unwrap();
    let asked: Vec<_> = hub.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked, ["/v2/", "/token?service=s&account=ci", "/v2/"]);
    assert!(matches!(verify(&hub, "wrong").await, Err(UpstreamError::Unauthorized { .. })));
}

#[tokio::test]
async fn a_registry_with_passwords_says_whether_credentials_are_good() {
    let hub = Fake::start(|seen| match seen.authorization() {
        Some("Basic Y2k6czNjcmV0") => reply(200, &[], "{}"),
        _ => reply(401, &[("www-authenticate", "Basic realm=x")], "{}"),
    })
    .await;
    verify(&hub, "s3cret").await.unwrap();
    assert!(matches!(verify(&hub, "wrong").await, Err(UpstreamError::Unauthorized { .. })));
}

#[tokio::test]
async fn trouble_is_no_refusal_and_an_open_registry_takes_anything() {
    for (status, kind) in
        [(200, None), (503, Some("status_5xx")), (429, Some("rate_limited")), (403, Some("forbidden"))]
    {
        let hub = Fake::start(move |_| reply(status, &[], "{}")).await;
        assert_eq!(verify(&hub, "s3cret").await.err().map(|error| error.kind()), kind, "{status}");
    }
}

#[tokio::test]
async fn a_token_service_that_is_not_the_upstreams_own_gets_no_credentials() {
    let thief = Fake::start(|_| reply(200, &[], r#"{"token":"t"}"#)).await;
    let bearer = format!(r#"Bearer realm="http://localhost:{}/token""#, thief.port);
    let hub = Fake::start(move |_| reply(401, &[("www-authenticate", &bearer)], "{}")).await;
    let error = verify(&hub, "s3cret").await.unwrap_err();
    assert!(error.to_string().contains("token hosts"), "{error}");
    assert!(thief.seen().is_empty());
}
