use super::*;

#[test]
fn trusts_show_all_their_claims() {
    let trust = OidcTrust {
        id: "0190".into(),
        group_path: "acme".into(),
        issuer: "https://gitlab.example".into(),
        audience: "proxy".into(),
        claims: vec![claim("project_path=acme/*").unwrap(), claim("ref_protected=true").unwrap()],
        created_at: None,
    };
    assert_eq!(
        trust_table(std::slice::from_ref(&trust), SystemTime::UNIX_EPOCH).wide().to_string(),
        "ID     GROUP   ISSUER                   AUDIENCE   CLAIMS                                   CREATED\n\
         0190   acme    https://gitlab.example   proxy      project_path=acme/* ref_protected=true   -\n"
    );
    assert!(trust_details(Some(&trust)).to_string().contains("Claims:     project_path=acme/*, ref_protected=true\n"));
}
