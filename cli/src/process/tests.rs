use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn the_data_folder_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    create_data_dir(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    create_data_dir(&path).unwrap();
}

#[test]
fn a_folder_that_cannot_be_is_a_bad_setting() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let failure = create_data_dir(file.path()).unwrap_err();
    assert_eq!(failure, Failure::usage(&failure));
    assert!(failure.to_string().starts_with(&format!("--data-dir {}: ", file.path().display())), "{failure}");
}
