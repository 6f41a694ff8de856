//! Freshness of tags by a group's settings: the answers to nodes as time goes by.

use prost_types::Duration;
use roadstead_proto::{
    node::v1::{
        RefusalReason, ReportTagRequest, ResolveTagRequest, ServeManifest, StaleReason, TagFound, TagNotFound,
        TagUnavailable, UpstreamOutcome, report_tag_response::Decision as Reported,
        resolve_tag_response::Decision as Resolved, upstream_outcome::Outcome,
    },
    v1::{
        GetGroupRequest, Group, ImagePatterns, ListTagHistoryRequest, MissingTag, PinTagRequest, PurgeCacheRequest,
        PurgeFilter, TagObservation, TagRule, TagRules, UnpinTagRequest, UpdateGroupRequest,
    },
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Client, Plane, START_MS, digest, place};

const HOUR: u64 = 3600;
const IMAGE: &str = "library/alpine";

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration { seconds: seconds as i64, nanos: 0 })
}

fn update() -> UpdateGroupRequest {
    UpdateGroupRequest { path: "acme".into(), ..Default::default() }
}

/// A group with these settings.
async fn group(plane: &Plane, request: UpdateGroupRequest) -> Group {
    plane.group("acme").await;
    plane.admin().groups.update_group(request).await.unwrap().into_inner().group.unwrap()
}

async fn resolve(node: &mut Client, group: &Group, tag: &str) -> Resolved {
    let request = ResolveTagRequest { repository: place(group, IMAGE), tag: tag.into(), node_id: String::new() };
    node.node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap()
}

async fn report(node: &mut Client, group: &Group, tag: &str, outcome: Outcome) -> Reported {
    let outcome = Some(UpstreamOutcome { outcome: Some(outcome) });
    let request = ReportTagRequest { repository: place(group, IMAGE), tag: tag.into(), outcome };
    node.node.report_tag(request).await.unwrap().into_inner().decision.unwrap()
}

fn found(name: &str) -> Outcome {
    Outcome::Found(TagFound { digest: digest(name) })
}

fn down() -> Outcome {
    Outcome::Unavailable(TagUnavailable { kind: "connect".into(), retry_after: None })
}

/// The tag moves upstream, is asked for, and fetched if the control plane says so.
async fn pull(node: &mut Client, group: &Group, tag: &str, name: &str) -> Option<ServeManifest> {
    match report(node, group, tag, found(name)).await {
        Reported::Serve(serve) => Some(serve),
        Reported::Fetch(_) => {
            assert!(node.link_manifest(group, IMAGE, name, tag, &[]).await.recorded);
            None
        }
        Reported::Refuse(refuse) => panic!("{refuse:?}"),
    }
}

fn served(resolved: Resolved) -> (String, StaleReason) {
    let Resolved::Serve(serve) = resolved else { panic!("{resolved:?}") };
    (serve.manifest.clone().unwrap().digest, serve.stale())
}

async fn history(plane: &Plane) -> Vec<TagObservation> {
    let request = ListTagHistoryRequest { group_path: "acme".into(), image: "alpine".into(), tag: "latest".into() };
    plane.admin().cache.list_tag_history(request).await.unwrap().into_inner().observations
}

async fn pin(plane: &Plane, name: &str) {
    let request =
        PinTagRequest { group_path: "acme".into(), image: "alpine".into(), tag: "latest".into(), digest: digest(name) };
    plane.admin().cache.pin_tag(request).await.unwrap();
}

async fn unpin(plane: &Plane) -> Result<(), tonic::Status> {
    let request = UnpinTagRequest { group_path: "acme".into(), image: "alpine".into(), tag: "latest".into() };
    plane.admin().cache.unpin_tag(request).await.map(|_| ())
}

#[tokio::test]
async fn settings_are_kept_shown_and_replaced_only_where_they_are_named() {
    let plane = Plane::start().await;
    let rule =
        TagRule { pattern: "alpine:3*".into(), max_age: seconds(60), immutable: Some(true), ..Default::default() };
    let patterns = |text: &str| Some(ImagePatterns { patterns: vec![text.into()] });
    let before = plane.group("acme").await;
    assert_eq!((before.max_stale, before.missing_tag()), (seconds(7 * 24 * HOUR), MissingTag::Gone));
    let everything = UpdateGroupRequest {
        max_stale: seconds(HOUR),
        cooldown: seconds(24 * HOUR),
        missing_tag: Some(MissingTag::Keep.into()),
        tag_rules: Some(TagRules { rules: vec![rule.clone()] }),
        allowed_images: patterns("library/*"),
        denied_images: patterns("*miner*"),
        ..update()
    };
    plane.admin().groups.update_group(everything).await.unwrap();
    plane.admin().groups.update_group(UpdateGroupRequest { cooldown: seconds(5), ..update() }).await.unwrap();
    let plane = plane.restart().await;
    let get = GetGroupRequest { path: "acme".into() };
    let group = plane.admin().groups.get_group(get).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.max_stale, group.cooldown), (seconds(HOUR), seconds(5)));
    assert_eq!((group.missing_tag(), &group.tag_rules[..]), (MissingTag::Keep, &[rule][..]));
    assert_eq!(
        (&*group.allowed_images, &*group.denied_images),
        (&["library/*".to_owned()][..], &["*miner*".to_owned()][..])
    );
}

