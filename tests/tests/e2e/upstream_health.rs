//! Trouble of one content, of one credential, or of the whole upstream: each is kept apart from the others.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{Fault, Hub, Kind, When},
    image::{Image, random_bytes},
    process::run_command,
};

use crate::{open_pair, soon, within};

#[tokio::test]
async fn a_failing_repository_suspends_no_other() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    for bad in ["library/bad", "library/worse"] {
        hub.push(bad, "latest", &Image::small(1));
        hub.fault(When::any().of(bad), Fault::Status(500));
    }
    for _ in 0..10 {
        for bad in ["bad", "worse"] {
            let refused = client.manifest(bad, "latest").await;
            assert!(refused.status.is_server_error(), "{refused:?}");
        }
    }
    let asked = hub.count(&When::any().of("library/bad"));
    // Five by HEAD, five by GET.
    assert!(asked <= 10, "{asked} requests for ten pulls of what fails:\n{}", hub.log());
    let images: Vec<_> = (0..15).map(|number| (format!("good{number}"), Image::small(100 + number))).collect();
    for (name, image) in &images {
        hub.push(&format!("library/{name}"), "latest", image);
    }
    let pulled = join_all(images.iter().map(|(name, _)| client.manifest(name, "latest"))).await;
    assert_eq!(pulled.iter().filter(|answer| answer.status.as_u16() == 200).count(), 15, "{}", hub.log());
    hub.clear_faults();
    hub.fault(When::any().of("library/bad").at("latest"), Fault::Status(500));
    hub.push("library/bad", "other", &Image::small(2));
    client.manifest("bad", "other").await.expect(200);
    hub.clear_faults();
    within(Duration::from_secs(40), 200, async || client.manifest("bad", "latest").await).await;
}

#[tokio::test]
async fn a_stale_token_is_replaced_whatever_form_the_refusal_has() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    let stale = When::kind(Kind::Manifest).with("authorization");
    for (what, fault) in [
        ("a 401 with a challenge", None),
        ("a 401 without a challenge", Some(Fault::WithoutHeader("www-authenticate"))),
        ("a 401 of no use", Some(Fault::Reply(401, vec![("www-authenticate", "Negotiate".to_owned())], Bytes::new()))),
        ("a 403", Some(Fault::Status(403))),
    ] {
        hub.forget_tokens();
        hub.forget_requests();
        if let Some(fault) = fault {
            hub.fault_times(stale.clone(), fault, 1);
        }
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated", "{what}");
        let counts = (hub.count(&When::head(Kind::Manifest)), hub.count(&When::kind(Kind::Token)));
        assert_eq!((counts, hub.count(&When::any())), ((2, 1), 3), "{what}:\n{}", hub.log());
        hub.clear_faults();
    }
    hub.forget_tokens();
    hub.fault(stale.clone(), Fault::WithoutHeader("www-authenticate"));
    hub.fault(When::kind(Kind::Token), Fault::Status(503));
    let served = client.manifest("app", "latest").await.expect(200);
    assert_eq!(served.cache(), "stale", "a refusal that cannot be tried again is trouble");
    hub.clear_faults();
    hub.fault(stale, Fault::Status(403));
    client.manifest("app", "latest").await.expect_error(403, "DENIED");
}

#[tokio::test]
async fn absurd_times_to_wait_are_not_believed() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    let in_two_seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 2;
    for waits in [None, Some(in_two_seconds.to_string()), Some("99999999".to_owned()), Some("-7".to_owned())] {
        hub.forget_requests();
        let headers = waits.clone().map(|waits| ("retry-after", waits)).into_iter().collect();
        hub.fault_times(When::kind(Kind::Manifest), Fault::Reply(429, headers, Bytes::new()), 1);
        let fresh = format!("fresh{}", waits.as_deref().unwrap_or("none"));
        hub.push("library/app", &fresh, &Image::small(7));
        let limited = client.manifest("app", &fresh).await.expect_error(429, "TOOMANYREQUESTS");
        let seconds: u64 = limited.header("retry-after").parse().unwrap_or(1);
        assert!(seconds <= 20, "{waits:?}: {limited:?}");
        assert_eq!(hub.count(&When::any()), 1, "{}", hub.log());
        within(Duration::from_secs(40), 200, async || client.manifest("app", &fresh).await).await;
    }
}

