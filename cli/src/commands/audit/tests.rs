use prost_types::Timestamp;

use super::*;

#[test]
fn events_read_well_and_repeats_are_counted() {
    let event = |action: &str, outcome: AuditOutcome, count| AuditEvent {
        at: Some(Timestamp { seconds: 1_795_383_000, nanos: 0 }),
        actor: "user alice".into(),
        action: action.into(),
        outcome: outcome.into(),
        count,
        ..AuditEvent::default()
    };
    let events = table(&[event("group.create", AuditOutcome::Done, 1), event("sign_in", AuditOutcome::Refused, 12)]);
    assert!(events.fits_80_columns());
    let events = events.wide();
    assert_eq!(
        events.to_string(),
        "TIME                   ACTOR        ADDRESS   ACTION         SUBJECT   GROUP   OUTCOME       DETAIL\n\
         2026-11-22T21:30:00Z   user alice   -         group.create   -         -       done\n\
         2026-11-22T21:30:00Z   user alice   -         sign_in        -         -       refused ×12\n"
    );
}
