//! Settings of the blob store.

use std::path::{self, Path};

use clap::Args;
use roadstead_dataplane::StorageUrl;

use super::refuse::{bad, without_credentials};
use crate::{
    failure::Failure,
    value_parsers::{http_url, size},
};

/// Flags of the blob store.
#[derive(Debug, Args)]
#[command(next_help_heading = "Blob store")]
pub(super) struct StorageFlags {
    /// Blob store: file:///ABSOLUTE/PATH, s3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or az://CONTAINER[/PREFIX] (the last two
    /// are untested); credentials come from AWS_*, GOOGLE_* or AZURE_* variables [default: file://DIR/blobs]
    #[arg(long, env = "ROADSTEAD_STORAGE", value_name = "URL")]
    storage: Option<String>,
    /// Endpoint of an S3 store other than Amazon's, for example http://127.0.0.1:9000 [default: AWS_ENDPOINT_URL]
    #[arg(long, env = "ROADSTEAD_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Maximum size of this node's local cache of the object store; 0 disables it
    #[arg(long, env = "ROADSTEAD_NODE_CACHE", default_value = "10GiB", value_name = "SIZE", value_parser = size)]
    pub node_cache: u64,
    /// Redirect clients to the object store for blobs, by URLs that expire after minutes
    #[arg(long, env = "ROADSTEAD_REDIRECT_BLOBS", value_name = "true|false", default_value = "false")]
    #[arg(num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub redirect_blobs: bool,
    /// Bytes per second at which stored blobs are verified in the background; 0 disables it
    #[arg(long, env = "ROADSTEAD_SCRUB_RATE", default_value = "20MiB", value_name = "SIZE", value_parser = size)]
    pub scrub_rate: u64,
}

impl StorageFlags {
    /// Returns the store that the flags name, or the one in the data folder.
    pub(super) fn url(&self, data_dir: &Path) -> Result<StorageUrl, Failure> {
        let endpoint = self.s3_endpoint.as_deref();
        let url = match &self.storage {
            Some(text) => storage_url("--storage", text, endpoint)?,
            None => {
                let absolute =
                    path::absolute(data_dir).map_err(|error| bad("--data-dir", data_dir.display(), error))?;
                StorageUrl::Local(absolute.join("blobs"))
            }
        };
        match (&url, endpoint) {
            (StorageUrl::Local(_), _) if self.redirect_blobs => {
                Err(bad("--redirect-blobs", true, "needs --storage s3://…, gs://… or az://…"))
            }
            (StorageUrl::Object(store), _) if store.url.scheme() == "s3" => Ok(url),
            (_, Some(endpoint)) => Err(bad("--s3-endpoint", endpoint, "needs --storage s3://BUCKET[/PREFIX]")),
            _ => Ok(url),
        }
    }
}

/// Parses the URL of a store, and adds the endpoint to an S3 store.
pub fn storage_url(flag: &str, text: &str, s3_endpoint: Option<&str>) -> Result<StorageUrl, Failure> {
    // The error may be about a password in it.
    let mut storage = text.parse().map_err(|error| bad(flag, without_credentials(text), error))?;
    if let (StorageUrl::Object(store), Some(endpoint)) = (&mut storage, s3_endpoint)
        && store.url.scheme() == "s3"
    {
        let url = http_url(endpoint).map_err(|error| bad("--s3-endpoint", without_credentials(endpoint), error))?;
        store.endpoint = Some(url);
    }
    Ok(storage)
}
