//! How clients name a group's images, which only nodes know: they tell where they are reached.

use std::sync::PoisonError;

use roadstead_proto::{GroupPath, PROXY_INFIX};
use tracing::warn;
use url::Url;

use super::{Plane, PlaneError, PlaneResult, group_at};

/// How clients name a group's images.
#[derive(Debug, PartialEq, Eq)]
pub struct ImagePrefix {
    /// The registry port as clients reach it.
    pub registry_url: String,
    /// What `docker login` takes: host, and the port unless it is 443.
    pub server: String,
    /// What the names of images of the top-level group begin with.
    pub top_group: String,
    /// What the names of images of the group itself begin with.
    pub group: String,
}

impl Plane {
    /// Notes where clients reach a node; empty if the node does not know.
    pub fn heard_of(&self, registry_url: &str) {
        if registry_url.is_empty() {
            return;
        }
        match Url::parse(registry_url) {
            Ok(url) if url.host_str().is_some() => {
                *self.registry_url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
            }
            _ => warn!(registry_url, "a node tells an unusable URL of itself"),
        }
    }

    /// How clients name images of the group at `path`, at the node that was heard last.
    pub async fn image_prefix(&self, path: &GroupPath) -> PlaneResult<ImagePrefix> {
        let group = group_at(&mut *self.store.read().await?, path).await?;
        let url = self.registry_url.lock().unwrap_or_else(PoisonError::into_inner).clone();
        url.as_ref().and_then(|url| prefix_at(url, &group.path)).ok_or_else(|| {
            PlaneError::Precondition(
                "no node has told yet where clients reach it; start one with --external-url".to_owned(),
            )
        })
    }
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
