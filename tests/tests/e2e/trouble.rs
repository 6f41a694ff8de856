//! Trouble that takes more than one request to show: what it costs upstream, and when upstream is left alone.

use std::time::{Duration, Instant};

use roadstead_tests::{
    cluster::Cluster,
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, random_bytes},
};

use crate::{open_pair, soon, within};

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_download_is_renewed_once() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let (blob, client) = (random_bytes(3, 2_000_000), cluster.anonymous());
    let wanted = hub.push_blob("library/app", blob.clone());
    hub.push("library/app", "latest", &Image::small(1));
    client.manifest("app", "latest").await.expect(200);
    hub.forget_requests();
    let gate = Gate::closed();
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(700_000), 1);
    let (answer, ()) = tokio::join!(client.blob("app", &wanted), async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        hub.forget_tokens();
        gate.open();
    });
    assert_eq!(answer.expect(200).body, blob);
    let asked: Vec<_> = hub.requests(&When::get(Kind::Blob)).iter().map(|request| request.status()).collect();
    assert_eq!(asked, [200, 401, 206], "{}", hub.log());
    assert_eq!(hub.count(&When::kind(Kind::Token)), 1, "{}", hub.log());
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_is_left_alone_and_cached_tags_do_not_wait_for_it() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.fault(When::any(), Fault::Status(500));
    let opened = async || cluster.metric("roadstead_upstream_circuits_open", &[]).await > 0.0;
    for failed in 0.. {
        if opened().await {
            break;
        }
        assert!(failed < 10, "{}", hub.log());
        let stale = client.manifest("app", "latest").await.expect(200);
        assert_eq!((stale.cache(), &stale.body), ("stale", &image.manifest));
    }
    let before = hub.count(&When::any());
    for _ in 0..10 {
        let stale = client.manifest("app", "latest").await.expect(200);
        assert_eq!((stale.cache(), &stale.body), ("stale", &image.manifest));
    }
    // One probe now and then hears of the status; all others are told at once that nobody was asked.
    let refused = within(Duration::from_secs(10), 503, async || client.manifest("app", "cold").await).await;
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let asked = hub.count(&When::any()) - before;
    assert!(asked <= 3, "{asked} requests for eleven pulls:\n{}", hub.log());
    assert!(cluster.metric("roadstead_upstream_held_back_total", &["circuit_open"]).await > 0.0);
    hub.clear_faults();
    hub.push("library/app", "cold", &Image::small(2));
    within(Duration::from_secs(40), 200, async || client.manifest("app", "cold").await).await;
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated");
}

#[tokio::test]
async fn a_redirect_into_another_network_is_refused_and_said_so() {
    let (hub, cluster) = open_pair().await;
    let wanted = hub.push_blob("library/app", random_bytes(3, 1000));
    for place in ["http://169.254.169.254/latest/meta-data", "http://10.1.2.3/x", "http://[::ffff:10.1.2.3]/x"] {
        hub.fault(When::get(Kind::Blob), Fault::Redirect(307, place.to_owned()));
        let started = Instant::now();
        let refused = cluster.anonymous().blob("app", &wanted).await.expect(502);
        assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("not public"), "{refused:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        hub.clear_faults();
    }
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body.len(), 1000);
}

#[tokio::test]
async fn a_private_upstream_redirects_to_no_other_port_or_address_that_is_not_listed() {
    let (hub, cluster) = open_pair().await;
    let inside = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let wanted = hub.push_blob("library/app", random_bytes(3, 1000));
    inside.push_blob("library/app", random_bytes(3, 1000));
    let by_name = inside.url().replace("127.0.0.1", "localhost");
    for (kind, place) in [(Kind::Blob, inside.url()), (Kind::Blob, by_name.clone()), (Kind::Manifest, by_name)] {
        hub.fault(When::kind(kind), Fault::RedirectTo(307, place.clone()));
        let client = cluster.anonymous();
        let refused = match kind {
            Kind::Blob => client.blob("app", &wanted).await.expect(502),
            _ => client.manifest("app", "latest").await.expect(502),
        };
        let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        let named = place.trim_start_matches("http://");
        assert!(message.contains("--redirect-host") && message.contains(named.split(':').next().unwrap()), "{message}");
        hub.clear_faults();
    }
    let challenge = format!("Bearer realm=\"{}/token\",service=\"x\"", inside.url());
    hub.fault(When::kind(Kind::Blob), Fault::Challenge(challenge));
    cluster.anonymous().blob("app", &wanted).await.expect(502);
    assert_eq!(inside.count(&When::any()), 0, "{}", inside.log());
    hub.clear_faults();
    hub.fault(When::kind(Kind::Blob), Fault::RedirectTo(307, inside.url()));
    cluster.set_upstream(&hub.url(), &["--redirect-host".to_owned(), inside.address()]).await;
    soon(200, || cluster_blob(&cluster, &wanted)).await;
}

async fn cluster_blob(cluster: &Cluster, wanted: &str) -> roadstead_tests::client::Answer {
    cluster.anonymous().blob("app", wanted).await
}

#[tokio::test]
async fn a_request_that_may_pass_is_sent_twice_before_it_fails() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.token("app").await;
    for fault in [Fault::Reset, Fault::Status(502), Fault::Status(503), Fault::Status(504)] {
        hub.forget_requests();
        hub.fault_times(When::head(Kind::Manifest), fault.clone(), 1);
        assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
        assert_eq!(hub.count(&When::head(Kind::Manifest)), 2, "{fault:?}:\n{}", hub.log());
    }
    hub.forget_requests();
    hub.fault(When::kind(Kind::Manifest), Fault::Status(503));
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "stale");
    assert_eq!(hub.count(&When::head(Kind::Manifest)), 2, "{}", hub.log());
}
