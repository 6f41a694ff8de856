use secrecy::ExposeSecret;

use super::*;

#[test]
fn the_flag_wins_over_the_variable_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(ADMIN_TOKEN_FILE), "from-file\n").unwrap();
    let flag = SecretString::from("from-flag");
    let secret = |given, variable: Option<&str>| {
        choose(given, variable.map(str::to_owned), dir.path()).unwrap().secret.expose_secret().to_owned()
    };
    assert_eq!(secret(Some(&flag), Some("from-env")), "from-flag");
    assert_eq!(secret(None, Some("from-env")), "from-env");
    assert_eq!(secret(None, Some("")), "from-file");
    assert_eq!(secret(Some(&"".into()), None), "from-file");
}

#[test]
fn without_any_the_error_names_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let message = choose(None, None, dir.path()).unwrap_err().to_string();
    for way in ["--token", "ROADSTEAD_TOKEN", "ROADSTEAD_ADMIN_TOKEN", "--data-dir", "admin-token"] {
        assert!(message.contains(way), "{message}");
    }
}
