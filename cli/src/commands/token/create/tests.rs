use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    create: Create,
}

fn parse(line: &str) -> Result<Create, clap::Error> {
    Line::try_parse_from(["x", "--name", "n"].into_iter().chain(line.split(' '))).map(|line| line.create)
}

#[test]
fn every_kind_of_token_has_its_request() {
    let request = |owner, kind: TokenKind, role: ProtoRole, scopes: &[&str]| CreateTokenRequest {
        owner: Some(owner),
        name: "n".into(),
        kind: kind.into(),
        role: role.into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        expires_in: None,
        request_id: String::new(),
    };
    let (acme, none) = (Owner::GroupPath("acme".into()), ProtoRole::Unspecified);
    for (line, purpose, expected) in [
        ("--group acme", Use::Pull, request(acme.clone(), TokenKind::Group, none, &[])),
        (
            "--group acme --scope purge,read_api",
            Use::Api,
            request(acme.clone(), TokenKind::Group, none, &["purge", "read_api"]),
        ),
        (
            "--group acme --kind access --role owner --scope api",
            Use::Api,
            request(acme.clone(), TokenKind::GroupAccess, ProtoRole::Owner, &["api"]),
        ),
        ("--group acme --kind service", Use::Api, request(acme, TokenKind::Service, none, &[])),
        ("--user alice", Use::Pull, request(Owner::User("alice".into()), TokenKind::Unspecified, none, &[])),
        ("--service", Use::Api, request(Owner::Service(true), TokenKind::Unspecified, none, &[])),
        ("--node", Use::Node, request(Owner::Node(true), TokenKind::Unspecified, none, &[])),
    ] {
        let create = parse(line).unwrap();
        assert_eq!(create.signs_in_as().unwrap(), None);
        assert_eq!(create.purpose(), purpose, "{line}");
        assert_eq!(CreateTokenRequest::from(create), expected, "{line}");
    }
}

#[test]
fn what_contradicts_itself_is_wrong_usage() {
    for line in [
        "--group acme --user alice",
        "--group acme --kind access",
        "--group acme --role owner",
        "--user alice --kind deploy",
        "--service --scope purge",
        "--group acme --password-stdin",
    ] {
        let refused = parse(line).map_or(true, |create| create.signs_in_as().is_err());
        assert!(refused, "{line}");
    }
    assert_eq!(parse("--user alice --password-stdin").unwrap().signs_in_as().unwrap(), Some("alice".to_owned()));
}

#[test]
fn a_new_token_comes_with_the_way_to_use_it() {
    let control = Url::parse("http://127.0.0.1:7071").unwrap();
    let answer =
        CreateTokenResponse { id: "0190".into(), username: "u1".into(), token: "rs_dep_x".into(), expires_at: None };
    assert_eq!(
        details(&answer).to_string(),
        "ID:         0190\nUsername:   u1\nToken:      rs_dep_x\nExpires:    never\n"
    );
    assert!(
        hint(&answer, Use::Pull, &control, "images.example").ends_with("docker login --username u1 images.example")
    );
    assert!(hint(&answer, Use::Node, &control, "").ends_with("roadstead dataplane --control http://127.0.0.1:7071"));
    assert!(hint(&answer, Use::Api, &control, "").ends_with("at http://127.0.0.1:7071."));
}

#[test]
fn scopes_are_spelled_as_the_contract_has_them() {
    for scope in Scope::value_variants() {
        assert_eq!(scope.to_possible_value().unwrap().get_name(), scope.name());
    }
}
