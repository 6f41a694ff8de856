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

#[test]
fn secrets_that_others_could_read_are_closed_to_them_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["control.db", "secret.key", "notes"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
        std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    close_to_others(dir.path());
    let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(["control.db", "secret.key", "notes"].map(mode), [0o600, 0o600, 0o644]);
}
