//! The rule of pulls as a table: identity by state of the group.

use Visibility::{Internal, Private, Public};

use super::*;

/// The group that is pulled from.
const PATH: &str = "acme/ci";

fn token(kind: GroupToken, group: &str, scopes: &[Scope]) -> Identity {
    let group = group.parse().unwrap();
    Identity::GroupToken { kind, username: "deploy-1".into(), group, scopes: scopes.to_vec() }
}

fn user(scopes: Option<&[Scope]>) -> Identity {
    Identity::User { name: "alice".into(), admin: false, scopes: scopes.map(<[_]>::to_vec) }
}

fn oidc(groups: &[&str]) -> Identity {
    Identity::Oidc { subject: "project acme/app".into(), groups: groups.iter().map(|g| g.parse().unwrap()).collect() }
}

/// The user's relation to the group; irrelevant for others.
#[derive(Clone, Copy)]
enum Standing {
    None,
    Below,
    Has(Role),
}

fn verdict(who: &Identity, standing: Standing, group: Option<(Visibility, bool, bool)>) -> &'static str {
    let group = group.map(|(visibility, anonymous_pull, enabled)| PulledGroup {
        path: PATH.parse().unwrap(),
        visibility,
        anonymous_pull,
        enabled,
        role: match standing {
            Standing::Has(role) => Some(role),
            Standing::None | Standing::Below => None,
        },
        member_below: matches!(standing, Standing::Below),
    });
    match may_pull(who, PATH, group.as_ref()) {
        Ok(()) => "ok",
        Err(PullRefused::WrongCredentials | PullRefused::IdToken(_)) => "wrong",
        Err(PullRefused::SignInNeeded) => "sign in",
        Err(PullRefused::DisabledUser { .. }) => "no user",
        Err(PullRefused::OtherToken { .. }) => "no token",
        Err(PullRefused::MissingScopes { .. }) => "scopes",
        Err(PullRefused::MayNot { .. }) => "denied",
        Err(PullRefused::Disabled { .. }) => "off",
        Err(PullRefused::TooManyFailures(_)) => "429",
        Err(PullRefused::IssuerUnavailable(_)) => "503",
        Err(PullRefused::NotFound { .. }) => "404",
    }
}

