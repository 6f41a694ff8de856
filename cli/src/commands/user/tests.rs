use std::time::UNIX_EPOCH;

use prost_types::Timestamp;

use super::*;

#[test]
fn users_read_well() {
    let alice = User {
        name: "alice".into(),
        admin: true,
        disabled: true,
        created_at: Some(Timestamp::default()),
        ..User::default()
    };
    assert_eq!(
        table(std::slice::from_ref(&alice), UNIX_EPOCH).to_string(),
        "NAME    ADMIN   STATE      CREATED    LAST SEEN\n\
         alice   yes     disabled   just now   never\n"
    );
    assert!(details(Some(&alice)).to_string().contains("Administrator:   yes\nState:           disabled\n"));
}
