use super::*;

fn credential(username: &str, password: &str) -> Credential {
    Credential::new(username.to_owned(), password.into())
}

#[test]
fn ids_tell_credentials_apart_and_nothing_shows_the_secret() {
    assert_eq!(credential("ci", "s3cret").id(), credential("ci", "s3cret").id());
    assert_ne!(credential("ab", "c").id(), credential("a", "bc").id());
    assert!(!format!("{:?}", credential("ci", "s3cret")).contains("s3cret"));
}
