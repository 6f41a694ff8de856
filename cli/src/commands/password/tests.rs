use super::*;

#[test]
fn a_password_ends_before_its_line_does() {
    for (input, password) in
        [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("s3 cret", "s3 cret"), ("a\n\n", "a\n")]
    {
        assert_eq!(read("--password-stdin", "password", input.as_bytes()).unwrap().expose_secret(), password);
    }
    let long = "x".repeat(4097);
    for bad in ["", "\n", &long] {
        assert!(read("--password-stdin", "password", bad.as_bytes()).is_err());
    }
    assert!(read("--password-stdin", "password", &[0xff, 0xfe][..]).is_err());
}
