use super::*;

#[test]
fn base_urls_are_http_or_https_hosts_and_nothing_else() {
    for good in ["http://127.0.0.1:7071", "https://roadstead.example/", "http://[::1]:7071"] {
        assert!(base_url(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "127.0.0.1:7071",
        "images.example",
        "ftp://h",
        "http://u:p@h",
        "http://h/x",
        "http://h?x",
        "http://h#x",
        "unix:///x",
    ] {
        assert!(base_url(bad).unwrap_err().contains("expected https://HOST"), "{bad}");
    }
    assert!(http_url("https://h/path").is_ok());
}

#[test]
fn a_fault_does_not_repeat_credentials() {
    for text in ["http://me:hunter2@h", "ftp://me:hunter2@h", "http://me:hunter2@[", "me:hunter2@h"] {
        let fault = base_url(text).unwrap_err();
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
