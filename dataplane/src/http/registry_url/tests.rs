use http::Request;

use super::*;

fn asked(tls: bool, host: &str) -> Option<String> {
    let connection = Connection { peer: ([127, 0, 0, 1], 1).into(), tls };
    let with = |request: http::request::Builder| {
        of_request(None, &[], &request.extension(connection).body(()).unwrap().into_parts().0)
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
    assert_eq!(of_request(None, &[], &nameless), None);
    for external in ["https://images.example", "https://images.example:443/"] {
        let external = external.parse().unwrap();
        assert_eq!(of_request(Some(&external), &[], &nameless).as_deref(), Some("https://images.example"));
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

#[test]
fn a_trusted_proxy_tells_scheme_host_and_port_and_nobody_else_does() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let asked = |peer: [u8; 4], lines: &[(&str, &str)]| {
        let connection = Connection { peer: (peer, 1).into(), tls: false };
        let mut request = Request::get("/v2/").header("host", "node-7.internal:7070").extension(connection);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        of_request(None, &trusted, &request.body(()).unwrap().into_parts().0).unwrap()
    };
    let (proto, host, port) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port");
    for (lines, expected) in [
        (vec![(proto, "https"), (host, "images.example")], "https://images.example"),
        (vec![(proto, "https"), (host, "images.example"), (port, "443")], "https://images.example"),
        (vec![(proto, "https"), (host, "images.example"), (port, "8443")], "https://images.example:8443"),
        (vec![(proto, "https"), (host, "images.example:5000"), (port, "443")], "https://images.example:5000"),
        (vec![("forwarded", "for=192.0.2.1;proto=https;host=\"images.example\"")], "https://images.example"),
        (vec![(proto, "https")], "https://node-7.internal:7070"),
    ] {
        assert_eq!(asked([10, 0, 0, 1], &lines), expected, "{lines:?}");
        assert_eq!(asked([192, 0, 2, 1], &lines), "http://node-7.internal:7070", "{lines:?}");
    }
}
