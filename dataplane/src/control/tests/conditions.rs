//! The known state of upstreams: observed, received and passed on.

use roadstead_proto::time::{duration_seconds, seconds, timestamp};
use std::time::{Duration, SystemTime};

use roadstead_proto::node::v1::{self as pb, policy_change::Change, watch_response::Event};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        Account, PullLimit, UpstreamPolicy, UpstreamState,
        fake::{Fake, FakeWatch, changes, snapshot},
    },
    run, until,
};

fn account(username: &str) -> Account {
    Account { upstream: "docker.io".parse().unwrap(), username: username.to_owned() }
}

fn limit(remaining: u64) -> PullLimit {
    let window = Some(Duration::from_secs(21_600));
    PullLimit { limit: 100, remaining, window, seen_at: SystemTime::now() }
}

fn policy(reserve_percent: u8) -> UpstreamPolicy {
    UpstreamPolicy {
        host: "docker.io".parse().unwrap(),
        url: "https://registry-1.docker.io".parse().unwrap(),
        token_hosts: vec![],
        ca_pem: String::new(),
        redirect_hosts: vec![],
        reserve_percent,
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The reports, one per line.
fn told(fake: &Fake) -> Vec<String> {
    let line = |report: &pb::UpstreamReport| {
        let condition = report.condition.as_ref().unwrap();
        let spent: i64 = report.spent.iter().map(|spend| spend.pulls).sum();
        format!(
            "{} {}/{} w{} from {:?} paused {} spent {spent} {:?} {:?}",
            condition.username,
            condition.remaining,
            condition.limit,
            duration_seconds(condition.window),
            condition.source,
            condition.paused_until.is_some(),
            report.state(),
            report.last_error,
        )
    };
    fake.script(|script| script.upstreams.iter().flat_map(|batch| batch.reports.iter().map(line)).collect())
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_is_told_in_batches_that_are_repeated_until_they_are_taken() {
    let fake = Fake::default();
    fake.script(|script| script.upstream_answers_lost = 2);
    let client = fake.client();
    let _running = run(&client);
    let conditions = &client.conditions;
    conditions.note_spent(&account("ci"), &"g1".into());
    conditions.note_spent(&account("ci"), &"g1".into());
    conditions.note_limit(&account("ci"), "192.0.2.1", limit(76), 10);
    conditions.note_answer(&account("ci"), UpstreamState::Good);
    until(|| fake.script(|script| !script.upstreams.is_empty())).await;
    conditions.note_failure(&account("ci"), "timeout", UpstreamState::Failing);
    sleep(Duration::from_secs(60)).await;
    let batches = fake.script(|script| script.upstreams.clone());
    assert_eq!(batches.len(), 4);
    assert!(batches[1] == batches[0] && batches[2] == batches[0], "the same report, under the same id");
    assert_ne!(batches[3].batch_id, batches[0].batch_id);
    assert_eq!(batches[0].node_name, "node-1");
    let lines = told(&fake);
    assert_eq!(lines[0], "ci 76/100 w21600 from \"192.0.2.1\" paused false spent 2 Good \"\"");
    assert_eq!(lines[3], "ci 0/0 w0 from \"\" paused false spent 0 Failing \"timeout\"");
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_a_dwindling_limit_and_an_open_circuit_are_told_at_once() {
    let fake = Fake::default();
    let client = fake.client();
    let _running = run(&client);
    sleep(Duration::from_secs(1)).await;
    let conditions = &client.conditions;
    let started = Instant::now();
    conditions.note_pause(&account("a"), SystemTime::now() + Duration::from_secs(60));
    until(|| told(&fake).len() == 1).await;
    conditions.note_limit(&account("b"), "", limit(9), 10);
    until(|| told(&fake).len() == 2).await;
    conditions.note_failure(&account("c"), "connect", UpstreamState::Open);
    until(|| told(&fake).len() == 3).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // What goes on dwindling can wait.
    conditions.note_limit(&account("b"), "", limit(8), 10);
    until(|| told(&fake).len() == 4).await;
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(told(&fake)[0], "a 0/0 w0 from \"\" paused true spent 0 Unspecified \"\"");
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_last_is_told_at_the_stop() {
    let fake = Fake::default();
    let client = fake.client();
    let (stop, running) = run(&client);
    sleep(Duration::from_millis(10)).await;
    client.conditions.note_spent(&account("ci"), &"g1".into());
    stop.cancel();
    running.await.unwrap();
    assert_eq!(told(&fake).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_other_nodes_learnt_counts_here_and_old_news_do_not() {
    let fake = Fake::default();
    let now = SystemTime::now();
    let condition = |username: &str, remaining, seen_at, paused_until_ms| pb::UpstreamCondition {
        upstream: "docker.io".to_owned(),
        username: username.to_owned(),
        paused_until: timestamp(paused_until_ms),
        limit: 100,
        remaining,
        source: "s".to_owned(),
        seen_at: timestamp(milliseconds(seen_at)),
        window: seconds(60),
    };
    let mut first = snapshot(7, vec![]);
    let Some(Event::Snapshot(told)) = &mut first.event else { unreachable!() };
    told.conditions = vec![condition("low", 5, now, 0), condition("plenty", 50, now, 0)];
    let soon = now + Duration::from_secs(60);
    let later = vec![
        Change::Condition(condition("paused", 50, now, milliseconds(soon))),
        Change::Condition(condition("paused", 50, now, 0)),
        Change::Condition(condition("plenty", 1, now - Duration::from_secs(1), 0)),
        Change::Condition(condition("old", 0, now - Duration::from_secs(61), 0)),
    ];
    fake.script(|script| script.watches.push_back(FakeWatch::Events(vec![first, changes(8, later)])));
    let client = fake.client();
    let _running = run(&client);
    until(|| client.policy.current().revision() == 8).await;
    let is_short = |username: &str| client.conditions.is_short(&policy(10), username);
    let short = ["low", "plenty", "paused", "old", "unheard of"].map(is_short);
    assert_eq!(short, [true, false, true, false, false]);
    assert!(!client.conditions.is_short(&policy(0), "low"), "nothing is to be kept");
    let paused_until = client.conditions.paused_until(&account("paused"), now).unwrap();
    assert_eq!(milliseconds(paused_until), milliseconds(soon));
    assert_eq!(client.conditions.paused_until(&account("paused"), soon), None);
    sleep(Duration::from_secs(20)).await;
    assert!(told_nothing(&fake), "what was told is not told back: {:?}", super::conditions::told(&fake));
}

fn told_nothing(fake: &Fake) -> bool {
    fake.script(|script| script.upstreams.is_empty())
}
