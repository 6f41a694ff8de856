//! Jobs that only a node can do: trying credentials, and prefetching images. The node is played by the test.

use roadstead_proto::time::timestamp;
use std::time::Duration;

use roadstead_proto::{
    node::v1::{
        ClaimJobRequest, CredentialGood, GetCredentialRequest, JobFailed, JobFailure, PrefetchProgress,
        ReportJobRequest, ReportUpstreamsRequest, UpstreamCondition, UpstreamReport, WatchRequest, WatchResponse,
        claim_job_response::Job, policy_change::Change, report_job_request::Report, watch_response::Event,
    },
    v1::{
        CreatePrefetchScheduleRequest, DeletePrefetchScheduleRequest, ListPrefetchSchedulesRequest,
        PrefetchImageRequest, PrefetchSchedule, UpdateCredentialRequest, UpdateGroupRequest,
    },
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Status, Streaming};

use crate::harness::{Client, Plane, START_MS, digest};

/// A node that watches and takes jobs on.
pub struct FakeNode {
    pub client: Client,
    events: Streaming<WatchResponse>,
}

impl FakeNode {
    pub async fn connect(plane: &Plane) -> Self {
        let mut client = plane.node();
        let mut events = client.node.watch(WatchRequest::default()).await.unwrap().into_inner();
        assert!(matches!(events.message().await.unwrap().unwrap().event, Some(Event::Snapshot(_))));
        Self { client, events }
    }

    /// The next job that is offered.
    pub async fn offered(&mut self) -> String {
        let offer = async {
            loop {
                let Some(Event::Changes(changes)) = self.events.message().await.unwrap().unwrap().event else {
                    continue;
                };
                for change in changes.changes {
                    if let Some(Change::Job(offer)) = change.change {
                        return offer.id;
                    }
                }
            }
        };
        timeout(Duration::from_secs(20), offer).await.unwrap()
    }

    pub async fn claim(&mut self, id: &str) -> Result<Job, Status> {
        let answer = self.client.node.claim_job(ClaimJobRequest { id: id.into() }).await?;
        Ok(answer.into_inner().job.unwrap())
    }

    pub async fn report(&mut self, id: &str, report: Report) -> Result<(), Status> {
        let request = ReportJobRequest { id: id.into(), report: Some(report) };
        self.client.node.report_job(request).await.map(|_| ())
    }

    /// Takes the next job on, and ends it so.
    pub async fn do_next(&mut self, report: Report) -> Job {
        let id = self.offered().await;
        let job = self.claim(&id).await.unwrap();
        self.report(&id, report).await.unwrap();
        job
    }
}

fn failed(reason: JobFailure, message: &str) -> Report {
    Report::Failed(JobFailed { reason: reason.into(), message: message.into() })
}

pub fn progress(fetched_bytes: i64) -> PrefetchProgress {
    PrefetchProgress { total_bytes: 100, cached_bytes: fetched_bytes, fetched_bytes, objects: 2, digest: digest("m") }
}

pub fn login() -> UpdateCredentialRequest {
    UpdateCredentialRequest {
        group_path: "acme".into(),
        host: "docker.io".into(),
        username: "me".into(),
        password: "hunter2".into(),
        skip_verification: false,
        allow_missing: true,
    }
}

pub fn set(plane: &Plane) -> JoinHandle<Result<(), Status>> {
    let mut admin = plane.admin();
    tokio::spawn(async move { admin.upstreams.update_credential(login()).await.map(|_| ()) })
}

pub async fn stored_username(plane: &Plane, group_id: &str) -> String {
    let request = GetCredentialRequest { group_id: group_id.into(), upstream: "docker.io".into() };
    plane.node().node.get_credential(request).await.unwrap().into_inner().username
}

