use super::*;

fn followed(from: &str, location: &str) -> Option<String> {
    let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_str(location).unwrap())]);
    next(&from.parse().unwrap(), &headers).ok().map(|url| url.to_string())
}

#[test]
fn redirects_lead_to_no_weaker_place() {
    let from = "https://registry.example/v2/a/blobs/x";
    assert_eq!(followed(from, "https://cdn.example/x?sig=1").as_deref(), Some("https://cdn.example/x?sig=1"));
    assert_eq!(followed(from, "/elsewhere").as_deref(), Some("https://registry.example/elsewhere"));
    assert_eq!(followed(from, "https://user:pass@cdn.example/x").as_deref(), Some("https://cdn.example/x"));
    for location in ["http://cdn.example/x", "file:///etc/passwd", "ftp://x/y", "https://"] {
        assert_eq!(followed(from, location), None, "{location}");
    }
    let plain = followed("http://registry.example/a", "http://cdn.example/x");
    assert_eq!(plain.as_deref(), Some("http://cdn.example/x"));
    assert!(next(&from.parse().unwrap(), &HeaderMap::new()).is_err());
}
