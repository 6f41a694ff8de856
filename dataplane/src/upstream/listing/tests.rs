use super::*;

fn following(link: &str) -> Option<(String, String)> {
    let own = "https://registry.example/base/v2/library/app/tags/list".parse().unwrap();
    let next = Cursor::of_tags(Some(2), Some("b")).following(link, &own)?;
    Some((next.path, next.query))
}

#[test]
fn cursors_of_every_form_are_carried_through() {
    for (link, path, query) in [
        ("/v2/library/app/tags/list?n=2&last=c", "tags/list", "n=2&last=c"),
        ("https://registry.example/base/v2/library/app/tags/list?next_page=x%2By", "tags/list", "next_page=x%2By"),
        ("http://127.0.0.1:5000/v2/library/app/tags/list?token=a/b==", "tags/list", "token=a/b=="),
        ("?last=c", "tags/list", "last=c"),
        ("list?last=c#f", "tags/list", "last=c"),
        ("/v2/library/app/tags/list/page2", "tags/list/page2", ""),
        ("/other?x=1", "tags/list", "x=1"),
        ("/v2/library/app/tags/../../secret/tags/list?x=1", "tags/list", "x=1"),
    ] {
        assert_eq!(following(link), Some((path.to_owned(), query.to_owned())), "{link}");
    }
}

#[test]
fn a_link_to_the_same_page_ends_the_list() {
    for link in ["", "?n=2&last=b", "/v2/library/app/tags/list?n=2&last=b"] {
        assert_eq!(following(link).filter(|(_, query)| query == "n=2&last=b"), None, "{link}");
    }
}

#[test]
fn no_cursor_leads_out_of_its_list() {
    let cursor = |path: &str, query: &str| Cursor { path: path.to_owned(), query: query.to_owned() };
    assert!(cursor("tags/list", "a=b&c").is_safe() && cursor("tags/list/page2", "").is_safe());
    for path in ["manifests/latest", "tags/../manifests/latest", "tags//x", "tags/%2e%2e/x", "/tags/list", "tags/a?b"] {
        assert!(!cursor(path, "").is_safe(), "{path}");
    }
    assert!(!cursor("tags/list", "a\nb").is_safe());
}
