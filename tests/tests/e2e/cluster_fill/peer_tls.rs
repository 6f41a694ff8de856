//! Nodes that meet by TLS.

use roadstead_proto::node::v1::{
    AcquireFillRequest, RepositoryRef, acquire_fill_response::Result as Turn, node_service_client::NodeServiceClient,
};
use roadstead_tests::{
    api, client,
    hub::{AuthMode, Kind, When},
    image::{Image, random_bytes},
};

use super::node::{NodeOptions, began, three_with};
use crate::{cluster_fill::MIB, tls_control::Authority};

#[tokio::test]
async fn nodes_follow_each_other_by_tls_and_give_nothing_without_a_good_ticket() {
    let trusted = std::sync::Mutex::new(Vec::new());
    let (hub, cluster, nodes, token) = three_with(AuthMode::Open, |folder| {
        let authority = Authority::new(folder, "peers");
        let ((cert, key), ca) = (authority.issue("node"), authority.file("ca.pem"));
        *trusted.lock().unwrap() = std::fs::read(&ca).unwrap();
        let arguments = ["--tls-cert", &cert, "--tls-key", &key, "--peer-ca-file", &ca].map(str::to_owned).to_vec();
        NodeOptions { arguments, tls: true, ..NodeOptions::default() }
    })
    .await;
    let ca = reqwest::Certificate::from_pem(&trusted.lock().unwrap()).unwrap();
    let http = client::builder().tls_certs_only([ca]).build().unwrap();
    let (blob, image) = (random_bytes(21, MIB), Image::small(21));
    let (name, manifest) = (hub.push_blob("library/app", blob.clone()), hub.push("library/app", "latest", &image));
    // One after the other, while the lease of the first is good.
    for node in &nodes {
        let client = node.anonymous().with_http(http.clone());
        assert_eq!(client.blob("app", &name).await.expect(200).body, blob);
        assert_eq!(client.manifest("app", &manifest).await.expect(200).body, image.manifest);
    }
    let counts = [When::get(Kind::Manifest), When::get(Kind::Blob)].map(|when| hub.count(&when));
    assert_eq!(counts, [1, 1], "{}", hub.log());
    assert_eq!(began(&nodes).await, [2.0, 4.0, 0.0]);

    let group = cluster.cli_json(&["group", "get", "default"]).await["group"]["id"].as_str().unwrap().to_owned();
    let repository =
        Some(RepositoryRef { group_id: group, upstream: "docker.io".into(), repository: "library/app".into() });
    let request = AcquireFillRequest {
        digest: name.clone(),
        node_id: "01990000-0000-7000-8000-000000000001".into(),
        repository,
        peer_url: "https://127.0.0.1:1".into(),
        ..Default::default()
    };
    let mut service = NodeServiceClient::new(api::calls(cluster.control, &token));
    let turn = service.acquire_fill(request).await.unwrap().into_inner().result;
    let Some(Turn::Follow(follow)) = turn else { panic!("{turn:?}") };
    assert!(follow.peer_url.starts_with("https://"), "{}", follow.peer_url);
    let ask = async |path: &str, ticket: Option<&str>| {
        let request = http.get(format!("{}{path}", follow.peer_url));
        let request = ticket.into_iter().fold(request, |request, ticket| request.bearer_auth(ticket));
        client::read(request.send().await).await.unwrap()
    };
    assert_eq!(ask(&format!("fills/{name}"), Some(&follow.ticket)).await.expect(200).body, blob);
    for (path, ticket) in [
        (format!("fills/{name}"), None),
        (format!("fills/{manifest}"), Some(&*follow.ticket)),
        (format!("manifests/{manifest}"), Some(&*follow.ticket)),
        (format!("manifests/{manifest}"), None),
        (format!("fills/{name}"), Some("nonsense")),
    ] {
        assert_eq!(ask(&path, ticket).await.expect(401).body, "", "{path}");
    }
    // Without TLS nothing is said at all; who does not trust the authority says nothing either.
    let plain = format!("http://{}/fills/{name}", nodes[0].peer);
    let plain = client::http().get(plain).bearer_auth(&follow.ticket).send().await;
    assert!(plain.is_err() || !plain.unwrap().status().is_success());
    assert!(client::http().get(&follow.peer_url).send().await.is_err());
}
