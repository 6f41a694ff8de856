use super::*;

fn said(body: &str) -> String {
    Said::read(body.as_bytes()).to_string()
}

#[test]
fn code_and_message_are_passed_on_as_plain_text() {
    let body = r#"{"errors":[{"code":"PAGINATION_NUMBER_INVALID","message":"invalid number of results","detail":{}}]}"#;
    assert_eq!(said(body), " (it says: PAGINATION_NUMBER_INVALID: invalid number of results)");
    assert_eq!(Said::read(body.as_bytes()).code(), Some("PAGINATION_NUMBER_INVALID"));
    assert_eq!(said(r#"{"errors":[{"message":"a\u001b[31m\n\u202eb"}]}"#), " (it says: a [31m b)");
    assert_eq!(said(r#"{"errors":[{"code":"<script>","message":"m"}]}"#), " (it says: m)");
    assert_eq!(said(r#"{"errors":[{"code":7,"message":null}]}"#), "");
}

#[test]
fn other_bodies_are_not_passed_on() {
    for body in ["", "<html>no</html>", "[]", "{}", r#"{"errors":[]}"#, r#"{"errors":"x"}"#, r#"{"message":"x"}"#] {
        assert_eq!(said(body), "", "{body}");
    }
}

#[test]
fn words_are_bounded() {
    let long = format!(r#"{{"errors":[{{"code":"{}","message":"{}"}}]}}"#, "A".repeat(1000), "ä".repeat(1000));
    let read = Said::read(long.as_bytes());
    assert_eq!((read.code(), read.message.chars().count()), (None, MAX_MESSAGE_CHARS));
}
