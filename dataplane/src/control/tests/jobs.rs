//! Jobs: offered in the watch, claimed once, reported.

use roadstead_proto::node::v1::{
    self as pb, claim_job_response::Job as Claimed, policy_change::Change, report_job_request::Report,
};

use super::{
    super::{
        Job, JobFailure, JobReport, PrefetchProgress,
        fake::{Fake, FakeWatch, changes, group, snapshot},
    },
    run,
};

#[tokio::test(start_paused = true)]
async fn a_job_is_offered_claimed_once_and_reported() {
    let fake = Fake::default();
    let offer = Change::Job(pb::JobOffer { id: "e1".to_owned() });
    let renamed = Change::Group(group("g1", "umbrella", 1, 1));
    fake.script(|script| {
        let events = vec![snapshot(7, vec![group("g1", "acme", 1, 1)]), changes(8, vec![offer, renamed])];
        script.watches.push_back(FakeWatch::Events(events));
        let repository = pb::RepositoryRef {
            group_id: "g1".to_owned(),
            upstream: "docker.io".to_owned(),
            repository: "library/alpine".to_owned(),
        };
        let (reference, platforms) = ("3.20".to_owned(), vec!["linux/amd64".to_owned()]);
        let prefetch = pb::PrefetchJob { repository: Some(repository), reference, platforms };
        script.jobs.insert("e1".to_owned(), Claimed::Prefetch(prefetch));
    });
    let client = fake.client();
    let _running = run(&client);
    let id = client.offers.next().await;
    assert_eq!(id, "e1");
    let Some(Job::Prefetch(prefetch)) = client.client.claim_job(&id).await.unwrap() else { panic!("no prefetch") };
    assert_eq!(prefetch.repository.to_string(), "docker.io/library/alpine of group g1");
    assert_eq!(
        (prefetch.reference.to_string(), &*prefetch.platforms),
        ("3.20".to_owned(), &["linux/amd64".to_owned()][..])
    );
    assert!(client.client.claim_job(&id).await.unwrap().is_none(), "it is taken");
    assert!(client.policy.current().group(&"umbrella".parse().unwrap()).is_some(), "what came along with it counts");

    let progress = PrefetchProgress { total_bytes: 7, objects: 1, ..Default::default() };
    assert!(client.client.report_job(&id, &JobReport::Progress(progress)).await.unwrap());
    let failed = JobReport::Failed(JobFailure::Limit, "later".to_owned());
    assert!(client.client.report_job(&id, &failed).await.unwrap());
    assert!(!client.client.report_job("given up", &failed).await.unwrap());
    let reports = fake.script(|script| std::mem::take(&mut script.job_reports));
    assert!(matches!(&reports[0].report, Some(Report::Progress(progress)) if progress.total_bytes == 7));
    assert!(
        matches!(&reports[1].report, Some(Report::Failed(failed)) if failed.reason() == pb::JobFailure::Limit && failed.message == "later")
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_makes_no_sense_is_an_error_and_none_for_the_watch() {
    let fake = Fake::default();
    let prefetch = pb::PrefetchJob { repository: None, reference: "x".to_owned(), platforms: vec![] };
    fake.script(|script| script.jobs.insert("e1".to_owned(), Claimed::Prefetch(prefetch)));
    let error = fake.client().client.claim_job("e1").await.unwrap_err();
    assert_eq!(error.kind(), "bad_answer", "{error}");
}