#[test]
fn identity_by_group_state() {
    use GroupToken::{Access, Deploy, Job};
    use Standing::{Below, Has, None as Nothing};
    let anonymous = |allowed| Identity::Anonymous { allowed };
    let admin = Identity::User { name: "root".into(), admin: true, scopes: None };
    let (api, half) = ([Scope::Api], [Scope::ReadRegistry]);
    let read_api = [Scope::ReadApi];
    // columns: private, internal, public, with anonymous pulls, private off, internal off, open off, no group
    let states = [
        Some((Private, false, true)),
        Some((Internal, false, true)),
        Some((Public, false, true)),
        Some((Public, true, true)),
        Some((Private, false, false)),
        Some((Internal, false, false)),
        Some((Public, true, false)),
        None,
    ];
    let member = ["ok", "ok", "ok", "ok", "off", "off", "off", "404"];
    let stranger = ["404", "ok", "ok", "ok", "404", "off", "off", "404"];
    let neighbour = ["denied", "ok", "ok", "ok", "denied", "off", "off", "404"];
    let member_scopes = ["scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "404"];
    let stranger_scopes = ["404", "scopes", "scopes", "scopes", "404", "scopes", "scopes", "404"];
    let foreign_job = ["404", "denied", "ok", "ok", "404", "denied", "off", "404"];
    let job_below = ["denied", "denied", "ok", "ok", "denied", "denied", "off", "404"];
    for (name, who, standing, row) in [
        ("guest", user(None), Has(Role::Guest), member),
        ("maintainer", user(None), Has(Role::Maintainer), member),
        ("owner", user(None), Has(Role::Owner), member),
        ("no member", user(None), Nothing, stranger),
        ("member of a subgroup", user(None), Below, neighbour),
        ("administrator", admin, Nothing, member),
        ("guest, personal token", user(Some(&Scope::PULL)), Has(Role::Guest), member),
        ("guest, personal api", user(Some(&api)), Has(Role::Guest), member),
        ("guest, personal half", user(Some(&half)), Has(Role::Guest), member_scopes),
        ("guest, personal read_api", user(Some(&read_api)), Has(Role::Guest), member_scopes),
        ("no member, personal", user(Some(&Scope::PULL)), Nothing, stranger),
        ("no member, personal half", user(Some(&half)), Nothing, stranger_scopes),
        ("disabled user", Identity::DisabledUser { name: "alice".into() }, Nothing, ["no user"; 8]),
        ("own token", token(Deploy, "acme/ci", &Scope::PULL), Nothing, member),
        ("parent's token", token(Deploy, "acme", &Scope::PULL), Nothing, member),
        ("subgroup's token", token(Deploy, "acme/ci/deep", &Scope::PULL), Nothing, neighbour),
        ("sibling's token", token(Deploy, "acme/cx", &Scope::PULL), Nothing, stranger),
        ("other's token", token(Deploy, "other", &Scope::PULL), Nothing, stranger),
        ("own, half", token(Deploy, "acme", &half), Nothing, member_scopes),
        ("own, api only", token(Deploy, "acme", &api), Nothing, member_scopes),
        ("other's, half", token(Deploy, "other", &half), Nothing, stranger_scopes),
        ("own access token", token(Access, "acme", &Scope::PULL), Nothing, member),
        ("own access token, api only", token(Access, "acme", &api), Nothing, member_scopes),
        ("other's access token", token(Access, "other", &Scope::PULL), Nothing, stranger),
        ("own job", token(Job, "acme", &Scope::PULL), Nothing, member),
        ("other's job", token(Job, "other", &Scope::PULL), Nothing, foreign_job),
        ("subgroup's job", token(Job, "acme/ci/deep", &Scope::PULL), Nothing, job_below),
        ("trusted job", oidc(&["other", "acme"]), Nothing, member),
        ("job trusted elsewhere", oidc(&["other"]), Nothing, foreign_job),
        ("job trusted by a subgroup", oidc(&["acme/ci/deep"]), Nothing, job_below),
        ("job trusted nowhere", oidc(&[]), Nothing, foreign_job),
        ("node token", Identity::OtherToken { what: "a node token" }, Nothing, ["no token"; 8]),
        (
            "anonymous",
            anonymous(true),
            Nothing,
            ["sign in", "sign in", "sign in", "ok", "sign in", "sign in", "off", "sign in"],
        ),
        ("anonymous, barred", anonymous(false), Nothing, ["sign in"; 8]),
        ("wrong", Identity::Unknown, Nothing, ["wrong"; 8]),
    ] {
        assert_eq!(states.map(|state| verdict(&who, standing, state)), row, "{name}");
    }
}

#[test]
fn a_private_group_of_others_reads_like_one_that_is_not_there() {
    let group = PulledGroup {
        path: "acme".parse().unwrap(),
        visibility: Private,
        anonymous_pull: false,
        enabled: false,
        role: None,
        member_below: false,
    };
    for stranger in [token(GroupToken::Deploy, "other", &[]), user(None), user(Some(&[])), oidc(&["other"])] {
        assert_eq!(may_pull(&stranger, "acme", Some(&group)), may_pull(&stranger, "acme", None));
    }
}

#[test]
fn refusals_say_who_and_what_is_missing() {
    let group = PulledGroup {
        path: "acme".parse().unwrap(),
        visibility: Private,
        anonymous_pull: false,
        enabled: true,
        role: None,
        member_below: true,
    };
    let below = |kind| token(kind, "acme/ci", &Scope::PULL);
    for (who, expected) in [
        (user(None), "user alice may not pull from acme; "),
        (below(GroupToken::Deploy), "deploy token deploy-1 may not pull from acme; "),
        (below(GroupToken::Job), "job token deploy-1 may not pull from acme; "),
        (oidc(&["acme/ci"]), "oidc project acme/app may not pull from acme; "),
        (
            user(Some(&[])),
            "pulling needs the scopes read_registry and write_registry; this token lacks read_registry and write_registry",
        ),
        (Identity::OtherToken { what: "a service token" }, "a service token does not pull images; sign in with "),
        (Identity::DisabledUser { name: "alice".into() }, "user alice is disabled; "),
    ] {
        let refused = may_pull(&who, "acme", Some(&group)).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn a_sign_in_without_a_group_checks_the_credentials_alone() {
    let token = |scopes: &[Scope]| token(GroupToken::Deploy, "acme", scopes);
    let refused = may_sign_in(&token(&[Scope::ReadRegistry])).unwrap_err();
    assert!(refused.to_string().ends_with("lacks write_registry"), "{refused}");
    for (who, expected) in [
        (token(&Scope::PULL), true),
        (user(None), true),
        (user(Some(&[Scope::Api])), true),
        (user(Some(&[Scope::WriteRegistry])), false),
        (oidc(&["acme"]), true),
        (Identity::Anonymous { allowed: true }, true),
        (Identity::Anonymous { allowed: false }, false),
        (Identity::DisabledUser { name: "alice".into() }, false),
        (Identity::OtherToken { what: "a node token" }, false),
        (Identity::Unknown, false),
    ] {
        assert_eq!(may_sign_in(&who).is_ok(), expected, "{who:?}");
    }
}
