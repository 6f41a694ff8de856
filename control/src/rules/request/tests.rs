use super::*;

fn of(caller: &Principal, id: &str, call: &str, message: &[u8]) -> Option<RequestId> {
    RequestId::new(caller, id, call, message).unwrap()
}

#[test]
fn an_id_is_short_and_printable_or_missing() {
    let longest = "x".repeat(64);
    for id in ["a", "01920c3e-0000-7000-8000-000000000000", "~!/", &longest] {
        assert!(of(&Principal::Admin, id, "Create", b"").is_some(), "{id}");
    }
    assert_eq!(of(&Principal::Admin, "", "Create", b""), None);
    for id in ["a b", "\n", "é", &"x".repeat(65)] {
        assert_eq!(RequestId::new(&Principal::Admin, id, "Create", b""), Err(InvalidRequestId), "{id:?}");
    }
}

#[test]
fn callers_calls_and_messages_are_told_apart() {
    let user = |id: &str| Principal::User { id: id.into(), name: "alice".into(), admin: true, token: None };
    let first = of(&user("u1"), "a", "CreateGroup", b"m");
    assert_eq!(first, of(&user("u1"), "a", "CreateGroup", b"m"));
    for other in [
        of(&user("u2"), "a", "CreateGroup", b"m"),
        of(&Principal::Admin, "a", "CreateGroup", b"m"),
        of(&user("u1"), "b", "CreateGroup", b"m"),
        of(&user("u1"), "a", "CreateUser", b"m"),
        of(&user("u1"), "a", "CreateGroup", b"n"),
    ] {
        assert_ne!(first, other);
    }
}
