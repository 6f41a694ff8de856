use std::os::unix::fs::PermissionsExt;

use super::*;

fn login(url: &str) -> SavedLogin {
    SavedLogin { control: vec![url.parse().unwrap()], ca_file: None, token: "rs_pat_secret".into() }
}

#[test]
fn a_login_is_saved_for_its_user_only_and_replaced_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a/b/login.json");
    assert!(SavedLogin::load_from(&file).unwrap().is_none());
    login("https://one:7071/").save_to(&file).unwrap();
    login("https://two:7071/").save_to(&file).unwrap();
    let saved = SavedLogin::load_from(&file).unwrap().unwrap();
    assert_eq!(saved.control[0].as_str(), "https://two:7071/");
    assert_eq!(saved.token.expose_secret(), "rs_pat_secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_damaged_file_is_an_error_that_names_the_next_step_and_not_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("login.json");
    fs::write(&file, "{\"token\": \"rs_pat_secret\"}").unwrap();
    let error = SavedLogin::load_from(&file).err().unwrap().to_string();
    assert!(error.contains("roadstead login") && !error.contains("rs_pat_secret"), "{error}");
}
