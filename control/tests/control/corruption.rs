//! Healing: what nodes notice about their stores, whose bytes are hashed next, and checks. The node is played by the test.

use roadstead_proto::{
    node::v1::{
        CheckJob, CheckProgress, ClaimJobRequest, ClaimScrubRequest, CorruptContent, CorruptionKind as Found,
        ListGroupContentsRequest, ReportCorruptionRequest, ReportJobRequest, WatchRequest, claim_job_response::Job,
        policy_change::Change, report_job_request::Report, watch_response::Event,
    },
    v1::{CheckCacheRequest, CheckCacheResponse, CorruptionKind},
};
use tonic::Code;

use crate::harness::{Client, Plane, digest};

async fn report(node: &mut Client, name: &str, kind: Found, found_bytes: i64) {
    let corruptions =
        vec![CorruptContent { digest: digest(name), kind: kind.into(), found_bytes, ..Default::default() }];
    node.node.report_corruption(ReportCorruptionRequest { corruptions, ..Default::default() }).await.unwrap();
}

/// A check of acme, during which the node, played here, does `work`; what the caller is told.
async fn check(plane: &Plane, deep: bool, work: impl AsyncFnOnce(&mut Client)) -> Vec<CheckCacheResponse> {
    let mut node = plane.node();
    let mut events = node.node.watch(WatchRequest::default()).await.unwrap().into_inner();
    let request = CheckCacheRequest { group_path: "acme".into(), deep };
    let mut told = plane.admin().cache.check_cache(request).await.unwrap().into_inner();
    let id = loop {
        if let Some(Event::Changes(changes)) = events.message().await.unwrap().unwrap().event
            && let Some(Change::Job(offer)) = changes.changes.into_iter().find_map(|change| change.change)
        {
            break offer.id;
        }
    };
    let claimed = node.node.claim_job(ClaimJobRequest { id: id.clone() }).await.unwrap().into_inner();
    let Some(Job::Check(CheckJob { group_id, deep: asked })) = claimed.job else { panic!("a check") };
    assert!(asked == deep && !group_id.is_empty());
    let mut messages = Vec::new();
    let progress = |checked| CheckProgress { total: 2, checked, read_bytes: checked * 10 };
    let report = |report| ReportJobRequest { id: id.clone(), report: Some(report) };
    node.node.report_job(report(Report::Checking(progress(1)))).await.unwrap();
    messages.push(told.message().await.unwrap().unwrap());
    work(&mut node).await;
    node.node.report_job(report(Report::Checked(progress(2)))).await.unwrap();
    while let Some(message) = told.message().await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn a_check_tells_how_far_it_is_and_what_it_found_in_this_group() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    for name in ["x", "y"] {
        node.link_blob(&acme, "library/a", name, 10).await;
    }
    node.link_blob(&acme, "library/b", "x", 10).await;
    node.link_blob(&other, "library/a", "z", 10).await;
    // Noticed before: not found by this check.
    report(&mut node, "y", Found::Missing, 0).await;
    plane.advance(1);
    let told = check(&plane, true, async |node| {
        report(node, "x", Found::Size, 4).await;
        report(node, "z", Found::Digest, 10).await;
        report(node, "nobody-links-this", Found::Missing, 0).await;
    })
    .await;
    let [first, last] = &told[..] else { panic!("{told:?}") };
    assert!((first.total, first.checked, first.done) == (2, 1, false) && first.corruptions.is_empty());
    assert_eq!((last.total, last.checked, last.read_bytes, last.done), (2, 2, 20, true));
    let [corruption] = &last.corruptions[..] else { panic!("{last:?}") };
    assert_eq!(corruption.images.len(), 2);
    assert_eq!((corruption.digest.clone(), corruption.kind()), (digest("x"), CorruptionKind::Size));
    assert_eq!((corruption.size_bytes, corruption.found_bytes, corruption.healed_at), (10, 4, None));
}

#[tokio::test]
async fn what_is_fetched_again_is_healed_whoever_tells() {
    let plane = Plane::start().await;
    let acme = plane.group("acme").await;
    let mut node = plane.node();
    for name in ["x", "y", "z"] {
        node.link_blob(&acme, "library/a", name, 10).await;
    }
    let told = check(&plane, false, async |node| {
        for name in ["x", "y", "z"] {
            report(node, name, Found::Missing, 0).await;
        }
        node.link_blob(&acme, "library/a", "x", 10).await;
        let request = ReportCorruptionRequest { healed_digests: vec![digest("y")], ..Default::default() };
        node.node.report_corruption(request).await.unwrap();
    })
    .await;
    for corruption in &told[1].corruptions {
        assert_eq!(corruption.healed_at.is_some(), corruption.digest != digest("z"), "{corruption:?}");
    }
    assert_eq!(told[1].corruptions.len(), 3);
}

#[tokio::test]
async fn everything_linked_is_handed_out_for_hashing_once_a_day_and_the_longest_ago_first() {
    let plane = Plane::start().await;
    let acme = plane.group("acme").await;
    let mut node = plane.node();
    let claim = async |node: &mut Client, limit| {
        let request = ClaimScrubRequest { limit, ..Default::default() };
        let contents = node.node.claim_scrub(request).await.unwrap().into_inner().contents;
        contents.into_iter().map(|content| content.digest).collect::<Vec<_>>()
    };
    for name in ["x", "y", "z"] {
        node.link_blob(&acme, "a", name, 10).await;
    }
    let first = claim(&mut node, 2).await;
    plane.advance(60);
    let second = claim(&mut node, 2).await;
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(claim(&mut node, 2).await.is_empty(), "all were looked at today");
    plane.advance(24 * 3600 - 60);
    let mut again = claim(&mut node, 3).await;
    again.sort();
    let mut expected = first.clone();
    expected.sort();
    assert_eq!(again, expected);
    let bad = ClaimScrubRequest { limit: 1001, ..Default::default() };
    assert_eq!(node.node.claim_scrub(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_groups_contents_come_in_pages_each_once() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    for n in 0..7 {
        node.link_blob(&acme, "a", &format!("x{n}"), n).await;
        node.link_blob(&acme, "b", &format!("x{n}"), n).await;
        node.link_blob(&other, "a", &format!("y{n}"), n).await;
    }
    let (mut after_digest, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListGroupContentsRequest { group_id: acme.id.clone(), after_digest, limit: 3 };
        let page = node.node.list_group_contents(request).await.unwrap().into_inner();
        assert!(page.total == 7 && page.contents.len() <= 3);
        let Some(last) = page.contents.last() else { break };
        after_digest = last.digest.clone();
        seen.extend(page.contents.into_iter().map(|content| content.digest));
    }
    let mut expected: Vec<_> = (0..7).map(|n| digest(&format!("x{n}"))).collect();
    expected.sort();
    assert_eq!(seen, expected);
}
