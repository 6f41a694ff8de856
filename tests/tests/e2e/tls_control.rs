//! TLS and mutual TLS on the control port: nodes, admin commands and grpcurl.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use roadstead_tests::{
    client,
    cluster::{Cluster, ClusterOptions},
    ports::free_address,
    process::{Daemon, Finished, run_command},
};

/// A certificate authority, and files of what it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// Its files are in a folder of this name in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// `NAME.pem` and `NAME.key`, for 127.0.0.1.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")))
    }
}

/// A control plane with these flags.
async fn control(cluster: &Cluster, flags: &[&str]) -> Daemon {
    let [control, metrics] = [cluster.control, free_address()].map(|address| address.to_string());
    let mut command = cluster.command(&["control", "--control-listen", &control, "--metrics-listen", &metrics]);
    command.args(flags).arg("--data-dir").arg(cluster.data_dir());
    let mut daemon = Daemon::spawn(&mut command, &cluster.folder().join("control.log"));
    let url = format!("http://{metrics}/readyz");
    let ready = async || client::http().get(&url).send().await.ok().filter(|answer| answer.status().is_success());
    daemon.wait_for(Duration::from_secs(30), ready).await;
    daemon
}

async fn list_groups(cluster: &Cluster, scheme: &str, flags: &[&str]) -> Finished {
    let mut command = cluster.command(&["group", "list"]);
    command.args(["--control", &format!("{scheme}://{}", cluster.control)]).args(flags);
    command.env("ROADSTEAD_TOKEN", cluster.admin_token());
    run_command(command.into(), "").await
}

#[tokio::test]
async fn the_control_port_speaks_tls_and_says_what_is_wrong() {
    let cluster = Cluster::prepare(ClusterOptions::default());
    let (authority, other) = (Authority::new(cluster.folder(), "ca"), Authority::new(cluster.folder(), "other"));
    let (cert, key) = authority.issue("server");
    let _control = control(&cluster, &["--control-tls-cert", &cert, "--control-tls-key", &key]).await;
    let ca = authority.file("ca.pem");

    list_groups(&cluster, "https", &["--control-ca-file", &ca]).await.ok();
    let untrusted = list_groups(&cluster, "https", &["--control-ca-file", &other.file("ca.pem")]).await.failed();
    assert!(untrusted.contains("--control-ca-file"), "{untrusted}");
    let plain = list_groups(&cluster, "http", &[]).await.failed();
    assert!(plain.contains("https://"), "{plain}");
    let contradiction = list_groups(&cluster, "http", &["--control-ca-file", &ca]).await;
    assert_eq!(contradiction.code, 2, "{contradiction:?}");

    let address = cluster.control.to_string();
    let mut grpcurl = tokio::process::Command::new("grpcurl");
    grpcurl.args(["-cacert", &ca, &address, "list"]);
    assert!(run_command(grpcurl, "").await.ok().contains("roadstead.v1.GroupService"));
    // The console's port is the same.
    let trusted = reqwest::Certificate::from_pem(&fs::read(&ca).unwrap()).unwrap();
    let http = client::builder().tls_certs_only([trusted]).build().unwrap();
    assert!(http.get(format!("https://{address}/")).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn mutual_tls_lets_in_nodes_and_admins_with_a_certificate_only() {
    let cluster = Cluster::prepare(ClusterOptions::default());
    let (authority, other) = (Authority::new(cluster.folder(), "ca"), Authority::new(cluster.folder(), "other"));
    let ((cert, key), ca) = (authority.issue("server"), authority.file("ca.pem"));
    let flags = ["--control-tls-cert", &cert, "--control-tls-key", &key, "--control-client-ca", &ca];
    let first = control(&cluster, &flags).await;
    let (good_cert, good_key) = authority.issue("client");
    let good = ["--control-ca-file", &ca, "--control-client-cert", &good_cert, "--control-client-key", &good_key];
    list_groups(&cluster, "https", &good).await.ok();
    let without = list_groups(&cluster, "https", &["--control-ca-file", &ca]).await.failed();
    assert!(without.contains("--control-client-cert"), "{without}");
    let (bad_cert, bad_key) = other.issue("client");
    let bad = ["--control-ca-file", &ca, "--control-client-cert", &bad_cert, "--control-client-key", &bad_key];
    let stranger = list_groups(&cluster, "https", &bad).await.failed();
    assert!(stranger.contains("certificate"), "{stranger}");

    let mut command = cluster.command(&["token", "create", "--node", "--name", "n", "--output", "json"]);
    command.args(["--control", &format!("https://{}", cluster.control)]).args(good);
    command.env("ROADSTEAD_TOKEN", cluster.admin_token());
    let made: serde_json::Value = serde_json::from_str(&run_command(command.into(), "").await.ok()).unwrap();
    let [registry, metrics] = [cluster.registry, cluster.metrics].map(|address| address.to_string());
    let mut command = cluster.command(&["dataplane", "--listen", &registry, "--metrics-listen", &metrics]);
    command.args(["--control", &format!("https://{}", cluster.control), "--node-token"]);
    command.arg(made["token"].as_str().unwrap()).args(good).arg("--data-dir").arg(cluster.data_dir().join("node"));
    let mut node = Daemon::spawn(&mut command, &cluster.folder().join("dataplane.log"));
    let url = format!("http://{metrics}/readyz");
    let ready = async || client::http().get(&url).send().await.ok().filter(|answer| answer.status().is_success());
    node.wait_for(Duration::from_secs(20), ready).await;

    // Another authority issues everything anew, by the same names; the node connects to the restarted control plane.
    drop(first);
    for name in ["server", "client"] {
        other.issue(name);
    }
    for name in ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"] {
        fs::copy(other.file(name), authority.file(name)).unwrap();
    }
    let _control = control(&cluster, &flags).await;
    // Nobody but the control plane can say that credentials are wrong.
    let http = client::http();
    let sign_in = format!("http://{registry}/jwt/auth?service=dependency_proxy");
    let refused = async || {
        let answer = http.get(&sign_in).basic_auth("nobody", Some("wrong")).send().await.ok()?;
        (answer.status().as_u16() == 401).then_some(())
    };
    node.wait_for(Duration::from_secs(30), refused).await;
}

#[tokio::test]
async fn files_that_are_no_certificates_are_wrong_settings() {
    let cluster = Cluster::prepare(ClusterOptions::default());
    let authority = Authority::new(cluster.folder(), "ca");
    let (cert, key) = authority.issue("server");
    let junk = authority.file("junk.pem");
    fs::write(&junk, "junk").unwrap();
    for (flags, named) in [
        (vec!["--control-tls-cert", &cert], "--control-tls-key"),
        (vec!["--control-client-ca", &cert], "--control-tls-cert"),
        (vec!["--control-tls-cert", &junk, "--control-tls-key", &key], "--control-tls-cert"),
        (vec!["--control-tls-cert", &cert, "--control-tls-key", &junk], "--control-tls-key"),
        (
            vec!["--control-tls-cert", &cert, "--control-tls-key", &key, "--control-client-ca", &junk],
            "--control-client-ca",
        ),
    ] {
        let mut command = cluster.command(&["control"]);
        command.args(&flags).arg("--data-dir").arg(cluster.data_dir());
        let refused = run_command(command.into(), "").await;
        assert!(refused.code == 2 && refused.stderr.contains(named), "{flags:?}: {refused:?}");
    }
}
