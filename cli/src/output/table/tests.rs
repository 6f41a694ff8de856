use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let items = [("acme", "private"), ("acme/backend-ü", "public")];
    let table =
        Table::new(["PATH", "VISIBILITY"], &items, |(path, visibility)| [(*path).to_owned(), (*visibility).to_owned()]);
    assert_eq!(
        table.to_string(),
        "PATH             VISIBILITY\n\
         acme             private\n\
         acme/backend-ü   public\n"
    );
}

#[test]
fn only_a_wide_table_has_all_columns() {
    let table = || Table::new(["PATH", "+ID", "STATE"], &["acme"], |path| [(*path).into(), "0190".into(), "on".into()]);
    assert_eq!(table().to_string(), "PATH   STATE\nacme   on\n");
    assert_eq!(table().wide().to_string(), "PATH   ID     STATE\nacme   0190   on\n");
}

#[test]
fn details_align_their_values() {
    let details = Details::default().with("Path", "acme").with("Anonymous pull", true).with("Empty", "");
    assert_eq!(details.to_string(), "Path:             acme\nAnonymous pull:   true\nEmpty:\n");
}

#[test]
fn control_characters_are_made_visible() {
    assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    assert_eq!(plain("fine ü"), "fine ü");
}
