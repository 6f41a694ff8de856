//! URLs, addresses and networks.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use roadstead_proto::GroupPath;
use url::Url;

/// Parses an http or https URL without credentials, query and fragment. The error does not repeat the text.
pub fn http_url(text: &str) -> Result<Url, String> {
    let expected = "expected https://HOST[:PORT] or http://HOST[:PORT]";
    let url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    let is_bare = url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare && is_anonymous {
        return Ok(url);
    }
    Err(expected.to_owned())
}

/// Parses the URL of a server, without a path: `https://HOST[:PORT]` or `http://HOST[:PORT]`.
pub fn base_url(text: &str) -> Result<Url, String> {
    http_url(text).and_then(|url| match url.path() {
        "/" => Ok(url),
        _ => Err("expected https://HOST[:PORT] or http://HOST[:PORT], without a path".to_owned()),
    })
}

/// Parses an address to listen on.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected IP:PORT, for example 127.0.0.1:7070, 0.0.0.0:7070 or [::1]:7070".to_owned())
}

/// Parses a network, or an address, which is a network of one.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse().map(|address: IpAddr| IpNet::from(address));
    address.or_else(|_| text.parse()).map_err(|_| "expected ADDRESS or ADDRESS/BITS, for example 10.0.0.0/8".to_owned())
}

/// Parses `HOST=PATH` or `HOST:PORT=PATH`.
pub fn mirror_host(text: &str) -> Result<(String, GroupPath), String> {
    let (host, path) = text.split_once('=').ok_or("expected HOST=PATH, for example mirror.example=acme/hub")?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(format!("{host:?} is not a host name"));
    }
    Ok((host.to_owned(), path.parse().map_err(|error| format!("{error}"))?))
}

#[cfg(test)]
mod tests;