#[tokio::test]
async fn every_field_that_cannot_be_is_named() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let minus = Some(Duration { seconds: -1, nanos: 0 });
    let too_long = seconds(4000 * 24 * HOUR);
    let patterns = |text: &str| Some(ImagePatterns { patterns: vec!["alpine".into(), text.into()] });
    for (request, expected) in [
        (
            UpdateGroupRequest {
                max_stale: minus,
                missing_tag: Some(77),
                tag_rules: Some(TagRules {
                    rules: vec![TagRule { pattern: "A".into(), cooldown: minus, ..Default::default() }],
                }),
                allowed_images: patterns("a b"),
                denied_images: patterns(""),
                ..update()
            },
            &[
                "max_stale",
                "missing_tag",
                "tag_rules[0].cooldown",
                "tag_rules[0].pattern",
                "allowed_images[1]",
                "denied_images[1]",
            ][..],
        ),
        (
            UpdateGroupRequest {
                max_stale: too_long,
                cooldown: too_long,
                tag_rules: Some(TagRules { rules: vec![TagRule { pattern: "a".into(), ..Default::default() }] }),
                denied_images: patterns("alpine:3"),
                ..update()
            },
            &["max_stale", "cooldown", "tag_rules[0]", "denied_images"],
        ),
        (UpdateGroupRequest { missing_tag: Some(MissingTag::Unspecified.into()), ..update() }, &["missing_tag"]),
    ] {
        let status = plane.admin().groups.update_group(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, expected);
    }
}

#[tokio::test]
async fn rules_give_some_tags_their_own_settings_and_immutable_ones_are_asked_for_once() {
    let plane = Plane::start().await;
    let rule = |pattern: &str| TagRule { pattern: pattern.into(), ..Default::default() };
    let rules = vec![
        TagRule { immutable: Some(true), ..rule("alpine:v*") },
        TagRule { max_age: seconds(60), ..rule("alpine:edge") },
    ];
    let group = group(&plane, UpdateGroupRequest { tag_rules: Some(TagRules { rules }), ..update() }).await;
    let mut node = plane.node();
    for tag in ["v1", "edge", "latest"] {
        pull(&mut node, &group, tag, tag).await;
    }
    plane.advance(59);
    assert!(matches!(resolve(&mut node, &group, "latest").await, Resolved::Revalidate(_)));
    assert_eq!(served(resolve(&mut node, &group, "edge").await), (digest("edge"), StaleReason::Unspecified));
    plane.advance(400 * 24 * HOUR);
    assert!(matches!(resolve(&mut node, &group, "edge").await, Resolved::Revalidate(_)));
    assert_eq!(served(resolve(&mut node, &group, "v1").await), (digest("v1"), StaleReason::Unspecified));
    assert!(matches!(resolve(&mut node, &group, "v2").await, Resolved::Revalidate(_)), "not cached yet");
}

#[tokio::test]
async fn a_tag_is_served_through_an_outage_for_max_stale_and_then_refused_clearly() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    plane.advance(7 * 24 * HOUR - 1);
    let Reported::Serve(serve) = report(&mut node, &group, "latest", down()).await else { panic!() };
    assert_eq!(serve.stale(), StaleReason::UpstreamUnavailable);
    plane.advance(1);
    let Reported::Refuse(refuse) = report(&mut node, &group, "latest", down()).await else { panic!() };
    assert_eq!(refuse.reason(), RefusalReason::TooStale);
    assert!(refuse.message.contains("7 days") && refuse.message.contains("--max-stale"), "{}", refuse.message);
    pull(&mut node, &group, "latest", "m1").await;
    assert!(matches!(report(&mut node, &group, "latest", down()).await, Reported::Serve(_)), "confirmed again");
}

