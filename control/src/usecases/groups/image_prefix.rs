//! The names of a group's images for clients. Only nodes know them: they report the URLs by which they are reached.

use roadstead_proto::{GroupPath, PROXY_INFIX};
use tracing::warn;
use url::Url;

use crate::{
    store::{Store, cluster::fact},
    usecases::{UseCaseError, UseCaseResult, group_at},
};

/// Longest URL of a node that is believed, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// The names of a group's images for clients.
#[derive(Debug, PartialEq, Eq)]
pub struct ImagePrefix {
    /// The registry port as clients reach it.
    pub registry_url: String,
    /// The server name for `docker login`: the host, with the port unless it is 443.
    pub server: String,
    /// The prefix of image names of the top-level group.
    pub top_group: String,
    /// The prefix of image names of the group itself.
    pub group: String,
}

/// Notes where clients reach a node; empty if the node does not know.
pub async fn note_registry_url(store: &Store, registry_url: &str) -> UseCaseResult<()> {
    if registry_url.is_empty() {
        return Ok(());
    }
    if registry_url.len() > MAX_URL_BYTES || parse(registry_url).is_none() {
        warn!(
            registry_url = registry_url.chars().take(MAX_URL_BYTES).collect::<String>(),
            "a node reported an unusable registry URL"
        );
        return Ok(());
    }
    let known = fact::get(&mut *store.read().await?, fact::REGISTRY_URL).await?;
    if known.as_deref() == Some(registry_url) {
        return Ok(());
    }
    let mut tx = store.write().await?;
    fact::put(&mut tx, fact::REGISTRY_URL, registry_url).await?;
    Ok(tx.commit().await?)
}

/// Returns the names of images of the group at `path`, at the node that was heard last.
pub async fn get(store: &Store, path: &GroupPath) -> UseCaseResult<ImagePrefix> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let url = fact::get(&mut tx, fact::REGISTRY_URL).await?.as_deref().and_then(parse);
    url.as_ref().and_then(|url| prefix_at(url, &group.path)).ok_or_else(|| {
        UseCaseError::Precondition(
            "no node has told yet where clients reach it; start one with --external-url".to_owned(),
        )
    })
}

fn parse(registry_url: &str) -> Option<Url> {
    Url::parse(registry_url).ok().filter(|url| url.host_str().is_some())
}

fn prefix_at(url: &Url, path: &GroupPath) -> Option<ImagePrefix> {
    let host = url.host_str()?;
    // Clients take a server without a port to mean 443, whatever the scheme.
    let server = match url.port_or_known_default()? {
        443 => host.to_owned(),
        port => format!("{host}:{port}"),
    };
    let top = path.as_str().split('/').next()?;
    Some(ImagePrefix {
        registry_url: url.as_str().trim_end_matches('/').to_owned(),
        top_group: format!("{server}/{top}/{PROXY_INFIX}"),
        group: format!("{server}/{path}/{PROXY_INFIX}"),
        server,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_part_of_the_server_unless_it_is_443() {
        for (url, server) in [
            ("https://proxy.example.com", "proxy.example.com"),
            ("https://proxy.example.com:443/", "proxy.example.com"),
            ("https://proxy.example.com:8443", "proxy.example.com:8443"),
            ("http://proxy.example.com", "proxy.example.com:80"),
            ("http://127.0.0.1:7070", "127.0.0.1:7070"),
            ("http://[::1]:7070", "[::1]:7070"),
        ] {
            let prefix = prefix_at(&url.parse().unwrap(), &"acme/back/ci".parse().unwrap()).unwrap();
            assert_eq!(prefix.server, server);
            assert_eq!(prefix.top_group, format!("{server}/acme/dependency_proxy/containers"));
            assert_eq!(prefix.group, format!("{server}/acme/back/ci/dependency_proxy/containers"));
        }
    }
}
