use super::*;

#[test]
fn members_show_which_group_gives_the_role() {
    let member =
        Member { user: "alice".into(), role: ProtoRole::Owner.into(), group_path: "acme".into(), added_at: None };
    assert_eq!(
        table(&[member], SystemTime::UNIX_EPOCH).to_string(),
        "USER    ROLE    FROM GROUP   SINCE\nalice   owner   acme         -\n"
    );
}
