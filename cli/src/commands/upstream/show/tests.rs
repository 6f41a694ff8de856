use super::*;

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