#[tokio::test]
async fn credentials_are_tried_by_a_node_and_stored_only_if_they_are_good() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    for (report, code, says) in [
        (failed(JobFailure::Refused, "incorrect username or password"), Code::FailedPrecondition, "incorrect"),
        (failed(JobFailure::Unavailable, "connect: refused"), Code::Unavailable, "--no-verify"),
    ] {
        let call = set(&plane);
        node.do_next(report).await;
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), code);
        assert!(status.message().contains(says) && status.message().contains("docker.io"), "{}", status.message());
        assert!(!status.message().contains("hunter2"));
        assert_eq!(stored_username(&plane, &group.id).await, "");
    }
    let call = set(&plane);
    let job = node.do_next(Report::CredentialGood(CredentialGood {})).await;
    let Job::VerifyCredential(verify) = job else { panic!() };
    assert_eq!((&*verify.upstream, &*verify.username, &*verify.password), ("docker.io", "me", "hunter2"));
    call.await.unwrap().unwrap();
    assert_eq!(stored_username(&plane, &group.id).await, "me");
}

#[tokio::test]
async fn without_a_node_credentials_cannot_be_tried_and_the_answer_says_what_to_do() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let status = set(&plane).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("no node is connected") && status.message().contains("--no-verify"));
    let untried = UpdateCredentialRequest { skip_verification: true, ..login() };
    plane.admin().upstreams.update_credential(untried).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_tried() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    let elsewhere = UpdateCredentialRequest { host: "quay.io".into(), ..login() };
    let status = plane.admin().upstreams.update_credential(elsewhere).await.unwrap_err();
    assert!(status.code() == Code::FailedPrecondition && status.message().contains("group update"));
    // The next offer is of the next call: that one made none.
    let call = set(&plane);
    let Job::VerifyCredential(verify) = node.do_next(Report::CredentialGood(CredentialGood {})).await else { panic!() };
    assert_eq!(verify.upstream, "docker.io");
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_node_gets_a_job_and_all_are_offered_it() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let (mut first, mut second) = (FakeNode::connect(&plane).await, FakeNode::connect(&plane).await);
    let call = set(&plane);
    let id = first.offered().await;
    assert_eq!(second.offered().await, id);
    let mut late = FakeNode::connect(&plane).await;
    assert_eq!(late.offered().await, id, "who comes while it waits is offered it too");
    second.claim(&id).await.unwrap();
    assert_eq!(first.claim(&id).await.unwrap_err().code(), Code::NotFound);
    second.report(&id, Report::CredentialGood(CredentialGood {})).await.unwrap();
    call.await.unwrap().unwrap();
    let late = second.report(&id, Report::CredentialGood(CredentialGood {})).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound);
}

fn prefetch(image: &str) -> PrefetchImageRequest {
    PrefetchImageRequest { group_path: "acme".into(), image: image.into(), platforms: vec!["linux/amd64".into()] }
}

#[tokio::test]
async fn a_prefetch_tells_how_far_it_is_until_it_is_done() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    let mut told = plane.admin().cache.prefetch_image(prefetch("alpine:3.20")).await.unwrap().into_inner();
    let id = node.offered().await;
    let Job::Prefetch(job) = node.claim(&id).await.unwrap() else { panic!() };
    let place = job.repository.unwrap();
    assert_eq!((place.group_id, &*place.upstream, &*place.repository), (group.id, "docker.io", "library/alpine"));
    assert_eq!((&*job.reference, job.platforms), ("3.20", vec!["linux/amd64".to_owned()]));
    node.report(&id, Report::Progress(progress(40))).await.unwrap();
    let step = told.message().await.unwrap().unwrap();
    assert_eq!((step.total_bytes, step.fetched_bytes, step.done), (100, 40, false));
    node.report(&id, Report::Done(progress(100))).await.unwrap();
    let last = told.message().await.unwrap().unwrap();
    assert_eq!((last.fetched_bytes, last.done, last.digest), (100, true, digest("m")));
    assert!(told.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_prefetch_that_nobody_waits_for_is_given_up() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    let told = plane.admin().cache.prefetch_image(prefetch("alpine")).await.unwrap().into_inner();
    let id = node.offered().await;
    node.claim(&id).await.unwrap();
    drop(told);
    let given_up = async {
        loop {
            match node.report(&id, Report::Progress(progress(1))).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(status) => return status,
            }
        }
    };
    let status = timeout(Duration::from_secs(5), given_up).await.unwrap();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn what_a_prefetch_fails_for_is_told_apart() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    for (reason, code) in [
        (JobFailure::NotFound, Code::NotFound),
        (JobFailure::Refused, Code::FailedPrecondition),
        (JobFailure::Unavailable, Code::Unavailable),
        (JobFailure::Limit, Code::ResourceExhausted),
    ] {
        let mut told = plane.admin().cache.prefetch_image(prefetch("alpine")).await.unwrap().into_inner();
        node.do_next(failed(reason, "it is so")).await;
        let status = told.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "it is so"));
    }
}

