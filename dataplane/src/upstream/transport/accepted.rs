//! Telling successes from errors, with the upstream's own words on the latter.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use reqwest::Response;
use roadstead_proto::UpstreamHost;
use tokio::time::timeout;

use super::{exchange::Exchange, redirect::Answer};
use crate::upstream::{
    UpstreamError,
    header::retry_after,
    said::{MAX_BODY_BYTES, Said},
};

/// The time that the body of an error is waited for: the status alone will do.
const SAID_TIME: Duration = Duration::from_secs(1);

impl Exchange {
    /// Returns a successful answer, or fails with what the status means. A refusal from where the upstream redirected to
    /// says nothing about the credentials. `content` is what was asked for.
    pub(crate) async fn accepted(
        &self,
        upstream: &UpstreamHost,
        answer: Answer,
        content: &str,
    ) -> Result<Response, UpstreamError> {
        let Answer { response, from_upstream } = answer;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let said = if from_upstream { self.said(upstream, response).await } else { Said::default() };
        let upstream = upstream.clone();
        Err(match status {
            StatusCode::NOT_FOUND => UpstreamError::NotFound { upstream, content: content.to_owned() },
            StatusCode::UNAUTHORIZED if from_upstream => UpstreamError::Unauthorized { upstream, said },
            StatusCode::FORBIDDEN if from_upstream => UpstreamError::Forbidden { upstream, said },
            StatusCode::TOO_MANY_REQUESTS => UpstreamError::RateLimited { upstream, retry_after },
            _ => UpstreamError::Status { upstream, status: status.as_u16(), said, retry_after },
        })
    }

    /// As [`Self::accepted`], for answers that can only be whole: no other success has all of the content.
    pub(crate) async fn whole_content(
        &self,
        upstream: &UpstreamHost,
        answer: Answer,
        content: &str,
    ) -> Result<Response, UpstreamError> {
        let response = self.accepted(upstream, answer, content).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let problem = format!("status {}", response.status().as_u16());
        Err(UpstreamError::BadAnswer { upstream: upstream.clone(), problem })
    }

    /// The upstream's words on an error, as far as they arrive.
    pub(crate) async fn said(&self, upstream: &UpstreamHost, response: Response) -> Said {
        let body = timeout(SAID_TIME, self.beginning(upstream, response, MAX_BODY_BYTES)).await;
        Said::read(&body.unwrap_or_default())
    }
}
