//! Following redirects by hand, so that credentials stay where they belong.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::Response;
use url::Url;

use super::{
    destination::lists,
    exchange::{Ask, Exchange},
};
use crate::control::UpstreamPolicy;
use crate::upstream::{
    UpstreamError,
    health::account::{Admitted, HostCheck},
};

/// Most redirects that are followed; registries use one, seldom two.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// An answer, and whether it is from the upstream itself and not from where that redirected to.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) from_upstream: bool,
}

impl Exchange {
    /// Sends a request and follows redirects. `authorization` goes to the upstream's own places and nowhere else.
    pub(crate) async fn follow(
        &self,
        policy: &Arc<UpstreamPolicy>,
        mut ask: Ask,
        authorization: Option<&HeaderValue>,
        admitted: Option<&Admitted>,
    ) -> Result<Answer, UpstreamError> {
        let upstream = &policy.host;
        for _ in 0..=MAX_REDIRECTS {
            let from_upstream = is_own(policy, &ask.url);
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
            // The health of a redirect's target says nothing of the upstream's.
            if let Some(admitted) = admitted.filter(|_| from_upstream) {
                let check = admitted.health.observe(policy, (kind, Some(&admitted.content)), &answered);
                self.check_host_meanwhile(policy, check);
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

    /// Checks a host in the background, if a check is due.
    pub(crate) fn check_host_meanwhile(&self, policy: &Arc<UpstreamPolicy>, check: Option<HostCheck>) {
        if let Some(check) = check {
            let (exchange, policy) = (self.clone(), Arc::clone(policy));
            tokio::spawn(async move {
                if let Err(error) = exchange.check_host(&policy, &check).await {
                    tracing::debug!(%error, "the upstream fails as a whole");
                }
            });
        }
    }

    /// Asks `/v2/`, which names no content: fails if the host does.
    pub(crate) async fn check_host(
        &self,
        policy: &Arc<UpstreamPolicy>,
        check: &HostCheck,
    ) -> Result<(), UpstreamError> {
        let ask = Ask::ping(policy);
        let kind = ask.kind;
        let answered = self.send(policy, ask).await;
        check.0.observe(policy, (kind, None), &answered);
        let response = answered?;
        if response.status().is_server_error() {
            let (upstream, status) = (policy.host.clone(), response.status().as_u16());
            return Err(UpstreamError::Status { upstream, status, said: Default::default(), retry_after: None });
        }
        self.discard(&policy.host, response).await;
        Ok(())
    }
}

/// Returns whether a URL is a place of the upstream itself, which may be sent its credentials: its own origin, the same host by
/// https instead of http at the usual ports, or a host and port listed as its token service.
pub(crate) fn is_own(policy: &UpstreamPolicy, url: &Url) -> bool {
    let own = &policy.url;
    let is_upgrade = own.host_str() == url.host_str()
        && (own.scheme(), url.scheme()) == ("http", "https")
        && (own.port_or_known_default(), url.port_or_known_default()) == (Some(80), Some(443));
    own.origin() == url.origin() || is_upgrade || lists(&policy.token_hosts, url)
}

pub(crate) const fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Returns the target of a redirect.
pub(crate) fn next(from: &Url, headers: &HeaderMap) -> Result<Url, String> {
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
mod tests;
