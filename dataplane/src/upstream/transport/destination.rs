//! The destinations that requests on behalf of an upstream may have: to its own host and port, to public addresses, and to hosts and ports
//! that its administrator listed. Whoever answers for an upstream must not make this node reach into the network behind it,
//! by a redirect or as a token service: not even into the upstream's own network, nor to another port of its host.
//!
//! Names are judged when a connection is made, by the very addresses that are connected to: a name that resolves to something
//! else a moment later gains nothing. Behind a proxy (`HTTPS_PROXY`) names are the proxy's to resolve, and to judge;
//! addresses in URLs are judged here all the same.

use std::{env, io, net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::Reach;
use crate::{control::UpstreamPolicy, upstream::error::UnsafeAddress};

/// Looks a name up.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's names.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// The rules for one upstream.
pub(crate) struct Destinations {
    own: Url,
    /// Hosts as administrators wrote them, with a port or without.
    listed: Vec<String>,
    proxies: Vec<String>,
    lookup: Lookup,
}

impl Destinations {
    pub(crate) fn new(upstream: &UpstreamPolicy, lookup: Lookup) -> Self {
        let listed = upstream.redirect_hosts.iter().chain(&upstream.token_hosts);
        Self {
            own: upstream.url.clone(),
            listed: listed.map(|host| host.to_ascii_lowercase()).collect(),
            proxies: proxies(|name| env::var(name).ok()),
            lookup,
        }
    }

    /// Refuses what can be judged by the URL alone; other names are judged on connecting.
    pub(crate) async fn check(&self, url: &Url) -> Result<(), UnsafeAddress> {
        let refused = || UnsafeAddress { host: place(url) };
        if self.is_own(url) || lists(&self.listed, url) {
            return Ok(());
        }
        let is_public = match url.host().ok_or_else(refused)? {
            Host::Ipv4(address) => Reach::of(address.into()) == Reach::Public,
            Host::Ipv6(address) => Reach::of(address.into()) == Reach::Public,
            // Names that are connected to without looking at their addresses must not be reached under another port.
            Host::Domain(name) if self.trusts(name) => {
                let found = (self.lookup)(name.to_owned()).await.unwrap_or_default();
                !found.is_empty() && found.iter().all(|address| Reach::of(address.ip()) == Reach::Public)
            }
            Host::Domain(_) => true,
        };
        if is_public { Ok(()) } else { Err(refused()) }
    }

    /// The addresses of a name that may be connected to.
    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut found = (self.lookup)(name.to_owned()).await?;
        if self.trusts(name) || found.is_empty() {
            return Ok(found);
        }
        found.retain(|address| Reach::of(address.ip()) == Reach::Public);
        if found.is_empty() { Err(UnsafeAddress { host: name.to_owned() }.into()) } else { Ok(found) }
    }

    /// Returns whether a URL is at the upstream's own host and port, or at the same host's usual port for https instead of http.
    fn is_own(&self, url: &Url) -> bool {
        let ports = (self.own.port_or_known_default(), url.port_or_known_default());
        self.own.host() == url.host() && (ports.0 == ports.1 || ports == (Some(80), Some(443)))
    }

    /// Returns whether a name is connected to wherever it is: it is the upstream's own, listed for whatever port, or a proxy's.
    fn trusts(&self, name: &str) -> bool {
        let without_port = |listed: &str| listed.rsplit_once(':').map(|(host, _)| host == name);
        let is_listed = self.listed.iter().any(|listed| listed == name || without_port(listed) == Some(true));
        self.own.host() == Some(Host::Domain(name)) || is_listed || self.proxies.iter().any(|proxy| proxy == name)
    }
}

/// Host and port of a URL, as administrators list them.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Returns whether a list of hosts names a URL's host: with its port, or without one where the port is the scheme's usual one.
pub(crate) fn lists(hosts: &[String], url: &Url) -> bool {
    let (Some(host), with_port) = (url.host_str(), place(url)) else { return false };
    let is_usual_port = url.port().is_none();
    hosts
        .iter()
        .any(|listed| is_usual_port && listed.eq_ignore_ascii_case(host) || listed.eq_ignore_ascii_case(&with_port))
}

/// Host names of the proxies that the environment names.
fn proxies(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let urls = names.into_iter().filter_map(variable).filter_map(|value| {
        Url::parse(&value).ok().filter(Url::has_host).or_else(|| Url::parse(&format!("http://{value}")).ok())
    });
    urls.filter_map(|url| url.host_str().map(str::to_owned)).collect()
}

/// Resolves names by the rules.
pub(crate) struct Resolver(pub(crate) Arc<Destinations>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let destinations = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = destinations.addresses(&name.as_str().to_ascii_lowercase()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
