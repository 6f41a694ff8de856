use super::*;

fn listening<'a>(dataplane: &'a DataplaneConfig, registry: &str) -> Listening<'a> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Listening {
        registry: registry.parse().unwrap(),
        control: Some(control_url(address(7071), false)),
        metrics: address(7072),
        dataplane,
    }
}

#[test]
fn a_first_start_says_where_it_listens_and_the_exact_pull() {
    let config = DataplaneConfig::default();
    let text = listening(&config, "127.0.0.1:7070").first();
    let expected = format!(
        "Roadstead {} is ready.\n\n  registry        http://127.0.0.1:7070\n  \
         control plane   http://127.0.0.1:7071   (gRPC; try `roadstead group list`)\n  \
         metrics         http://127.0.0.1:7072/metrics\n\nTry a pull:\n\n  \
         docker pull 127.0.0.1:7070/default/dependency_proxy/containers/alpine:latest\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text, expected);
}

#[test]
fn without_anonymous_pulls_the_way_leads_over_a_token() {
    let config = DataplaneConfig { allow_anonymous_pulls: false, ..DataplaneConfig::default() };
    let text = listening(&config, "0.0.0.0:7070").first();
    assert!(
        text.contains("roadstead token create --group default --name first\n  docker login 127.0.0.1:7070\n"),
        "{text}"
    );
}

#[test]
fn image_names_begin_with_what_clients_see() {
    for (url, registry, host) in [
        (None, "192.0.2.1:7070", "192.0.2.1:7070"),
        (None, "[::]:7070", "[::1]:7070"),
        (Some("https://images.example"), "0.0.0.0:7070", "images.example"),
        (Some("http://images.example:8080"), "0.0.0.0:7070", "images.example:8080"),
    ] {
        let external_url = url.map(|url| Url::parse(url).unwrap());
        let config = DataplaneConfig { external_url, ..DataplaneConfig::default() };
        assert_eq!(listening(&config, registry).registry_host(), host);
    }
}

#[test]
fn later_starts_say_it_in_a_line() {
    let config = DataplaneConfig::default();
    let line = "Roadstead serves the registry on http://127.0.0.1:7070, the control plane on http://127.0.0.1:7071, metrics on 127.0.0.1:7072.";
    assert_eq!(listening(&config, "127.0.0.1:7070").short(), line);
}

#[test]
fn the_admin_token_is_said_with_its_file() {
    let text = admin_token(&"rs_adm_x".into(), Path::new("./roadstead-data/admin-token"));
    assert!(text.contains("    rs_adm_x\n") && text.contains("./roadstead-data/admin-token"), "{text}");
}

#[test]
fn the_control_port_s_url_has_its_scheme_and_the_hint_works_with_it() {
    let config = DataplaneConfig::default();
    for (address, has_tls, shown) in [
        ("127.0.0.1:7071", false, "http://127.0.0.1:7071   (gRPC; try `roadstead group list`)"),
        ("0.0.0.0:7071", false, "http://127.0.0.1:7071   (gRPC; try `roadstead group list`)"),
        ("127.0.0.1:9000", false, "http://127.0.0.1:9000   (gRPC; give admin commands this URL as --control)"),
        (
            "[::]:7071",
            true,
            "https://[::1]:7071   (gRPC; give admin commands this URL as --control, and --control-ca-file)",
        ),
    ] {
        let control = Some(control_url(address.parse().unwrap(), has_tls));
        let text = Listening { control, ..listening(&config, "127.0.0.1:7070") }.first();
        assert!(text.contains(&format!("control plane   {shown}\n")), "{text}");
    }
}
