use prost_types::{Duration, Timestamp};

use super::*;

#[test]
fn schedules_read_well() {
    let schedule = |last_run_at: Option<Timestamp>, last_error: &str| PrefetchSchedule {
        id: "0190".into(),
        image: "docker.io/library/alpine:3".into(),
        every: Some(Duration { seconds: 21_600, nanos: 0 }),
        last_run_at,
        last_error: last_error.into(),
        ..Default::default()
    };
    let run = Some(Timestamp { seconds: -3600, nanos: 0 });
    let schedules = [schedule(None, ""), schedule(run, ""), schedule(run, "no node is there")];
    assert_eq!(
        table(&schedules, SystemTime::UNIX_EPOCH).wide().to_string(),
        "ID     IMAGE                        PLATFORMS   EVERY   LAST RUN     RESULT\n\
         0190   docker.io/library/alpine:3   all         6h      never        -\n\
         0190   docker.io/library/alpine:3   all         6h      1 hour ago   done\n\
         0190   docker.io/library/alpine:3   all         6h      1 hour ago   no node is there\n"
    );
}