#[tokio::test]
async fn tokens_are_kept_whatever_form_their_lifetime_has() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let client = cluster.anonymous();
    for (number, expires_in) in ["\"300\"", "300.7", "-1", "null", "1e300", "\"soon\"", "0"].into_iter().enumerate() {
        let name = format!("app{number}");
        let image = Image::small(number as u64);
        hub.push(&format!("library/{name}"), "latest", &image);
        hub.fault(When::kind(Kind::Token), Fault::ExpiresIn(expires_in));
        client.token(&name).await;
        hub.forget_requests();
        client.manifest(&name, "latest").await.expect(200);
        client.manifest(&name, "latest").await.expect(200);
        assert_eq!(hub.count(&When::kind(Kind::Token)), 1, "{expires_in}:\n{}", hub.log());
        hub.clear_faults();
    }
}

#[tokio::test]
async fn a_slow_first_byte_is_waited_for_as_long_as_was_set() {
    let arguments = ["--upstream-first-byte-timeout", "60s"].map(str::to_owned).to_vec();
    let hub = Hub::start().await;
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let (image, blob) = (Image::small(1), random_bytes(1, 1000));
    hub.push("library/app", "latest", &image);
    let wanted = hub.push_blob("library/app", blob.clone());
    let client = cluster.anonymous();
    client.token("app").await;
    // Longer than everything takes by default.
    let slow = Fault::Delay(Duration::from_secs(12));
    hub.fault_times(When::head(Kind::Manifest).with("authorization"), slow.clone(), 1);
    hub.fault_times(When::get(Kind::Blob).with("authorization"), slow, 1);
    let (manifest, layer) = tokio::join!(client.manifest("app", "latest"), client.blob("app", &wanted));
    assert_eq!((manifest.expect(200).body, layer.expect(200).body), (image.manifest, blob));
}

#[tokio::test]
async fn a_time_that_cannot_take_effect_is_refused_at_the_start() {
    for flag in ["--upstream-connect-timeout", "--upstream-first-byte-timeout", "--upstream-idle-timeout"] {
        for value in ["11m", "0s"] {
            let cluster = Cluster::prepare(ClusterOptions::default());
            let refused = run_command(cluster.command(&["serve", flag, value]).into(), "").await;
            assert_eq!(refused.code, 2, "{flag} {value}");
            assert!(refused.stderr.contains(flag), "{}", refused.stderr);
        }
    }
}

#[tokio::test]
async fn a_token_service_that_moved_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let hub = Hub::start().await;
        hub.add_user("alice", "alices-password");
        hub.push("library/app", "latest", &Image::small(1));
        hub.make_private("library/app", &["alice"]);
        let cluster = Cluster::start(&hub).await;
        let login = ["upstream", "login", "default", "docker.io", "--username", "alice", "--password-stdin"];
        cluster.cli_with_input(&login, "alices-password").await.ok();
        let client = cluster.anonymous();
        soon(200, || client.manifest("app", "latest")).await;
        hub.forget_tokens();
        hub.forget_requests();
        hub.fault_times(When::kind(Kind::Token), Fault::RedirectTo(status, hub.url()), 1);
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated", "{status}");
        let asked = hub.requests(&When::kind(Kind::Token));
        assert_eq!(asked.len(), 2, "{}", hub.log());
        assert!(asked.iter().all(|request| request.header("authorization").starts_with("Basic ")), "{}", hub.log());
    }
}

#[tokio::test]
async fn credentials_follow_no_redirect_of_a_token_service_to_elsewhere() {
    let (hub, foreign) = (Hub::start().await, Hub::start().await);
    hub.add_user("alice", "alices-password");
    hub.push("library/app", "latest", &Image::small(1));
    hub.make_private("library/app", &["alice"]);
    let cluster = Cluster::start(&hub).await;
    let login = ["upstream", "login", "default", "docker.io", "--username", "alice", "--password-stdin"];
    cluster.cli_with_input(&login, "alices-password").await.ok();
    let client = cluster.anonymous();
    soon(200, || client.manifest("app", "latest")).await;
    hub.forget_tokens();
    hub.push("library/app", "cold", &Image::small(2));
    let away = foreign.url().replace("127.0.0.1", "localhost");
    hub.fault(When::kind(Kind::Token), Fault::RedirectTo(307, away));
    let refused = client.manifest("app", "cold").await.expect(502);
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("not listed"), "{refused:?}");
    assert_eq!(foreign.count(&When::any()), 0, "{}", foreign.log());
}
