//! A node's settings, checked whole before a port is bound.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use url::Url;

use crate::{
    listener::{PortSettings, ServerTls},
    mirror::Mirrors,
    node_id::NodeId,
    peer::PeerConfig,
    storage::ObjectStoreUrl,
    trail::AccessLog,
    upstream::UpstreamTimeouts,
};

/// A node's settings.
#[derive(Clone, Debug)]
pub struct DataplaneConfig {
    /// Address of registry traffic.
    pub listen: SocketAddr,
    /// The port for other nodes of the cluster; `None` for a single node.
    pub peers: Option<PeerConfig>,
    /// Certificate and key for TLS; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// URL in the challenge; without one, the request's own scheme and host.
    pub external_url: Option<Url>,
    /// The limits of the registry port and the port for other nodes.
    pub port: PortSettings,
    /// Groups that image names without a group mean.
    pub mirrors: Mirrors,
    /// The URL of a blob store.
    pub storage: StorageUrl,
    /// Bound on what is kept on this node's disk of blobs in an object store, in bytes; 0 for none.
    pub node_cache_bytes: u64,
    /// True if clients are redirected to the object store for blobs.
    pub redirect_blobs: bool,
    /// True if clients may pull without sign-in, from groups that allow it.
    pub allow_anonymous_pulls: bool,
    /// Time for which the last snapshot is valid without word from the control plane.
    pub max_control_outage: Duration,
    /// Longest wait of a cached tag for upstream before it is served unconfirmed.
    pub revalidate_timeout: Duration,
    /// Bounds on talking to upstreams.
    pub upstream: UpstreamTimeouts,
    /// Folder of the node's own files: its id, its last snapshot. Must be there.
    pub data_dir: PathBuf,
    /// Rate at which stored content is read and hashed in the background, in bytes per second; 0 disables it.
    pub scrub_rate: u64,
    /// The node's name in logs of the control plane.
    pub node_name: String,
    /// Which requests have a line in the log.
    pub access_log: AccessLog,
    /// Most requests waiting for their answer's headers at a time; more are refused.
    pub max_requests: usize,
}

impl Default for DataplaneConfig {
    /// The documented defaults, on loopback.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            peers: None,
            tls: None,
            external_url: None,
            port: PortSettings::default(),
            mirrors: Mirrors::default(),
            storage: StorageUrl::Local("roadstead-data/blobs".into()),
            node_cache_bytes: 10 * 1024 * 1024 * 1024,
            redirect_blobs: false,
            allow_anonymous_pulls: true,
            max_control_outage: Duration::from_secs(15 * 60),
            revalidate_timeout: Duration::from_secs(2),
            upstream: UpstreamTimeouts::default(),
            data_dir: "roadstead-data".into(),
            scrub_rate: 20 * 1024 * 1024,
            node_name: "roadstead".to_owned(),
            access_log: AccessLog::default(),
            max_requests: 4_000,
        }
    }
}

/// The URL of a blob store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageUrl {
    /// A local folder.
    Local(PathBuf),
    /// A bucket, or a prefix of one, which several nodes may share.
    Object(ObjectStoreUrl),
}

impl StorageUrl {
    /// Names the store, so that nodes which share one are known to. A local folder is one node's own.
    pub(crate) fn id(&self, node_id: &NodeId) -> String {
        match self {
            Self::Local(_) => format!("node:{node_id}"),
            Self::Object(store) => store.url.as_str().trim_end_matches('/').to_owned(),
        }
    }
}

/// The text names no place for blobs that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStorageUrl {
    /// The scheme is unknown.
    #[error("expected file:///ABSOLUTE/PATH, s3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or az://CONTAINER[/PREFIX]")]
    Scheme,
    /// The path is not absolute, or there is a host.
    #[error("a file URL needs an absolute path and no host: file:///ABSOLUTE/PATH")]
    Path,
    /// The bucket is missing, or the URL has a part that is not allowed in that of a bucket.
    #[error("a bucket's URL is a name and at most a prefix, without credentials, port or query: s3://BUCKET[/PREFIX]")]
    Bucket,
    /// The providers have no buckets of this name.
    #[error(
        "{0:?} is not the name of a bucket: 3 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends"
    )]
    BucketName(String),
}

/// Returns whether a bucket can have this name: the rules that Amazon S3, Google Cloud Storage and Azure share, with the dots of the
/// first and the underscores of the second.
fn is_bucket_name(scheme: &str, name: &str) -> bool {
    let is_allowed = |c: u8| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.') || (c == b'_' && scheme == "gs")
    };
    let is_edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().copied().all(is_allowed)
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && !name.contains("..")
}

impl FromStr for StorageUrl {
    type Err = InvalidStorageUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStorageUrl> {
        if let Some(path) = text.strip_prefix("file://") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::Local(path.to_owned())) } else { Err(InvalidStorageUrl::Path) };
        }
        if !["s3://", "gs://", "az://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(InvalidStorageUrl::Scheme);
        }
        let url = Url::parse(text).map_err(|_| InvalidStorageUrl::Bucket)?;
        let bare = url.username().is_empty() && url.password().is_none() && url.port().is_none();
        let name = url.host_str().unwrap_or_default();
        if bare && !name.is_empty() && !is_bucket_name(url.scheme(), name) {
            return Err(InvalidStorageUrl::BucketName(name.to_owned()));
        }
        if bare && !name.is_empty() && url.query().is_none() && url.fragment().is_none() && !url.path().contains("//") {
            Ok(Self::Object(ObjectStoreUrl { url, endpoint: None }))
        } else {
            Err(InvalidStorageUrl::Bucket)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_for_blobs_are_told_apart() {
        let parse = |text: &str| text.parse::<StorageUrl>();
        assert_eq!(parse("file:///var/blobs"), Ok(StorageUrl::Local("/var/blobs".into())));
        for good in ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "gs://bucket/a", "az://container"] {
            let Ok(StorageUrl::Object(store)) = parse(good) else { panic!("{good}") };
            assert_eq!(store.url.as_str(), good);
        }
        for bad in
            ["s3://", "s3:///prefix", "s3://key:secret@bucket", "s3://bucket:80/", "s3://bucket?x=y", "s3://bucket//c"]
        {
            assert_eq!(parse(bad), Err(InvalidStorageUrl::Bucket), "{bad}");
        }
        for bad in ["Bad_Bucket", "b", "under_score", "-edge", "edge.", "two..dots", &"x".repeat(64)] {
            assert_eq!(parse(&format!("s3://{bad}/x")), Err(InvalidStorageUrl::BucketName(bad.to_owned())), "{bad}");
        }
        assert!(parse("gs://under_score").is_ok());
        for bad in ["", "bucket", "http://bucket", "S3://bucket", "ftp://x"] {
            assert_eq!(parse(bad), Err(InvalidStorageUrl::Scheme), "{bad}");
        }
        assert_eq!(parse("file://relative"), Err(InvalidStorageUrl::Path));
    }
}
