//! The registry port's address, as challenges name it and as the control plane shows it to people.
//!
//! A port that is the scheme's own is left out, so that a client that writes `HOST:443` is told the same as one that
//! writes `HOST`.

use std::net::SocketAddr;

use http::{header, request::Parts, uri::Authority};
use ipnet::IpNet;
use url::Url;

use crate::listener::{Connection, forwarded};

/// Returns the address for challenges to a request: `external`, or else the one that the client asked, as `trusted`
/// proxies in front tell it. Without `/` at the end; `None` if the request names no host.
pub fn of_request(external: Option<&Url>, trusted: &[IpNet], head: &Parts) -> Option<String> {
    if let Some(url) = external {
        return Some(without_slash(url));
    }
    let connection = head.extensions.get::<Connection>();
    let told = connection.and_then(|connection| forwarded(connection.peer.ip(), &head.headers, trusted));
    let told = told.unwrap_or_default();
    let scheme = told.scheme.unwrap_or_else(|| connection.map_or("http", Connection::scheme));
    let authority = match (told.host, head.uri.authority()) {
        (Some(host), _) => host,
        (None, Some(authority)) => authority.clone(),
        (None, None) => head.headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok()?,
    };
    let own_port = if scheme == "https" { 443 } else { 80 };
    // Neither what precedes an `@`, which is nothing of a host's, nor a port that says nothing.
    Some(match authority.port_u16().or(told.port).filter(|port| *port != own_port) {
        Some(port) => format!("{scheme}://{}:{port}", authority.host()),
        None => format!("{scheme}://{}", authority.host()),
    })
}

/// Returns the address that a node at `listen` reports: `external`, or else `listen`; empty for an address that clients
/// cannot use (0.0.0.0), because the host's name may lead anywhere.
pub fn of_node(external: Option<&Url>, listen: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    match external {
        Some(url) => without_slash(url),
        None if listen.ip().is_unspecified() => String::new(),
        None => Url::parse(&format!("{scheme}://{listen}")).map(|url| without_slash(&url)).unwrap_or_default(),
    }
}

/// `Url` has left out the scheme's own port.
fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