#[tokio::test]
async fn a_moved_tag_keeps_its_old_meaning_until_the_new_one_has_cooled() {
    let plane = Plane::start().await;
    let group = group(&plane, UpdateGroupRequest { cooldown: seconds(24 * HOUR), ..update() }).await;
    let mut node = plane.node();
    assert_eq!(pull(&mut node, &group, "latest", "m1").await, None, "a first meaning is followed at once");
    plane.advance(HOUR);
    for hours in [0, 1, 22] {
        plane.advance(hours * HOUR);
        let held = pull(&mut node, &group, "latest", "m2").await.unwrap();
        assert_eq!((held.manifest.clone().unwrap().digest, held.stale()), (digest("m1"), StaleReason::Cooldown));
    }
    // Fetched by digest by somebody who knows it: the tag does not follow for that.
    node.link_manifest(&group, IMAGE, "m2", "", &[]).await;
    assert!(pull(&mut node, &group, "latest", "m2").await.unwrap().stale() == StaleReason::Cooldown);
    plane.advance(HOUR);
    let now = pull(&mut node, &group, "latest", "m2").await.unwrap();
    assert_eq!((now.manifest.clone().unwrap().digest, now.stale()), (digest("m2"), StaleReason::Unspecified));
}

#[tokio::test]
async fn taking_a_tag_away_for_a_moment_does_not_cut_the_cooldown_short() {
    let plane = Plane::start().await;
    let group = group(&plane, UpdateGroupRequest { cooldown: seconds(24 * HOUR), ..update() }).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    let gone = report(&mut node, &group, "latest", Outcome::NotFound(TagNotFound {})).await;
    assert!(matches!(gone, Reported::Refuse(refuse) if refuse.reason() == RefusalReason::NotFound));
    let held = pull(&mut node, &group, "latest", "evil").await.unwrap();
    assert_eq!((held.manifest.clone().unwrap().digest, held.stale()), (digest("m1"), StaleReason::Cooldown));
    // With the old meaning purged, there is nothing left to protect.
    let purge = PurgeCacheRequest::selected(PurgeFilter {
        group_path: "acme".into(),
        image: "alpine".into(),
        ..Default::default()
    });
    plane.admin().cache.purge_cache(purge).await.unwrap();
    assert_eq!(pull(&mut node, &group, "latest", "evil").await, None);
}

#[tokio::test]
async fn a_tag_that_is_gone_upstream_stays_where_the_group_keeps_such_tags() {
    let plane = Plane::start().await;
    let keep = UpdateGroupRequest { missing_tag: Some(MissingTag::Keep.into()), ..update() };
    let group = group(&plane, keep).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    let gone = || Outcome::NotFound(TagNotFound {});
    for _ in 0..3 {
        plane.advance(6 * 24 * HOUR);
        let Reported::Serve(serve) = report(&mut node, &group, "latest", gone()).await else { panic!() };
        assert_eq!((serve.manifest.clone().unwrap().digest, serve.stale()), (digest("m1"), StaleReason::Missing));
    }
    plane.advance(6 * 24 * HOUR);
    assert!(
        matches!(report(&mut node, &group, "latest", down()).await, Reported::Serve(_)),
        "upstream was there lately"
    );
    let refused = report(&mut node, &group, "other", gone()).await;
    assert!(matches!(refused, Reported::Refuse(refuse) if refuse.reason() == RefusalReason::NotFound));
}

