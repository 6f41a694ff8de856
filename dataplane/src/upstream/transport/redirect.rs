//! Following redirects by hand, so that credentials stay where they belong.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::Response;
use url::Url;

use super::exchange::{Ask, Exchange};
use crate::control::UpstreamPolicy;
use crate::upstream::{UpstreamError, health::account::Admitted};

/// Most redirects that are followed; registries use one, seldom two.
const MAX_REDIRECTS: usize = 5;

/// An answer, and whether it is from the upstream itself and not from where that redirected to.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) from_upstream: bool,
}

impl Exchange {
    /// Sends a request and follows redirects. `authorization` goes to the upstream's own origin (scheme, host and
    /// port) and nowhere else.
    pub(crate) async fn follow(
        &self,
        policy: &Arc<UpstreamPolicy>,
        mut ask: Ask,
        authorization: Option<&HeaderValue>,
        admitted: Option<&Admitted>,
    ) -> Result<Answer, UpstreamError> {
        let upstream = &policy.host;
        for _ in 0..=MAX_REDIRECTS {
            let from_upstream = ask.url.origin() == policy.url.origin();
            let mut hop = ask.clone();
            match authorization {
                Some(authorization) if from_upstream => {
                    hop.headers.insert(header::AUTHORIZATION, authorization.clone());
                }
                _ => {}
            }
            let kind = hop.kind;
            let answered = match admitted {
                // A probe is to find out with one request.
                Some(Admitted { is_probe: true, .. }) => self.send(policy, hop).await,
                _ => self.send_patiently(policy, hop).await,
            };
            // How a redirect's target is doing says nothing of the upstream.
            if let Some(admitted) = admitted.filter(|_| from_upstream) {
                admitted.standing.observe(policy, kind, &answered);
            }
            let response = answered?;
            if !is_redirect(response.status()) {
                return Ok(Answer { response, from_upstream });
            }
            ask.url = next(&ask.url, response.headers())
                .map_err(|problem| UpstreamError::BadAnswer { upstream: upstream.clone(), problem })?;
            self.discard(upstream, response).await;
        }
        Err(UpstreamError::BadAnswer {
            upstream: upstream.clone(),
            problem: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Where a redirect leads to.
fn next(from: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or("a redirect without a location")?;
    let mut url = from.join(location).map_err(|error| format!("a redirect to no URL: {error}"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("a redirect from https to http".to_owned()),
        (_, other) => return Err(format!("a redirect to {other}:")),
    }
    // Whoever redirects must not choose the credentials that are sent.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err("a redirect to no host".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(from: &str, location: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_str(location).unwrap())]);
        next(&from.parse().unwrap(), &headers).ok().map(|url| url.to_string())
    }

    #[test]
    fn redirects_lead_to_no_weaker_place() {
        let from = "https://registry.example/v2/a/blobs/x";
        assert_eq!(followed(from, "https://cdn.example/x?sig=1").as_deref(), Some("https://cdn.example/x?sig=1"));
        assert_eq!(followed(from, "/elsewhere").as_deref(), Some("https://registry.example/elsewhere"));
        assert_eq!(followed(from, "https://user:pass@cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        for location in ["http://cdn.example/x", "file:///etc/passwd", "ftp://x/y", "https://"] {
            assert_eq!(followed(from, location), None, "{location}");
        }
        let plain = followed("http://registry.example/a", "http://cdn.example/x");
        assert_eq!(plain.as_deref(), Some("http://cdn.example/x"));
        assert!(next(&from.parse().unwrap(), &HeaderMap::new()).is_err());
    }
}
