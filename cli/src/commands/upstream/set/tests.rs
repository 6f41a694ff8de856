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
fn upstreams_read_well() {
    let hub = Upstream {
        host: "docker.io".into(),
        url: "https://registry-1.docker.io".into(),
        token_hosts: vec!["auth.docker.io".into()],
        reserve_percent: 10,
        ca_pem: "-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n".into(),
        ..Default::default()
    };
    assert_eq!(
        table(std::slice::from_ref(&hub), SystemTime::UNIX_EPOCH).wide().to_string(),
        "HOST        URL                            TOKEN HOSTS      RESERVE   UPDATED\n\
         docker.io   https://registry-1.docker.io   auth.docker.io   10%       built in\n"
    );
    assert_eq!(
        details(Some(&hub)).to_string(),
        "Host:             docker.io\n\
         URL:              https://registry-1.docker.io\n\
         Token hosts:      auth.docker.io\n\
         Redirect hosts:   -\n\
         Trusted CAs:      public, and 2 own certificates\n\
         Reserve:          10%\n\
         Updated:          built in\n"
    );
}

#[test]
fn certificates_are_read_and_anything_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    fs::write(&file, pem).unwrap();
    let request = set(Some(file.clone())).request().unwrap();
    assert_eq!((request.ca_pem.as_str(), request.reserve_percent), (pem, Some(20)));
    assert_eq!(set(None).request().unwrap().ca_pem, "");

    fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    for bad in [file, dir.path().join("none.pem")] {
        let failure = set(Some(bad.clone())).request().unwrap_err();
        assert!(failure.to_string().starts_with(&format!("--ca-file {}: ", bad.display())), "{failure}");
        assert_eq!(failure, Failure::usage(&failure));
    }
}
