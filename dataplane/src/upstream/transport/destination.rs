//! Where requests on behalf of an upstream may go: to itself, to what its administrator listed, to public addresses,
//! and to addresses of its own kind. Whoever answers for an upstream must not make this node reach into the network
//! behind it, by a redirect or as a token service.
//!
//! Names are judged when a connection is made, by the very addresses that are connected to: a name that means something
//! else a moment later gains nothing. Behind a proxy (`HTTPS_PROXY`) names are the proxy's to resolve, and to judge;
//! addresses in URLs are judged here all the same.

use std::{
    env, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::Reach;
use crate::control::UpstreamPolicy;

/// A place that requests must not go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is at an address that is not public, and not listed for this upstream")]
pub(crate) struct UnsafeAddress {
    pub(crate) host: String,
}

/// Looks a name up.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's names.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// The rules for one upstream.
pub(crate) struct Destinations {
    own: Option<Host>,
    /// As administrators wrote them, with or without port.
    listed: Vec<String>,
    proxies: Vec<String>,
    lookup: Lookup,
}

impl Destinations {
    pub(crate) fn new(upstream: &UpstreamPolicy, lookup: Lookup) -> Self {
        let listed = upstream.redirect_hosts.iter().chain(&upstream.token_hosts);
        Self {
            own: upstream.url.host().map(|host| host.to_owned()),
            listed: listed.map(|host| host.to_ascii_lowercase()).collect(),
            proxies: proxies(|name| env::var(name).ok()),
            lookup,
        }
    }

    /// Refuses what can be judged by the URL alone; names are judged on connecting.
    pub(crate) async fn check(&self, url: &Url) -> Result<(), UnsafeAddress> {
        let Some(host) = url.host() else { return Err(UnsafeAddress { host: url.to_string() }) };
        let host = host.to_owned();
        if self.own.as_ref() == Some(&host) || self.lists(&host.to_string(), url.port_or_known_default()) {
            return Ok(());
        }
        let address = match &host {
            Host::Ipv4(address) => IpAddr::from(*address),
            Host::Ipv6(address) => IpAddr::from(*address),
            // What connecting trusts by its name alone must not be reached under another port, nor by a redirect.
            Host::Domain(name) if self.names(name) => return Err(UnsafeAddress { host: host.to_string() }),
            Host::Domain(_) => return Ok(()),
        };
        if Reach::of(address) == Reach::Public || self.own_reach().await.contains(&Reach::of(address)) {
            return Ok(());
        }
        Err(UnsafeAddress { host: host.to_string() })
    }

    /// The addresses of a name that may be connected to.
    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut found = (self.lookup)(name.to_owned()).await?;
        let is_own = matches!(&self.own, Some(Host::Domain(own)) if own == name);
        if is_own || self.names(name) || found.is_empty() {
            return Ok(found);
        }
        if found.iter().any(|address| Reach::of(address.ip()) != Reach::Public) {
            let own = self.own_reach().await;
            found.retain(|address| {
                let reach = Reach::of(address.ip());
                reach == Reach::Public || own.contains(&reach)
            });
        }
        if found.is_empty() { Err(UnsafeAddress { host: name.to_owned() }.into()) } else { Ok(found) }
    }

    /// What kinds of address the upstream itself has, such that are nobody's left out. None if any of them is public: whoever
    /// runs a public upstream also runs its name, and must not open this network by adding an address to it.
    async fn own_reach(&self) -> Vec<Reach> {
        let addresses = match &self.own {
            Some(Host::Ipv4(address)) => vec![IpAddr::from(*address)],
            Some(Host::Ipv6(address)) => vec![IpAddr::from(*address)],
            Some(Host::Domain(name)) => {
                let found = (self.lookup)(name.clone()).await.unwrap_or_default();
                found.into_iter().map(|address| address.ip()).collect()
            }
            None => Vec::new(),
        };
        let reach: Vec<_> = addresses.into_iter().map(Reach::of).collect();
        if reach.contains(&Reach::Public) {
            return Vec::new();
        }
        reach.into_iter().filter(|reach| *reach != Reach::Special).collect()
    }

    /// Whether an administrator listed this host, for this port where the list says one.
    fn lists(&self, host: &str, port: Option<u16>) -> bool {
        let with_port = port.map(|port| format!("{host}:{port}"));
        self.listed.iter().any(|listed| listed == host || Some(listed) == with_port.as_ref())
    }

    /// Whether a name is connected to wherever it is: it is listed, for whatever port, or a proxy's.
    fn names(&self, name: &str) -> bool {
        let without_port = |listed: &str| listed.rsplit_once(':').map(|(host, _)| host == name);
        let is_listed = self.listed.iter().any(|listed| listed == name || without_port(listed) == Some(true));
        is_listed || self.proxies.iter().any(|proxy| proxy == name)
    }
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
mod tests {
    use super::*;

    /// `private` is in the organisation's network, `local` on this machine, `both` on this machine and in the world,
    /// everything else is public.
    fn lookup() -> Lookup {
        Arc::new(|name| {
            let addresses: &[&str] = match name.as_str() {
                "private" | "listed" | "proxy" => &["10.0.0.1:0"],
                "local" => &["127.0.0.1:0", "[::1]:0"],
                "both" => &["127.0.0.1:0", "8.8.8.8:0"],
                "metadata" => &["169.254.169.254:0"],
                "nowhere" => return Box::pin(async { Err(io::Error::other("no such name")) }),
                _ => &["1.1.1.1:0"],
            };
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            Box::pin(async move { Ok(addresses) })
        })
    }

    fn of(url: &str) -> Destinations {
        let upstream = UpstreamPolicy {
            host: "registry.example".parse().unwrap(),
            url: url.parse().unwrap(),
            token_hosts: vec!["10.0.0.9".to_owned()],
            ca_pem: String::new(),
            redirect_hosts: vec!["Listed:8443".to_owned(), "192.168.7.7".to_owned()],
            reserve_percent: 10,
        };
        Destinations { proxies: vec!["proxy".to_owned()], ..Destinations::new(&upstream, lookup()) }
    }

    /// Whether a request would get through, by its URL and by what is connected to.
    async fn allows(destinations: &Destinations, url: &str) -> bool {
        let url: Url = url.parse().unwrap();
        let reachable = match url.host().unwrap() {
            Host::Domain(name) => destinations.addresses(name).await.is_ok(),
            _ => true,
        };
        destinations.check(&url).await.is_ok() && reachable
    }

    #[tokio::test]
    async fn requests_stay_out_of_networks_that_the_upstream_is_not_in() {
        let (world, inside, here) = (of("https://hub.example"), of("https://private"), of("http://127.0.0.1:5000"));
        for (url, from_world, from_inside, from_here) in [
            ("https://cdn.example/x", true, true, true),
            ("https://1.1.1.1/x", true, true, true),
            ("https://private/x", false, true, false),
            ("https://10.0.0.1/x", false, true, false),
            ("https://[::ffff:10.0.0.1]/x", false, true, false),
            ("https://local/x", false, false, true),
            ("https://127.1/x", false, false, true),
            ("https://2130706433/x", false, false, true),
            ("https://[::1]/x", false, false, true),
            ("https://both/x", true, true, true),
            ("https://metadata/x", false, false, false),
            ("http://169.254.169.254/latest/meta-data", false, false, false),
            ("https://0.0.0.0/x", false, false, false),
            ("https://[::]/x", false, false, false),
            ("https://100.64.0.1/x", false, false, false),
            ("https://224.0.0.1/x", false, false, false),
            ("https://listed:8443/x", true, true, true),
            ("https://listed/x", false, false, false),
            ("https://192.168.7.7:1/x", true, true, true),
            ("https://10.0.0.9/token", true, true, true),
            ("http://proxy:3128/x", false, false, false),
            ("https://nowhere/x", false, false, false),
        ] {
            let allowed = (allows(&world, url).await, allows(&inside, url).await, allows(&here, url).await);
            assert_eq!(allowed, (from_world, from_inside, from_here), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_connected_to_at_its_allowed_addresses_only() {
        let found = of("https://hub.example").addresses("both").await.unwrap();
        assert_eq!(found, ["8.8.8.8:0".parse().unwrap()]);
        let own = of("https://both").addresses("both").await.unwrap();
        assert_eq!(own.len(), 2, "where the upstream is was for its administrator to say");
        assert!(
            !allows(&of("https://both"), "http://127.0.0.1/x").await,
            "a public upstream opens nothing by its own name"
        );
        let refused = of("https://hub.example").addresses("metadata").await.unwrap_err();
        assert!(refused.is::<UnsafeAddress>(), "{refused}");
        assert!(of("https://hub.example").addresses("proxy").await.is_ok(), "the proxy itself is connected to");
    }

    #[test]
    fn proxies_are_found_in_the_environment() {
        let found = proxies(|name| match name {
            "HTTPS_PROXY" => Some("http://user:pass@one.example:3128".to_owned()),
            "http_proxy" => Some("two.example:3128".to_owned()),
            _ => None,
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&"one.example".to_owned()) && found.contains(&"two.example".to_owned()), "{found:?}");
    }
}
