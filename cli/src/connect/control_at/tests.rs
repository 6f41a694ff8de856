use super::*;

#[test]
fn control_urls_are_bare_http_or_https() {
    for good in ["http://127.0.0.1:7071", "https://roadstead.example/", "http://[::1]:7071"] {
        assert!(control_url(good).is_ok(), "{good}");
    }
    for bad in ["", "127.0.0.1:7071", "ftp://h", "http://u:p@h", "http://h/x", "http://h?x", "unix:///x"] {
        assert!(control_url(bad).is_err(), "{bad}");
    }
}
