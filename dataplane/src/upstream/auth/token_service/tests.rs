use proptest::prelude::*;

use super::*;

fn upstream(url: &str) -> UpstreamPolicy {
    let token_hosts = vec!["auth.docker.io".to_owned(), "tokens.example:8443".to_owned()];
    UpstreamPolicy {
        host: "docker.io".parse().unwrap(),
        url: url.parse().unwrap(),
        token_hosts,
        ca_pem: String::new(),
        redirect_hosts: Vec::new(),
        reserve_percent: 10,
    }
}

#[test]
fn credentials_are_for_token_services_that_belong_to_the_upstream() {
    let hub = upstream("https://registry-1.docker.io");
    let plain = upstream("http://registry.example:5000");
    for (upstream, realm, expected) in [
        (&hub, "https://auth.docker.io/token", Trust::Credentials),
        (&hub, "https://registry-1.docker.io/token", Trust::Credentials),
        (&hub, "https://tokens.example:8443/token", Trust::Credentials),
        (&hub, "https://tokens.example/token", Trust::Anonymous),
        (&hub, "https://auth.docker.io.evil.example/token", Trust::Anonymous),
        (&hub, "https://evil.example/auth.docker.io", Trust::Anonymous),
        (&hub, "https://auth.docker.io@evil.example/token", Trust::Anonymous),
        (&hub, "http://auth.docker.io/token", Trust::Nothing),
        (&hub, "file:///etc/passwd", Trust::Nothing),
        (&plain, "http://registry.example:5001/token", Trust::Credentials),
        (&plain, "https://registry.example/token", Trust::Credentials),
        (&plain, "http://evil.example/token", Trust::Anonymous),
    ] {
        assert_eq!(trust(upstream, &realm.parse().unwrap()), expected, "{realm}");
    }
}

#[test]
fn both_names_of_the_token_are_read_and_junk_is_not() {
    let header = |body: &str| read(body.as_bytes()).ok().map(|token| token.header.to_str().unwrap().to_owned());
    assert_eq!(header(r#"{"token":"a","expires_in":300}"#).as_deref(), Some("Bearer a"));
    assert_eq!(header(r#"{"access_token":"b"}"#).as_deref(), Some("Bearer b"));
    assert_eq!(header(r#"{"token":"","access_token":"b"}"#).as_deref(), Some("Bearer b"));
    assert_eq!(header(r#"{"token":"a","expires_in":null,"other":[]}"#).as_deref(), Some("Bearer a"));
    assert_eq!(header(r#"{"token":1,"access_token":"b"}"#).as_deref(), Some("Bearer b"));
    for body in ["", "{}", "[]", "<html>", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#] {
        assert_eq!(header(body), None, "{body}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics(body in "\\PC*", expires_in in any::<u64>()) {
        let _ = read(body.as_bytes());
        let answer = format!(r#"{{"token":"a","expires_in":{expires_in}}}"#);
        prop_assert!(read(answer.as_bytes()).is_ok());
    }
}

#[test]
fn lifetimes_are_read_in_every_form_and_absurd_ones_are_not_believed() {
    for (expires_in, seconds) in [
        ("300", 300.0),
        ("300.5", 300.5),
        ("\"300\"", 300.0),
        ("\" 300.0 \"", 300.0),
        ("0", 60.0),
        ("-1", 60.0),
        ("null", 60.0),
        ("true", 60.0),
        ("{}", 60.0),
        ("\"soon\"", 60.0),
        ("\"NaN\"", 60.0),
        ("1e300", 86_400.0),
        ("18446744073709551616", 86_400.0),
        ("\"inf\"", 86_400.0),
    ] {
        let value = serde_json::from_str(expires_in).unwrap();
        assert_eq!(lifetime(&value), Duration::from_secs_f64(seconds), "{expires_in}");
    }
    assert_eq!(lifetime(&Value::Null), DEFAULT_LIFETIME, "missing");
}