async fn limit(plane: &Plane, condition: UpstreamCondition) {
    let condition = Some(UpstreamCondition { upstream: "docker.io".into(), ..condition });
    let reports = vec![UpstreamReport { condition, ..Default::default() }];
    let request = ReportUpstreamsRequest { batch_id: "1".into(), reports, node_name: "n".into() };
    plane.node().node.report_upstreams(request).await.unwrap();
}

#[tokio::test]
async fn what_must_not_be_fetched_is_refused_before_any_node_is_bothered() {
    let update = || UpdateGroupRequest { path: "acme".into(), ..Default::default() };
    let denied = roadstead_proto::v1::ImagePatterns { patterns: vec!["*alp*".into()] };
    for (name, update, condition, code) in [
        ("frozen", UpdateGroupRequest { frozen: Some(true), ..update() }, None, Code::FailedPrecondition),
        ("switched off", UpdateGroupRequest { enabled: Some(false), ..update() }, None, Code::FailedPrecondition),
        ("denied", UpdateGroupRequest { denied_images: Some(denied), ..update() }, None, Code::FailedPrecondition),
        (
            "paused",
            update(),
            Some(UpstreamCondition { paused_until: timestamp(START_MS + 1000), ..Default::default() }),
            Code::ResourceExhausted,
        ),
        (
            "below the reserve",
            update(),
            Some(UpstreamCondition { limit: 100, remaining: 9, seen_at: timestamp(START_MS), ..Default::default() }),
            Code::ResourceExhausted,
        ),
    ] {
        let plane = Plane::start().await;
        plane.group("acme").await;
        let _node = FakeNode::connect(&plane).await;
        plane.admin().groups.update_group(update).await.unwrap();
        if let Some(condition) = condition {
            limit(&plane, condition).await;
        }
        let status = plane.admin().cache.prefetch_image(prefetch("alpine")).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}");
    }
    let plane = Plane::start().await;
    plane.group("acme").await;
    for (name, request, code) in [
        ("no node", prefetch("alpine"), Code::FailedPrecondition),
        ("no image", prefetch(""), Code::InvalidArgument),
        (
            "bad platform",
            PrefetchImageRequest { platforms: vec!["amd64".into()], ..prefetch("a") },
            Code::InvalidArgument,
        ),
        ("another upstream", prefetch("quay.io/a/b"), Code::FailedPrecondition),
        ("no group", PrefetchImageRequest { group_path: "gone".into(), ..prefetch("a") }, Code::NotFound),
    ] {
        let status = match plane.admin().cache.prefetch_image(request).await {
            Err(status) => status,
            // Where another replica may have a node, that takes a moment to tell.
            Ok(told) => told.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(status.code(), code, "{name}");
    }
}

fn every_hour(image: &str) -> CreatePrefetchScheduleRequest {
    CreatePrefetchScheduleRequest {
        group_path: "acme".into(),
        image: image.into(),
        platforms: vec!["linux/amd64".into()],
        every: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    }
}

async fn schedules(plane: &Plane) -> Vec<PrefetchSchedule> {
    let request = ListPrefetchSchedulesRequest { group_path: "acme".into(), ..Default::default() };
    plane.admin().cache.list_prefetch_schedules(request).await.unwrap().into_inner().schedules
}

