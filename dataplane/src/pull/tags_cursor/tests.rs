use super::*;

const NAME: &str = "g/dependency_proxy/containers/alpine";

fn at(n: u32, last: Option<&str>) -> Place {
    Place::of(&TagsPage { n: Some(n), last: last.map(str::to_owned), cursor: None }).unwrap()
}

fn next(query: &str) -> Cursor {
    Cursor { path: "tags/list".to_owned(), query: query.to_owned() }
}

/// The next request of the client, from the `Link` it got.
fn followed(link: &HeaderValue) -> Place {
    let text = link.to_str().unwrap();
    let query = text.split_once('?').unwrap().1.split_once('>').unwrap().0;
    let cursor = query.strip_prefix("cursor=").unwrap().to_owned();
    Place::of(&TagsPage { n: None, last: None, cursor: Some(cursor) }).unwrap()
}

#[test]
fn cursors_of_the_specs_form_stay_readable() {
    let link = at(2, None).link(NAME, next("last=3.1%2B&n=2")).unwrap();
    assert_eq!(link, "</v2/g/dependency_proxy/containers/alpine/tags/list?last=3.1%2B&n=2>; rel=\"next\"");
    let link = at(2, Some("3.0")).link(NAME, next("n=2&last=3.1")).unwrap();
    assert_eq!(link, "</v2/g/dependency_proxy/containers/alpine/tags/list?n=2&last=3.1>; rel=\"next\"");
}

#[test]
fn a_registrys_own_cursor_is_carried_through_unchanged() {
    for query in ["next_page=abc%2B==", "n=2&last=b&token=x", "n=3", "page=2", "last=a&last=b&x"] {
        let link = at(2, None).link(NAME, next(query)).unwrap();
        assert_eq!(followed(&link).cursor, next(query), "{query}");
    }
    let by_path = Cursor { path: "tags/list/page2".to_owned(), query: String::new() };
    assert_eq!(followed(&at(2, None).link(NAME, by_path.clone()).unwrap()).cursor, by_path);
}

#[test]
fn loops_of_every_length_end() {
    for length in 1..20 {
        let (mut place, mut pages) = (at(2, None), 0);
        while let Some(link) = place.link(NAME, next(&format!("token={}", pages % length))) {
            place = followed(&link);
            pages += 1;
            assert!(pages <= 4 * length + 2, "a loop of {length} pages is still followed");
        }
    }
    for (before, after) in [("b", "a"), ("b", "b")] {
        let (mut place, mut pages) = (at(2, Some(before)), 0);
        while let Some(link) =
            place.link(NAME, next(&format!("n=2&last={}", if pages % 2 == 0 { after } else { before })))
        {
            place = followed(&link);
            pages += 1;
            assert!(pages < 10, "{before} {after}");
        }
    }
}

#[test]
fn a_long_list_is_followed_to_its_end() {
    let mut place = at(1, None);
    for page in 0..500 {
        place = followed(&place.link(NAME, next(&format!("token={page}"))).unwrap());
    }
}

#[test]
fn foreign_cursors_are_refused() {
    let sealed = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    for cursor in [
        String::new(),
        "no base64!".to_owned(),
        sealed("{}"),
        sealed(r#"{"path":"tags/../manifests/latest","query":"","trail":{"mark":"","steps":0,"limit":1,"pages":0}}"#),
        sealed(r#"{"path":"manifests/latest","query":"","trail":{"mark":"","steps":0,"limit":1,"pages":0}}"#),
    ] {
        assert_eq!(Place::of(&TagsPage { n: None, last: None, cursor: Some(cursor.clone()) }), None, "{cursor}");
    }
}
