//! Lists of tags and of referrers, as registries really answer them, and while they do not.

use bytes::Bytes;
use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    hub::{AuthMode, Fault, Hub, HubOptions, Kind, ReferrersApi, When},
    image::{Format, Image, Index, OCI_INDEX},
};
use serde_json::{Value, json};

use crate::open_pair;

async fn tags(client: &Client, query: &str) -> Answer {
    client.ask(Method::GET, "app", &format!("tags/list{query}"), &[]).await
}

/// The query of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let (_, query) = link.strip_suffix(">; rel=\"next\"")?.split_once("/tags/list")?;
    Some(query.to_owned())
}

fn page(tags: &[&str], link: &str) -> Fault {
    let headers = vec![("link", format!("<{link}>; rel=\"next\"")), ("content-type", "application/json".to_owned())];
    Fault::Reply(200, headers, json!({"name": "library/app", "tags": tags}).to_string().into())
}

#[tokio::test]
async fn a_registrys_own_cursor_is_carried_through() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    for (link, asked) in [
        ("/v2/library/app/tags/list?token=a%2Fb==", "/v2/library/app/tags/list?token=a%2Fb=="),
        ("?next_page=x+y", "/v2/library/app/tags/list?next_page=x+y"),
        ("http://registry.internal/v2/library/app/tags/list?n=1&c=7", "/v2/library/app/tags/list?n=1&c=7"),
        ("/v2/library/app/tags/list/page2", "/v2/library/app/tags/list/page2"),
    ] {
        hub.fault_times(When::kind(Kind::Tags), page(&["b"], link), 1);
        let first = tags(&client, "?n=1").await.expect(200);
        let query = next(&first).unwrap_or_else(|| panic!("{link}: {first:?}"));
        hub.forget_requests();
        tags(&client, &query).await;
        assert_eq!(hub.requests(&When::any())[0].target, asked);
    }
}

#[tokio::test]
async fn a_list_that_leads_in_circles_ends() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.fault(When::kind(Kind::Tags), page(&["b"], "/v2/library/app/tags/list?token=same"));
    let (client, mut query, mut pages) = (cluster.anonymous(), "?n=1".to_owned(), 0);
    loop {
        let answer = tags(&client, &query).await.expect(200);
        pages += 1;
        assert!(pages < 6, "{}", hub.log());
        match next(&answer) {
            Some(next) => query = next,
            None => break,
        }
    }
}

#[tokio::test]
async fn an_upstreams_own_words_are_passed_on() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    for (status, code) in [(400, "PAGINATION_NUMBER_INVALID"), (413, "TOO_MANY"), (422, "ANY_OTHER")] {
        let body = json!({"errors": [{"code": code, "message": "invalid number\u{1b}[31m of results requested"}]});
        let reply = Fault::Reply(status, Vec::new(), body.to_string().into());
        hub.fault_times(When::kind(Kind::Tags), reply, 1);
        let refused = tags(&cluster.anonymous(), "?n=1000").await.expect_error(status, code);
        let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("invalid number") && !message.contains('\u{1b}'), "{message}");
        let large = Bytes::from(vec![b'x'; 1_000_000]);
        hub.fault_times(When::kind(Kind::Tags), Fault::Reply(status, Vec::new(), large), 1);
        assert!(tags(&cluster.anonymous(), "?n=1000").await.expect(status).body.len() < 1000);
    }
}

#[tokio::test]
async fn lists_survive_an_outage_and_say_so() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    let digest = hub.push("library/app", "latest", &image);
    hub.push("library/app", "next", &Image::small(2));
    let client = cluster.anonymous();
    let referrers = async || client.ask(Method::GET, "app", &format!("referrers/{digest}"), &[]).await;
    let told = (tags(&client, "?n=1").await.expect(200), referrers().await.expect(200));
    client.manifest("app", "latest").await.expect(200);
    for trouble in [Fault::Status(503), Fault::Reset, Fault::RateLimited(1)] {
        hub.fault(When::any(), trouble.clone());
        for (before, now) in [(&told.0, tags(&client, "?n=1").await), (&told.1, referrers().await)] {
            let now = now.expect(200);
            assert_eq!((&now.body, now.cache()), (&before.body, "stale"), "{trouble:?}");
            assert!(!now.header("warning").is_empty() && !now.header("age").is_empty(), "{now:?}");
            assert_eq!(now.header("link"), before.header("link"));
        }
        hub.clear_faults();
    }
    hub.down().await;
    // The pause after the last 429 ends first.
    let nothing = crate::soon(503, async || client.ask(Method::GET, "other", "tags/list", &[]).await);
    assert!(nothing.await.status.is_server_error());
    let cached = tags(&client, "").await.expect(200);
    assert_eq!((cached.cache(), &cached.json()["tags"]), ("stale", &json!(["latest"])), "the tags that are cached");
}

/// A hub without the referrers API, with an index and its tag.
async fn without_api() -> (Hub, roadstead_tests::cluster::Cluster, String, Index) {
    let options = HubOptions { auth: AuthMode::Open, referrers: ReferrersApi::Absent, ..HubOptions::default() };
    let hub = Hub::start_with(options).await;
    let cluster = roadstead_tests::cluster::Cluster::start(&hub).await;
    let index = Index::new(Format::Oci, vec![Image::small(1), Image::small(2)]);
    let digest = hub.push_index("library/app", "latest", &index);
    (hub, cluster, digest, index)
}

#[tokio::test]
async fn registries_without_referrers_lead_to_the_tag_and_then_to_an_empty_index() {
    let (hub, cluster, digest, index) = without_api().await;
    let client = cluster.anonymous();
    let fallback = digest.replace(':', "-");
    let referrers = async || client.ask(Method::GET, "app", &format!("referrers/{digest}"), &[]).await;
    let listed = async |what: &str| -> Value {
        let answer = referrers().await.expect(200);
        assert_eq!(answer.header("content-type"), OCI_INDEX, "{what}");
        answer.json()["manifests"].clone()
    };
    for fault in [
        Fault::Status(404),
        Fault::Status(400),
        Fault::Status(403),
        Fault::Status(405),
        Fault::Status(500),
        Fault::Status(501),
        Fault::WebPage,
        Fault::Answer("application/json", Bytes::from_static(b"{\"hello\":1}")),
        Fault::Answer(OCI_INDEX, index.manifest.clone()),
    ] {
        hub.fault(When::kind(Kind::Referrers), fault.clone());
        assert_eq!(listed(&format!("{fault:?}")).await, json!([]), "{fault:?}");
        hub.clear_faults();
    }
    // Registries exist that find the subject under the tag, and whose clients then take its platforms for referrers.
    hub.retag("library/app", &fallback, &digest);
    assert_eq!(listed("the subject").await, json!([]));
    hub.retag("library/app", &fallback, &index.images[0].digest());
    assert_eq!(listed("an image").await, json!([]));
    let found = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{"digest": digest, "size": 1}]});
    hub.push_manifest("library/app", Some(&fallback), OCI_INDEX, found.to_string().into());
    hub.forget_requests();
    assert_eq!(listed("an index").await, found["manifests"]);
    assert_eq!((hub.count(&When::kind(Kind::Referrers)), hub.count(&When::any())), (1, 2), "{}", hub.log());
}
