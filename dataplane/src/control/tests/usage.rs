//! Reporting pulls.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    super::{Pull, fake::Fake},
    digest, repository, run, until,
};

#[tokio::test(start_paused = true)]
async fn a_report_is_repeated_under_its_id_until_it_is_taken() {
    let fake = Fake::default();
    fake.script(|script| script.usage_answers_lost = 2);
    let client = fake.client();
    let _running = run(&client);
    client.usage.record(&repository("g1"), &digest("a"), Pull::Miss);
    client.usage.record(&repository("g1"), &digest("a"), Pull::Hit);
    until(|| fake.script(|script| !script.usage.is_empty())).await;
    client.usage.record(&repository("g1"), &digest("a"), Pull::Hit);
    sleep(Duration::from_secs(60)).await;
    let reports = fake.script(|script| script.usage.clone());
    assert_eq!(reports.len(), 4);
    assert!(reports[1] == reports[0] && reports[2] == reports[0], "the same report, under the same id");
    assert_ne!(reports[3].batch_id, reports[0].batch_id);
    let counts = |report: usize| (reports[report].usage[0].hits, reports[report].usage[0].misses);
    assert_eq!((counts(0), counts(3)), ((1, 1), (1, 0)));
    assert!(reports[0].usage[0].last_pulled_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_last_is_reported_at_the_stop() {
    let fake = Fake::default();
    fake.script(|script| script.usage_answers_lost = 1);
    let client = fake.client();
    let (stop, running) = run(&client);
    client.usage.record(&repository("g1"), &digest("a"), Pull::Hit);
    until(|| fake.script(|script| !script.usage.is_empty())).await;
    client.usage.record(&repository("g1"), &digest("b"), Pull::Hit);
    stop.cancel();
    running.await.unwrap();
    let digests: Vec<_> =
        fake.script(|script| script.usage.iter().map(|report| report.usage[0].digest.clone()).collect());
    assert_eq!(digests, [digest("a"), digest("a"), digest("b")].map(|digest| digest.to_string()));
}
