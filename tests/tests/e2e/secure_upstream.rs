//! Upstreams by https: their certificates are checked, and they cannot send us to plain http.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{Hub, HubOptions, Kind, When},
    image::{Image, random_bytes},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A hub with a certificate of its own making, the product before it, and whether that trusts the certificate.
async fn https_pair(options: HubOptions, trusted: bool) -> (Hub, Cluster, tempfile::TempDir) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let hub = Hub::start_with(HubOptions { tls: Some(Arc::new(config)), ..options }).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    fs::write(&file, made.cert.pem()).unwrap();
    let mut options = ClusterOptions::default();
    if trusted {
        options.environment.push(("SSL_CERT_FILE".into(), file.to_str().unwrap().into()));
    }
    let cluster = Cluster::start_with(&hub, options).await;
    (hub, cluster, folder)
}

#[tokio::test]
async fn an_upstream_by_https_is_served_where_its_certificate_is_trusted() {
    let (hub, cluster, _folder) = https_pair(HubOptions::default(), true).await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    assert_eq!(cluster.anonymous().manifest("app", "latest").await.expect(200).body, image.manifest);
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_trusted_is_refused() {
    let (hub, cluster, _folder) = https_pair(HubOptions::default(), false).await;
    hub.push("library/app", "latest", &Image::small(1));
    let refused = cluster.anonymous().manifest("app", "latest").await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let (hub, cluster, _folder) = https_pair(HubOptions { cdn: true, ..HubOptions::default() }, true).await;
    let wanted = hub.push_blob("library/app", random_bytes(1, 1000));
    let refused = cluster.anonymous().blob("app", &wanted).await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(hub.count(&When::kind(Kind::Cdn)), 0, "{}", hub.log());
}

#[tokio::test]
async fn an_upstreams_own_ca_file_is_trusted_for_it_until_it_is_taken_away() {
    let (hub, cluster, folder) = https_pair(HubOptions::default(), false).await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let file = folder.path().join("roots.pem");
    let set = ["upstream", "set", "docker.io", "--url", &hub.url()];
    cluster.cli(&[&set[..], &["--ca-file", file.to_str().unwrap()]].concat()).await.ok();
    let pulled = crate::soon(200, async || client.manifest("app", "latest").await).await;
    assert_eq!(pulled.body, image.manifest);
    cluster.cli(&set).await.ok();
    // A tag of its own for each attempt: what is pulled before the node has heard of the change is cached from then on.
    let other = Image::small(2);
    let attempts = AtomicU32::new(0);
    let ask = async || {
        let tag = format!("other-{}", attempts.fetch_add(1, Ordering::Relaxed));
        hub.push("library/app", &tag, &other);
        client.manifest("app", &tag).await
    };
    crate::soon(502, ask).await;
}