/// Waits until a schedule shows what is expected.
async fn until(plane: &Plane, good: impl Fn(&PrefetchSchedule) -> bool) -> PrefetchSchedule {
    let seen = async {
        loop {
            if let Some(schedule) = schedules(plane).await.into_iter().find(&good) {
                return schedule;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), seen).await.unwrap()
}

#[tokio::test]
async fn a_schedule_runs_at_once_and_whenever_it_is_due_and_keeps_how_it_ended() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut node = FakeNode::connect(&plane).await;
    let made = plane.admin().cache.create_prefetch_schedule(every_hour("alpine:3.20")).await.unwrap().into_inner();
    let made = made.schedule.unwrap();
    assert_eq!((&*made.image, made.last_run_at), ("docker.io/library/alpine:3.20", None));
    let Job::Prefetch(job) = node.do_next(failed(JobFailure::NotFound, "no such tag")).await else { panic!() };
    assert_eq!((&*job.reference, job.platforms), ("3.20", vec!["linux/amd64".to_owned()]));
    let ran = until(&plane, |schedule| schedule.last_error == "no such tag").await;
    assert_eq!(ran.last_run_at.unwrap().seconds, START_MS / 1000);
    plane.advance(3600);
    node.do_next(Report::Done(progress(100))).await;
    let ran = until(&plane, |schedule| schedule.last_error.is_empty()).await;
    assert_eq!(ran.last_run_at.unwrap().seconds, START_MS / 1000 + 3600);
    plane.admin().cache.delete_prefetch_schedule(DeletePrefetchScheduleRequest { id: made.id }).await.unwrap();
    assert_eq!(schedules(&plane).await, []);
}

#[tokio::test]
async fn a_schedule_skips_while_the_pull_limit_is_low() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let _node = FakeNode::connect(&plane).await;
    limit(&plane, UpstreamCondition { limit: 100, remaining: 9, seen_at: timestamp(START_MS), ..Default::default() })
        .await;
    plane.admin().cache.create_prefetch_schedule(every_hour("alpine")).await.unwrap();
    let ran = until(&plane, |schedule| schedule.last_run_at.is_some() && !schedule.last_error.is_empty()).await;
    assert!(ran.last_error.contains("pull limit of docker.io"), "{}", ran.last_error);
}

#[tokio::test]
async fn schedules_that_cannot_be_are_refused_and_those_of_others_look_like_none() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("other").await;
    let pinned = format!("alpine@{}", digest("m"));
    let short = Some(prost_types::Duration { seconds: 299, nanos: 0 });
    for (name, request, code) in [
        ("a digest", every_hour(&pinned), Code::InvalidArgument),
        ("no image", every_hour(""), Code::InvalidArgument),
        ("too often", CreatePrefetchScheduleRequest { every: short, ..every_hour("a") }, Code::InvalidArgument),
        ("no time", CreatePrefetchScheduleRequest { every: None, ..every_hour("a") }, Code::InvalidArgument),
        ("another upstream", every_hour("quay.io/a"), Code::FailedPrecondition),
    ] {
        assert_eq!(plane.admin().cache.create_prefetch_schedule(request).await.unwrap_err().code(), code, "{name}");
    }
    let made = plane.admin().cache.create_prefetch_schedule(every_hour("alpine")).await.unwrap().into_inner();
    let delete = DeletePrefetchScheduleRequest { id: made.schedule.unwrap().id };
    let other = plane.token("other", &["api"]).await.token;
    let refused = plane.client(Some(&other)).cache.delete_prefetch_schedule(delete.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let own = plane.token("acme", &["api"]).await.token;
    plane.client(Some(&own)).cache.delete_prefetch_schedule(delete).await.unwrap();
}

#[tokio::test]
async fn a_group_goes_with_its_schedules_pins_and_history() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    plane.admin().cache.create_prefetch_schedule(every_hour("alpine")).await.unwrap();
    plane.node().link_manifest(&group, "library/alpine", "m", "latest", &[]).await;
    let pin = roadstead_proto::v1::PinTagRequest {
        group_path: "acme".into(),
        image: "alpine".into(),
        tag: "latest".into(),
        digest: digest("m"),
    };
    plane.admin().cache.pin_tag(pin).await.unwrap();
    let delete = roadstead_proto::v1::DeleteGroupRequest { path: "acme".into() };
    plane.admin().groups.delete_group(delete).await.unwrap();
    plane.group("acme").await;
    assert_eq!(schedules(&plane).await, []);
}
