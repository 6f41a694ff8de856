use std::time::UNIX_EPOCH;

use prost_types::Timestamp;

use super::*;

#[test]
fn a_list_of_tokens_reads_well() {
    let deploy = Token {
        id: "0190".into(),
        kind: TokenKind::Group.into(),
        name: "ci".into(),
        username: "group-token-1".into(),
        group_path: "acme".into(),
        scopes: vec!["read_registry".into(), "write_registry".into()],
        expires_at: Some(Timestamp { seconds: 86_400 * 30, nanos: 0 }),
        ..Default::default()
    };
    let access = Token {
        id: "0191".into(),
        kind: TokenKind::GroupAccess.into(),
        role: Role::Maintainer.into(),
        group_path: "acme".into(),
        ..Default::default()
    };
    let personal = Token {
        id: "0192".into(),
        kind: TokenKind::Personal.into(),
        username: "alice".into(),
        user: "alice".into(),
        ..Default::default()
    };
    let tokens = table(&[deploy, access, personal], UNIX_EPOCH);
    assert!(tokens.fits_80_columns(), "{tokens}");
    let tokens = tokens.wide();
    assert_eq!(
        tokens.to_string(),
        "ID     KIND                  NAME   USERNAME        OWNER   SCOPES                         EXPIRES      LAST USED\n\
         0190   deploy                ci     group-token-1   acme    read_registry,write_registry   in 30 days   never\n\
         0191   access (maintainer)   -      -               acme    -                              never        never\n\
         0192   personal              -      alice           alice   -                              never        never\n"
    );
}
