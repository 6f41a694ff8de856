//! User name and password as a header.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use roadstead_proto::UpstreamHost;
use secrecy::ExposeSecret;

use crate::control::Credential;
use crate::upstream::{UpstreamError, said::Said};

/// `Basic`, as RFC 7617 has it.
pub(crate) fn basic(upstream: &UpstreamHost, credential: &Credential) -> Result<HeaderValue, UpstreamError> {
    let pair = format!("{}:{}", credential.username(), credential.password().expose_secret());
    let mut header = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .map_err(|_| UpstreamError::Unauthorized { upstream: upstream.clone(), said: Said::default() })?;
    header.set_sensitive(true);
    Ok(header)
}