#[tokio::test]
async fn history_tells_what_a_tag_has_meant_and_a_pin_rolls_back_to_it() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    for name in ["m1", "m2", "m1", "m3"] {
        pull(&mut node, &group, "latest", name).await;
        plane.advance(100);
    }
    let shown = |observations: Vec<TagObservation>| -> Vec<_> {
        let ms = |at: Option<prost_types::Timestamp>| at.unwrap().seconds - START_MS / 1000;
        let flags = |s: &TagObservation| format!("{}{}{}", s.cached as u8, s.served as u8, s.pinned as u8);
        observations.iter().map(|s| (s.digest.clone(), ms(s.first_seen_at), ms(s.last_seen_at), flags(s))).collect()
    };
    let row = |name: &str, first, last, flags: &str| (digest(name), first, last, flags.to_owned());
    let [m3, m1, m2] = [("m3", 300, 300), ("m1", 0, 200), ("m2", 100, 100)];
    let expect = |m3_flags, m1_flags, m2_flags| {
        vec![row(m3.0, m3.1, m3.2, m3_flags), row(m1.0, m1.1, m1.2, m1_flags), row(m2.0, m2.1, m2.2, m2_flags)]
    };
    assert_eq!(shown(history(&plane).await), expect("110", "100", "100"));
    pin(&plane, "m1").await;
    assert_eq!(shown(history(&plane).await), expect("100", "111", "100"));
    assert_eq!(served(resolve(&mut node, &group, "latest").await), (digest("m1"), StaleReason::Unspecified));
    // What upstream said meanwhile is not used.
    let Reported::Serve(serve) = report(&mut node, &group, "latest", found("m4")).await else { panic!() };
    assert_eq!(serve.manifest.unwrap().digest, digest("m1"));
    assert_eq!(history(&plane).await.len(), 3);
    unpin(&plane).await.unwrap();
    assert!(matches!(resolve(&mut node, &group, "latest").await, Resolved::Revalidate(_)));
    assert_eq!(unpin(&plane).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_pin_that_is_not_cached_is_fetched_by_digest_and_survives_purges() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    pin(&plane, "m0").await;
    let Resolved::Fetch(fetch) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!(fetch.digest, digest("m0"));
    // However the node records it, that says nothing of what the tag means upstream.
    node.link_manifest(&group, IMAGE, "m0", "latest", &[]).await;
    assert_eq!(served(resolve(&mut node, &group, "latest").await).0, digest("m0"));
    let shown = history(&plane).await;
    assert_eq!((shown.len(), &shown[0].digest, shown[0].pinned), (2, &digest("m1"), false));
    assert_eq!((&shown[1].digest, shown[1].first_seen_at, shown[1].pinned), (&digest("m0"), None, true));
    let of_alpine = PurgeFilter { group_path: "acme".into(), image: "alpine".into(), ..Default::default() };
    for purge in [PurgeCacheRequest::selected(of_alpine), PurgeCacheRequest::whole_group("acme")] {
        plane.admin().cache.purge_cache(purge).await.unwrap();
        assert!(matches!(resolve(&mut node, &group, "latest").await, Resolved::Fetch(_)), "pins are settings");
        let shown = history(&plane).await;
        assert!(shown.len() == 1 && shown[0].pinned && !shown[0].cached, "and history is not: {shown:?}");
    }
}

#[tokio::test]
async fn purging_a_tag_leaves_its_history() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    pull(&mut plane.node(), &group, "latest", "m1").await;
    let purge = PurgeCacheRequest::selected(PurgeFilter {
        group_path: "acme".into(),
        image: "alpine".into(),
        tag: "latest".into(),
        ..Default::default()
    });
    plane.admin().cache.purge_cache(purge).await.unwrap();
    let left = history(&plane).await;
    assert!(left.len() == 1 && !left[0].cached && !left[0].served, "{left:?}");
}

#[tokio::test]
async fn history_keeps_the_last_hundred() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    for n in 0..105 {
        report(&mut node, &group, "latest", found(&format!("m{n}"))).await;
        plane.advance(1);
    }
    let kept = history(&plane).await;
    assert_eq!((kept.len(), &kept[0].digest, &kept[99].digest), (100, &digest("m104"), &digest("m5")));
}

#[tokio::test]
async fn images_that_the_rules_do_not_let_through_are_refused_with_the_rule_cached_or_not() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    let patterns = |text: &str| Some(ImagePatterns { patterns: vec![text.into()] });
    let none = || Some(ImagePatterns::default());
    for (allowed, denied, rule) in [
        (none(), patterns("docker.io/*alp*"), Some("docker.io/*alp*")),
        (patterns("ghcr.io/*"), none(), Some("ghcr.io/*")),
        (patterns("library/*"), none(), None),
    ] {
        let request = UpdateGroupRequest { allowed_images: allowed, denied_images: denied, ..update() };
        plane.admin().groups.update_group(request).await.unwrap();
        match (resolve(&mut node, &group, "latest").await, rule) {
            (Resolved::Refuse(refuse), Some(rule)) => {
                assert_eq!(refuse.reason(), RefusalReason::Denied);
                assert!(refuse.message.contains(rule), "{}", refuse.message);
            }
            (Resolved::Revalidate(_), None) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_check_that_finds_nothing_new_is_noted_every_few_seconds_only() {
    let plane = Plane::start().await;
    let group = group(&plane, update()).await;
    let mut node = plane.node();
    pull(&mut node, &group, "latest", "m1").await;
    let last_seen = || async { history(&plane).await[0].last_seen_at.unwrap().seconds - START_MS / 1000 };
    for (advance, expected) in [(3, 0), (2, 5), (4, 5), (1, 10)] {
        plane.advance(advance);
        let serve = pull(&mut node, &group, "latest", "m1").await.unwrap();
        assert_eq!(serve.age, None, "who asked knows it is fresh");
        assert_eq!(last_seen().await, expected);
    }
}
