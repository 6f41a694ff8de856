//! Trying credentials, as `docker login` does: without any pull, and without what is remembered of earlier ones.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{UpstreamClient, UpstreamError, said::Said};
use crate::control::{Credential, UpstreamPolicy};
use crate::upstream::{
    auth::{
        basic::basic,
        challenge::Challenge,
        token_service::{self, Trust},
    },
    transport::{
        exchange::{Ask, within},
        redirect::Answer,
    },
};

impl UpstreamClient {
    /// Asks `upstream` whether it takes `credential`. Good also where it asks nobody who they are.
    pub async fn verify_credential(
        &self,
        upstream: &Arc<UpstreamPolicy>,
        credential: Arc<Credential>,
    ) -> Result<(), UpstreamError> {
        within(self.exchange.timeouts.whole, &upstream.host, self.try_credential(upstream, credential)).await
    }

    async fn try_credential(
        &self,
        upstream: &Arc<UpstreamPolicy>,
        credential: Arc<Credential>,
    ) -> Result<(), UpstreamError> {
        let asked = self.ping(upstream, None).await?;
        if asked.response.status() != StatusCode::UNAUTHORIZED {
            return self.exchange.accepted(&upstream.host, asked, "/v2/").await.map(drop);
        }
        let challenge = Challenge::choose(asked.response.headers());
        self.exchange.discard(&upstream.host, asked.response).await;
        let authorization = match challenge.filter(|_| asked.from_upstream) {
            None => {
                return Err(UpstreamError::Unauthorized { upstream: upstream.host.clone(), said: Said::default() });
            }
            Some(Challenge::Basic) => basic(&upstream.host, &credential)?,
            Some(Challenge::Bearer(bearer)) => {
                let (realm, trust) = token_service::realm(upstream, &bearer)?;
                if trust != Trust::Credentials {
                    return Err(UpstreamError::TokenService {
                        upstream: upstream.host.clone(),
                        problem: format!(
                            "{} is not listed among the upstream's token hosts, so it is not given credentials",
                            realm.host_str().unwrap_or_default()
                        ),
                        status: None,
                        retry_after: None,
                    });
                }
                let (exchange, policy) = (self.exchange.clone(), Arc::clone(upstream));
                token_service::fetch(exchange, policy, realm, bearer, Some(credential), None).await?.header.clone()
            }
        };
        let answered = self.ping(upstream, Some(&authorization)).await?;
        self.exchange.accepted(&upstream.host, answered, "/v2/").await.map(drop)
    }

    async fn ping(
        &self,
        upstream: &Arc<UpstreamPolicy>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, UpstreamError> {
        self.exchange.follow(upstream, Ask::ping(upstream), authorization, None).await
    }
}
