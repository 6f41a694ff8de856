use super::*;

fn token(secret: &str) -> Credential {
    Credential::Token(Found { secret: secret.into(), source: "ROADSTEAD_TOKEN".into() })
}

#[test]
fn tokens_go_as_bearer_and_passwords_as_basic() {
    assert_eq!(token("rs_pat_x").header().unwrap(), "Bearer rs_pat_x");
    let alice = Credential::Password { user: "alice".into(), password: "pass word:ü".into() };
    assert_eq!(alice.header().unwrap(), format!("Basic {}", STANDARD.encode("alice:pass word:ü")));
    assert!(alice.header().unwrap().is_sensitive());
}

#[test]
fn what_cannot_be_a_token_is_refused_without_showing_it() {
    let failure = token("s3cret\nx").header().unwrap_err();
    assert!(failure.to_string().starts_with("the token from ROADSTEAD_TOKEN is not a valid token"), "{failure}");
    assert!(!failure.to_string().contains("s3cret"), "{failure}");
}
