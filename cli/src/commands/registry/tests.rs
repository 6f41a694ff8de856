use super::*;

#[test]
fn the_port_is_part_of_the_server_unless_it_is_443() {
    let group = "acme/backend".parse().unwrap();
    for (url, server) in [
        ("https://images.example", "images.example"),
        ("https://images.example:443", "images.example"),
        ("https://images.example:8443/", "images.example:8443"),
        ("http://images.example", "images.example:80"),
        ("http://127.0.0.1:7070", "127.0.0.1:7070"),
        ("http://[::1]:7070", "[::1]:7070"),
    ] {
        let prefix = prefix_at(&Url::parse(url).unwrap(), &group);
        assert_eq!(prefix.server, server);
        assert_eq!(prefix.group_image_prefix, format!("{server}/acme/dependency_proxy/containers"));
        assert_eq!(prefix.direct_group_image_prefix, format!("{server}/acme/backend/dependency_proxy/containers"));
    }
}

#[test]
fn the_registry_is_guessed_only_where_serve_puts_it() {
    for (control, registry) in [
        ("http://127.0.0.1:7071", "127.0.0.1:7070"),
        ("http://localhost:7071", "127.0.0.1:7070"),
        ("http://[::1]:7071", "127.0.0.1:7070"),
        ("http://127.0.0.1:9999", "REGISTRY_HOST"),
        ("https://roadstead.example:7071", "REGISTRY_HOST"),
    ] {
        assert_eq!(guess(&Url::parse(control).unwrap()), registry);
    }
}
