//! From a URL and the environment to a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStoreScheme, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
};
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::bucket::Bucket;
use crate::storage::{StorageError, metrics::StorageMetrics};

/// Number of retries of a request, and their longest time.
const RETRIES: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(8);
/// Timeout for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Timeout for a pause in an answer, and for the acknowledgement of a part of an upload.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest search for credentials at a start.
const CREDENTIALS_TIME: Duration = Duration::from_secs(20);

/// The URL and the options of an object store. Credentials come from the environment, in the words that the providers' own
/// tools use (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStoreUrl {
    /// `s3://BUCKET/PREFIX`, `gs://…` or `az://…`.
    pub url: Url,
    /// Another S3 than Amazon's.
    pub endpoint: Option<Url>,
}

impl ObjectStoreUrl {
    /// Makes the client; nothing is asked of the store yet.
    pub fn bucket(&self, metrics: StorageMetrics) -> Result<Bucket, StorageError> {
        let refused = |why: object_store::Error| StorageError::Settings(why.to_string());
        let (scheme, prefix) =
            ObjectStoreScheme::parse(&self.url).map_err(|error| StorageError::Settings(error.to_string()))?;
        let (name, retry, options) = (self.url.to_string(), retry(), options());
        match scheme {
            ObjectStoreScheme::AmazonS3 => self.s3(AmazonS3Builder::from_env(), metrics),
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(self.url.as_str());
                let builder = builder.with_retry(retry).with_client_options(options);
                let store = Arc::new(builder.build().map_err(refused)?);
                Ok(Bucket::new(name, prefix, Arc::clone(&store), Some(store), metrics))
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(self.url.as_str());
                let builder = builder.with_retry(retry).with_client_options(options);
                let store = Arc::new(builder.build().map_err(refused)?);
                Ok(Bucket::new(name, prefix, Arc::clone(&store), Some(store), metrics))
            }
            other => Err(StorageError::Settings(format!("{other:?} is not supported"))),
        }
    }

    /// Fails if no credentials for the store can be found: neither in the environment, nor at the metadata service of a cloud's
    /// machine, which the clients turn to without being told.
    pub async fn check_credentials(&self) -> Result<(), StorageError> {
        let ObjectStoreScheme::AmazonS3 =
            ObjectStoreScheme::parse(&self.url).map_err(|error| StorageError::Settings(error.to_string()))?.0
        else {
            return Ok(());
        };
        let builder = AmazonS3Builder::from_env().with_url(self.url.as_str());
        if builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).is_some_and(|value| value == "true") {
            return Ok(());
        }
        let builder = builder.with_retry(RetryConfig { max_retries: 1, ..retry() });
        let store = builder.build().map_err(|why| StorageError::Settings(why.to_string()))?;
        let failed = match timeout(CREDENTIALS_TIME, store.credentials().get_credential()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(error = %failed, "no credentials for the object store");
        Err(StorageError::Settings(format!(
            "{}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them ({failed})",
            self.url
        )))
    }

    /// A client of S3, with the credentials that `builder` has.
    pub fn s3(&self, builder: AmazonS3Builder, metrics: StorageMetrics) -> Result<Bucket, StorageError> {
        let refused = |why: object_store::Error| StorageError::Settings(why.to_string());
        let (_, prefix) =
            ObjectStoreScheme::parse(&self.url).map_err(|error| StorageError::Settings(error.to_string()))?;
        let endpoint = self.endpoint.as_ref().map(Url::to_string).or_else(endpoint_of_environment);
        let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = builder.with_url(self.url.as_str()).with_retry(retry());
        // Not everything that speaks S3 can delete in bulk, and we delete one at a time.
        builder = builder.with_client_options(options().with_allow_http(plain)).with_disable_bulk_delete(true);
        if let Some(endpoint) = endpoint {
            // The one key that no variable of the environment outdoes.
            let endpoint = endpoint.trim_end_matches('/');
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        let store = Arc::new(builder.build().map_err(refused)?);
        Ok(Bucket::new(self.url.to_string(), prefix, Arc::clone(&store), Some(store), metrics))
    }
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() },
        max_retries: RETRIES,
        retry_timeout: RETRY_TIME,
    }
}

fn options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIME)
        .with_read_timeout(SILENCE)
        .with_timeout_disabled()
        .with_user_agent(HeaderValue::from_static(concat!("roadstead/", env!("CARGO_PKG_VERSION"))))
}

/// Amazon's tools know these two.
fn endpoint_of_environment() -> Option<String> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    read("AWS_ENDPOINT_URL_S3").or_else(|| read("AWS_ENDPOINT_URL")).or_else(|| read("AWS_ENDPOINT"))
}

/// Asks the store once. Settings that waiting cannot heal are an error. An unreachable store is not: a node starts, reports
/// in `/readyz` that it waits, and serves the content of its node cache.
pub async fn greet(bucket: &Bucket, url: &Url) -> Result<(), StorageError> {
    use object_store::Error;
    let settings = |why: String| Err(StorageError::Settings(format!("{url}: {why}")));
    let path = bucket.below(&["probe", &Uuid::now_v7().to_string()]);
    match bucket.greet(&path).await {
        Ok(()) => bucket.delete(&path).await,
        Err(Error::NotFound { .. }) => settings("there is no such bucket".to_owned()),
        Err(Error::PermissionDenied { source, .. } | Error::Unauthenticated { source, .. }) => {
            tracing::debug!(error = %source, "the object store refused");
            settings("the store refused the credentials, or they may not write to this bucket".to_owned())
        }
        Err(error) if is_refusal(&error.to_string()) => settings(error.to_string()),
        Err(error) => {
            tracing::warn!(%error, store = %url, "the object store does not answer yet");
            Ok(())
        }
    }
}

/// Returns whether the store's answer is a 4xx that waiting cannot heal. The client's errors name the status in their text only.
fn is_refusal(error: &str) -> bool {
    let Some((_, status)) = error.split_once("status code: ") else { return false };
    status.starts_with('4') && !["408", "425", "429"].iter().any(|passing| status.starts_with(passing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(url: &str) -> Result<Bucket, StorageError> {
        ObjectStoreUrl { url: url.parse().unwrap(), endpoint: None }.bucket(StorageMetrics::default())
    }

    #[tokio::test]
    async fn the_scheme_picks_the_provider_and_the_path_is_the_prefix() {
        for url in ["s3://name/a/b", "gs://name/a/b"] {
            assert_eq!(bucket(url).ok().unwrap().below(&["x"]).as_ref(), "a/b/x", "{url}");
        }
        assert_eq!(bucket("gs://name").ok().unwrap().below(&["x"]).as_ref(), "x");
    }

    #[tokio::test]
    async fn what_is_missing_in_the_environment_is_named() {
        let refused = bucket("az://container/prefix").err().unwrap();
        assert!(matches!(&refused, StorageError::Settings(why) if why.contains("Account")), "{refused}");
        let refused = bucket("ftp://host/path").err().unwrap();
        assert!(matches!(&refused, StorageError::Settings(why) if why.contains("ftp://host/path")), "{refused}");
    }
}
