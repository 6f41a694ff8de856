//! Where clients reach the registry port: what challenges name, and what the control plane tells people to use.
//!
//! A port that is the scheme's own is left out, so that a client that writes `HOST:443` is told the same as one that
//! writes `HOST`.

use std::net::SocketAddr;

use http::{header, request::Parts, uri::Authority};
use url::Url;

use crate::listener::Connection;

/// What challenges of a request name: `external`, or else the address that the request itself was sent to. Without `/` at
/// the end; `None` if the request names no host.
pub fn of_request(external: Option<&Url>, head: &Parts) -> Option<String> {
    if let Some(url) = external {
        return Some(without_slash(url));
    }
    let authority = match head.uri.authority() {
        Some(authority) => authority.clone(),
        None => head.headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok()?,
    };
    let scheme = head.extensions.get::<Connection>().map_or("http", Connection::scheme);
    let own_port = if scheme == "https" { 443 } else { 80 };
    // Neither what precedes an `@`, which is nothing of a host's, nor a port that says nothing.
    Some(match authority.port_u16().filter(|port| *port != own_port) {
        Some(port) => format!("{scheme}://{}:{port}", authority.host()),
        None => format!("{scheme}://{}", authority.host()),
    })
}

/// What a node that listens at `listen` tells of itself: `external`, or else that address; empty if it is no address that
/// a client could use (0.0.0.0), because the host's name may lead anywhere.
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
mod tests {
    use http::Request;

    use super::*;

    fn asked(tls: bool, host: &str) -> Option<String> {
        let connection = Connection { peer: ([127, 0, 0, 1], 1).into(), tls };
        let with = |request: http::request::Builder| {
            of_request(None, &request.extension(connection).body(()).unwrap().into_parts().0)
        };
        let by_header = with(Request::get("/v2/").header("host", host));
        // HTTP/2 has it in the URI.
        assert_eq!(with(Request::get(format!("http://{host}/v2/"))), by_header);
        by_header
    }

    #[test]
    fn a_port_that_is_the_schemes_own_says_nothing() {
        for (tls, host, expected) in [
            (true, "images.example", "https://images.example"),
            (true, "images.example:443", "https://images.example"),
            (true, "images.example:80", "https://images.example:80"),
            (true, "[::1]:443", "https://[::1]"),
            (false, "images.example:80", "http://images.example"),
            (false, "images.example:443", "http://images.example:443"),
            (false, "127.0.0.1:7070", "http://127.0.0.1:7070"),
        ] {
            assert_eq!(asked(tls, host).as_deref(), Some(expected), "{host}");
        }
        let nameless = Request::get("/v2/").body(()).unwrap().into_parts().0;
        assert_eq!(of_request(None, &nameless), None);
        for external in ["https://images.example", "https://images.example:443/"] {
            let external = external.parse().unwrap();
            assert_eq!(of_request(Some(&external), &nameless).as_deref(), Some("https://images.example"));
        }
    }

    #[test]
    fn a_node_tells_an_address_that_clients_can_use_or_none() {
        let external = "https://images.example:8443".parse().unwrap();
        for (external, listen, tls, expected) in [
            (Some(&external), "0.0.0.0:7070", false, "https://images.example:8443"),
            (None, "127.0.0.1:7070", false, "http://127.0.0.1:7070"),
            (None, "192.0.2.7:443", true, "https://192.0.2.7"),
            (None, "192.0.2.7:443", false, "http://192.0.2.7:443"),
            (None, "[2001:db8::1]:80", false, "http://[2001:db8::1]"),
            (None, "0.0.0.0:7070", false, ""),
            (None, "[::]:7070", true, ""),
        ] {
            assert_eq!(of_node(external, listen.parse().unwrap(), tls), expected, "{listen}");
        }
    }
}
