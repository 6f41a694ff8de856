use super::*;

fn set(ca_file: Option<PathBuf>) -> Set {
    Set {
        host: "ghcr.io".into(),
        url: "https://ghcr.io".into(),
        token_hosts: vec![],
        ca_file,
        redirect_hosts: vec!["s3.internal".into()],
        reserve: Some(20),
    }
}

#[test]
fn certificates_are_read_and_anything_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    fs::write(&file, pem).unwrap();
    let request = set(Some(file.clone())).request().unwrap();
    assert_eq!((request.ca_pem.as_deref(), request.reserve_percent), (Some(pem), Some(20)));
    assert_eq!(set(None).request().unwrap().ca_pem.as_deref(), Some(""));

    fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    for bad in [file, dir.path().join("none.pem")] {
        let failure = set(Some(bad.clone())).request().unwrap_err();
        assert!(failure.to_string().starts_with(&format!("--ca-file {}: ", bad.display())), "{failure}");
        assert_eq!(failure, Failure::usage(&failure));
    }
}

#[test]
fn an_update_names_only_what_it_changes() {
    let update = Update {
        host: "ghcr.io".into(),
        url: None,
        token_hosts: vec![],
        no_token_hosts: true,
        ca_file: None,
        no_ca_file: false,
        redirect_hosts: vec![],
        no_redirect_hosts: false,
        reserve: Some(5),
    };
    let expected = UpdateUpstreamRequest {
        host: "ghcr.io".into(),
        token_hosts: Some(HostList::default()),
        reserve_percent: Some(5),
        ..UpdateUpstreamRequest::default()
    };
    assert_eq!(update.request().unwrap(), expected);
}

#[test]
fn set_replaces_every_setting() {
    let request = Set { reserve: None, redirect_hosts: vec![], ..set(None) }.request().unwrap();
    assert_eq!(request, UpdateUpstreamRequest::replacing("ghcr.io", "https://ghcr.io"));
}
