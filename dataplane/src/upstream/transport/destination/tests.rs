use super::*;

/// `private` is in the organisation's network, `local` on this machine, `both` on this machine and in the world,
/// everything else is public.
fn lookup() -> Lookup {
    Arc::new(|name| {
        let addresses: &[&str] = match name.as_str() {
            "private" | "listed" | "proxy" => &["10.0.0.1:0"],
            "localhost" => &["127.0.0.1:0"],
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

/// Checks whether a request would get through, by its URL and by the address of its connection.
async fn allows(destinations: &Destinations, url: &str) -> bool {
    let url: Url = url.parse().unwrap();
    let reachable = match url.host().unwrap() {
        Host::Domain(name) => destinations.addresses(name).await.is_ok(),
        _ => true,
    };
    destinations.check(&url).await.is_ok() && reachable
}

#[tokio::test]
async fn requests_stay_out_of_networks_that_are_not_listed() {
    let (world, inside, here) = (of("https://hub.example"), of("https://private"), of("http://127.0.0.1:5000"));
    for (url, from_world, from_inside, from_here) in [
        ("https://cdn.example/x", true, true, true),
        ("https://1.1.1.1/x", true, true, true),
        ("https://1.1.1.1:9000/x", true, true, true),
        ("https://hub.example:9000/x", true, true, true),
        ("https://private/x", false, true, false),
        ("https://private:6379/x", false, false, false),
        ("http://private/x", false, false, false),
        ("https://10.0.0.1/x", false, false, false),
        ("https://[::ffff:10.0.0.1]/x", false, false, false),
        ("https://local/x", false, false, false),
        ("http://127.0.0.1:5000/x", false, false, true),
        ("https://127.0.0.1:5000/x", false, false, true),
        ("http://127.0.0.1:6379/x", false, false, false),
        ("http://localhost:5000/x", false, false, false),
        ("https://127.1/x", false, false, false),
        ("https://2130706433/x", false, false, false),
        ("https://[::1]/x", false, false, false),
        ("https://both/x", true, true, true),
        ("https://metadata/x", false, false, false),
        ("http://169.254.169.254/latest/meta-data", false, false, false),
        ("https://0.0.0.0/x", false, false, false),
        ("https://[::]/x", false, false, false),
        ("https://100.64.0.1/x", false, false, false),
        ("https://224.0.0.1/x", false, false, false),
        ("https://listed:8443/x", true, true, true),
        ("https://listed/x", false, false, false),
        ("https://192.168.7.7/x", true, true, true),
        ("https://192.168.7.7:1/x", false, false, false),
        ("https://10.0.0.9/token", true, true, true),
        ("https://10.0.0.9:6379/token", false, false, false),
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
