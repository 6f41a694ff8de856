//! Reads the headers in which proxies in front describe a request: its client, and the scheme, host and port that the
//! client used.
//!
//! Only trusted proxies are believed, and of lists only what they added themselves: each hop is known by what the next
//! one, if that is trusted, says of it. `X-Forwarded-*` counts before `Forwarded` (RFC 7239), which a proxy that sets the
//! others may pass on as the client wrote it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, uri::Authority};
use ipnet::IpNet;

const FORWARDED: &str = "forwarded";
const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
const HOST: &str = "x-forwarded-host";
const PORT: &str = "x-forwarded-port";

/// The address at which the client asked the outermost trusted proxy. Parts that the proxy did not tell are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `https` or `http`.
    pub scheme: Option<&'static str>,
    /// The host, and its port if the client wrote one.
    pub host: Option<Authority>,
    /// The port that the proxy was asked at.
    pub port: Option<u16>,
}

/// Returns the client's address for a request with these headers on a connection from `peer`.
pub fn source_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    walk(peer, headers, trusted).0
}

/// Returns the address at which the client asked the proxies in front; `None` without a trusted one.
pub fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<Forwarded> {
    let (_, proxies) = walk(peer, headers, trusted);
    if proxies == 0 {
        return None;
    }
    // Of a list the trusted proxies added the last entries, and the outermost of them the first of those.
    let outermost = |values: Vec<&str>| values.iter().rev().take(proxies).next_back().map(|value| (*value).to_owned());
    let of = |name: &str| outermost(list(headers, name).collect());
    let is_old_style = [FOR, PROTO, HOST, PORT].iter().any(|name| headers.contains_key(*name));
    let (proto, host, port) = match is_old_style {
        true => (of(PROTO), of(HOST), of(PORT)),
        false => {
            let of =
                |name| outermost(list(headers, FORWARDED).map(|hop| pair(hop, name).unwrap_or_default()).collect());
            (of("proto"), of("host"), None)
        }
    };
    let scheme = proto.and_then(|proto| ["https", "http"].into_iter().find(|known| proto.eq_ignore_ascii_case(known)));
    let host = host.filter(|host| !host.is_empty()).and_then(|host| host.parse().ok());
    Some(Forwarded { scheme, host, port: port.and_then(|port| port.parse().ok()) })
}

/// The client, and how many trusted proxies stand between.
fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> (IpAddr, usize) {
    let mut client = peer.to_canonical();
    let mut proxies = 0;
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&client) {
        return (client, 0);
    }
    let hops: Vec<Option<IpAddr>> = match headers.contains_key(FOR) {
        true => list(headers, FOR).map(address).collect(),
        false => list(headers, FORWARDED).map(|hop| pair(hop, "for").and_then(address)).collect(),
    };
    let mut hops = hops.into_iter().rev();
    while is_trusted(&client) {
        proxies += 1;
        match hops.next() {
            Some(Some(hop)) => client = hop,
            _ => break,
        }
    }
    (client, proxies)
}

/// The elements of a header's list, over all its lines.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(',')).map(str::trim)
}

/// A parameter of one `Forwarded` element, without its quotes.
fn pair<'a>(hop: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// An address; some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
