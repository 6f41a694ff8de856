//! Where a request comes from, for limits on failed sign-ins and for the audit: the connection's other end, or what a
//! trusted proxy says it forwarded.
//!
//! What clients say of themselves counts for nothing: of `X-Forwarded-For` only the entries that trusted proxies added
//! are read, from the last one on.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of whoever sent a request with these headers on a connection from `peer`.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(address);
    // Each hop is known by what the next one, if we trust that, says of it.
    while is_trusted(&client) {
        match hops.next() {
            Some(Some(hop)) => client = hop,
            _ => break,
        }
    }
    client
}

/// An entry; some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxys_counts() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).to_vec();
        for (peer, lines, expected) in [
            ("192.0.2.1", vec![], "192.0.2.1"),
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["203.0.113.9, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
            ("10.0.0.1", vec!["203.0.113.9", "198.51.100.7", "10.2.3.4"], "198.51.100.7"),
            ("10.0.0.1", vec!["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            ("10.0.0.1", vec!["198.51.100.7:4711"], "198.51.100.7"),
            ("2001:db8::1", vec!["[2001:db9::7]:4711"], "2001:db9::7"),
            ("2001:db8::1", vec!["[2001:db9::7]"], "2001:db9::7"),
            // Nobody is named before nonsense: the proxy that let it pass is what is known.
            ("10.0.0.1", vec!["198.51.100.7, unknown, 10.2.3.4"], "10.2.3.4"),
            ("10.0.0.1", vec!["", ""], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let client = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client.to_string(), expected, "{peer} {lines:?}");
        }
        let headers = HeaderMap::from_iter([(FORWARDED_FOR.parse().unwrap(), "198.51.100.7".parse().unwrap())]);
        assert_eq!(client_address("10.0.0.1".parse().unwrap(), &headers, &[]).to_string(), "10.0.0.1");
    }
}
