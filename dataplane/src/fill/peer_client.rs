//! Asking another node for what it is fetching.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, StatusCode, header};
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect::Policy};
use roadstead_proto::{Digest, UpstreamHost};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::{
    control::FollowFill,
    upstream::{BlobBody, MAX_MANIFEST_BYTES, UpstreamError, content_length, content_range},
};

/// Header that tells whether the right to the content is proven for the ticket's target: `yes` or `no`.
pub(crate) const PROVEN: HeaderName = HeaderName::from_static("roadstead-proven");

/// Timeout for a connection: nodes are near each other.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// Timeout for an answer's headers; a living node sends some after a second, even if it has nothing yet.
const ANSWER_TIME: Duration = Duration::from_millis(2_500);
/// Time for which a body may be silent before the node is asked again whether it lives.
const SILENCE: Duration = Duration::from_secs(3);
/// Idle connections are kept this long.
const IDLE: Duration = Duration::from_secs(30);

/// The client for other nodes could not be made.
#[derive(Debug, thiserror::Error)]
#[error("--peer-ca-file: {0}")]
pub struct PeerSetupError(reqwest::Error);

/// The reason for which another node does not serve a blob.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, or does not answer in time.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It has not what it is asked for, or does not take the ticket.
    #[error("it answers with status {0}")]
    Refused(StatusCode),
    /// The answer is not a manifest.
    #[error("it sends more than a manifest may have")]
    TooLarge,
}

impl PeerError {
    /// True if the node did not answer at all.
    pub const fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// The answer of another node.
pub enum Opened {
    /// The blob, from where it was asked for or before; and whether the right to it is proven.
    Body(BlobBody, bool),
    /// Nothing yet: upstream has not answered it.
    NotYet,
}

/// The answer of another node for a manifest.
pub enum OpenedManifest {
    /// All of it.
    Here(PeerManifest),
    /// Nothing yet: it is fetching it.
    NotYet,
}

/// A manifest that another node has; not verified.
#[derive(Clone, Debug)]
pub struct PeerManifest {
    /// Its bytes.
    pub body: Bytes,
    /// Its media type, if the right to it is proven.
    pub media_type: Option<String>,
}

/// The client for other nodes.
pub struct PeerClient {
    http: Client,
}

impl PeerClient {
    /// Trusts the certificates of `ca_pem` besides the public ones.
    pub fn new(ca_pem: &[u8]) -> Result<Self, PeerSetupError> {
        let builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")));
        let roots = Certificate::from_pem_bundle(ca_pem).map_err(PeerSetupError)?;
        let builder = if roots.is_empty() { builder } else { builder.tls_certs_merge(roots) };
        Ok(Self { http: builder.build().map_err(PeerSetupError)? })
    }

    /// Opens a blob at byte `from`. `upstream` is where it comes from in the end, for errors.
    pub async fn open(
        &self,
        follow: &FollowFill,
        digest: &Digest,
        from: u64,
        upstream: &UpstreamHost,
    ) -> Result<Opened, PeerError> {
        let mut request = self.ask(follow, "fills", digest);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = in_time(request.send()).await?;
        let (offset, total) = match response.status() {
            StatusCode::ACCEPTED => return Ok(Opened::NotYet),
            StatusCode::OK => (0, content_length(response.headers())),
            StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                Some((start, total)) if start == from => (start, total),
                _ => return Err(PeerError::Refused(StatusCode::PARTIAL_CONTENT)),
            },
            status => return Err(PeerError::Refused(status)),
        };
        let is_proven = says_proven(response.headers());
        let upstream = upstream.clone();
        let stream = stream::try_unfold(response, move |response| next_piece(response, upstream.clone())).boxed();
        Ok(Opened::Body(BlobBody { total, offset, etag: None, is_undecided: false, stream }, is_proven))
    }

    /// Asks for a manifest.
    pub async fn manifest(&self, follow: &FollowFill, digest: &Digest) -> Result<OpenedManifest, PeerError> {
        let mut response = in_time(self.ask(follow, "manifests", digest).send()).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::ACCEPTED => return Ok(OpenedManifest::NotYet),
            status => return Err(PeerError::Refused(status)),
        }
        let media_type = response.headers().get(header::CONTENT_TYPE).filter(|_| says_proven(response.headers()));
        let media_type = media_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(piece) = in_time(response.chunk()).await? {
            if (body.len() + piece.len()) as u64 > MAX_MANIFEST_BYTES {
                return Err(PeerError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(OpenedManifest::Here(PeerManifest { body: body.freeze(), media_type }))
    }

    fn ask(&self, follow: &FollowFill, kind: &str, digest: &Digest) -> RequestBuilder {
        let url = format!("{}/{kind}/{digest}", follow.peer_url.as_str().trim_end_matches('/'));
        self.http.get(url).bearer_auth(follow.ticket.expose_secret())
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, reqwest::Error>>) -> Result<T, PeerError> {
    match timeout(ANSWER_TIME, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(PeerError::Unreachable(error.without_url().to_string())),
        Err(_) => Err(PeerError::Unreachable("no answer in time".to_owned())),
    }
}

fn says_proven(headers: &HeaderMap) -> bool {
    headers.get(PROVEN).is_some_and(|value| value == "yes")
}

async fn next_piece(
    mut response: Response,
    upstream: UpstreamHost,
) -> Result<Option<(Bytes, Response)>, UpstreamError> {
    let reason = match timeout(SILENCE, response.chunk()).await {
        Ok(Ok(piece)) => return Ok(piece.map(|piece| (piece, response))),
        Ok(Err(error)) => error.without_url().to_string(),
        Err(_) => "it is silent".to_owned(),
    };
    Err(UpstreamError::Cut { upstream, reason: format!("another node that was followed: {reason}") })
}
