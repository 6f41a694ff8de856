use super::*;

#[test]
fn a_password_ends_before_its_line_does() {
    for (input, password) in
        [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("s3 cret", "s3 cret"), ("a\n\n", "a\n")]
    {
        assert_eq!(read(input.as_bytes()).unwrap().expose_secret(), password);
    }
    let long = "x".repeat(4097);
    for bad in ["", "\n", &long] {
        assert!(read(bad.as_bytes()).is_err());
    }
    assert!(read(&[0xff, 0xfe][..]).is_err());
}
