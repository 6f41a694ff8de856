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
            headers.append(FOR, HeaderValue::from_str(line).unwrap());
        }
        let client = source_address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(client.to_string(), expected, "{peer} {lines:?}");
    }
    let headers = HeaderMap::from_iter([(FOR.parse().unwrap(), "198.51.100.7".parse().unwrap())]);
    assert_eq!(source_address("10.0.0.1".parse().unwrap(), &headers, &[]).to_string(), "10.0.0.1");
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn scheme_host_and_port_are_what_the_outermost_trusted_proxy_says() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let told = |peer: &str, lines: &[_]| forwarded(peer.parse().unwrap(), &headers(lines), &trusted);
    let images = Some("images.example".parse().unwrap());
    for (lines, scheme, host, port) in [
        (vec![(PROTO, "https"), (HOST, "images.example")], Some("https"), images.clone(), None),
        (vec![(PROTO, "HTTPS"), (PORT, "8443")], Some("https"), None, Some(8443)),
        // One proxy that appends to what the client sent.
        (vec![(HOST, "evil.example, images.example"), (PROTO, "http, https")], Some("https"), images.clone(), None),
        // Two proxies, the outer of which ends TLS.
        (vec![(FOR, "192.0.2.1, 10.0.0.2"), (PROTO, "https, http")], Some("https"), None, None),
        (vec![(FORWARDED, "for=192.0.2.1;proto=https;host=images.example")], Some("https"), images.clone(), None),
        (
            vec![(FORWARDED, r#"proto=http;host=evil.example, For="[2001:db8::1]:4711";Proto=https"#)],
            Some("https"),
            None,
            None,
        ),
        // The client's own Forwarded beside what the proxy sets.
        (vec![(FORWARDED, "host=evil.example"), (PROTO, "https")], Some("https"), None, None),
        (vec![(PROTO, "gopher"), (HOST, r#"a"b"#), (PORT, "x")], None, None, None),
        (vec![], None, None, None),
    ] {
        assert_eq!(told("10.0.0.1", &lines), Some(Forwarded { scheme, host, port }), "{lines:?}");
        assert_eq!(told("192.0.2.9", &lines), None, "nobody else is believed");
    }
    let client = |lines: &[_]| source_address("10.0.0.1".parse().unwrap(), &headers(lines), &trusted).to_string();
    assert_eq!(client(&[(FORWARDED, r#"for="[2001:db8::1]:4711";proto=https"#)]), "2001:db8::1");
    assert_eq!(client(&[(FORWARDED, "for=192.0.2.7"), (FOR, "192.0.2.8")]), "192.0.2.8");
}
