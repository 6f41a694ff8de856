//! The rule of the control port as tables.

use Action::{
    Administer, AuditGroup, ChangeGroup, ChangePassword, ChangeSelf, OwnGroup, PurgeEverything, PurgeGroup,
    ReadEverything, ReadGroup, ReadSelf, ReadUpstreams, ReviewGroup, ServeAsNode,
};
use Visibility::{Internal, Private, Public};

use super::*;

const ALL: [Action; 14] = [
    ChangePassword,
    Administer,
    ReadEverything,
    ReadUpstreams,
    ReadSelf,
    ChangeSelf,
    ReadGroup,
    ReviewGroup,
    AuditGroup,
    ChangeGroup,
    PurgeGroup,
    OwnGroup,
    PurgeEverything,
    ServeAsNode,
];

fn held(scopes: &[Scope]) -> HeldToken {
    HeldToken { id: "0190".into(), name: "ci".into(), scopes: scopes.to_vec() }
}

fn path(text: &str) -> GroupPath {
    text.parse().unwrap()
}

fn of_group(group: &str, role: Role, scopes: &[Scope]) -> Principal {
    Principal::Group { token: held(scopes), group: path(group), role }
}

fn user(admin: bool, scopes: Option<&[Scope]>) -> Principal {
    Principal::User { id: "u".into(), name: "alice".into(), admin, token: scopes.map(held) }
}

fn service(group: Option<&str>) -> Principal {
    Principal::Service { token: held(&[Scope::Purge]), group: group.map(path) }
}

fn target(at: &str, visibility: Option<Visibility>, membership: Option<Role>) -> Target {
    Target { path: path(at), visibility, membership }
}

#[test]
fn each_kind_of_caller_may_do_exactly_this_to_its_own_private_group() {
    let api = [ReadUpstreams, ReadGroup, ReviewGroup, ChangeGroup, PurgeGroup];
    let read = [ReadUpstreams, ReadGroup, ReviewGroup];
    let every = &ALL[..13];
    for (name, principal, membership, may) in [
        ("admin token", Principal::Admin, None, every),
        ("node", Principal::Node, None, &[ServeAsNode]),
        ("job", Principal::Job { token: held(&Scope::PULL) }, None, &[]),
        ("service, own group", service(Some("acme")), None, &[PurgeGroup]),
        ("service, all groups", service(None), None, &[PurgeGroup, PurgeEverything]),
        ("administrator, purge", user(true, Some(&[Scope::Purge])), None, &[PurgeGroup, PurgeEverything]),
        ("deploy, api", of_group("acme", Role::Maintainer, &[Scope::Api]), None, &api),
        ("deploy, read_api", of_group("acme", Role::Maintainer, &[Scope::ReadApi]), None, &read),
        ("deploy, purge", of_group("acme", Role::Maintainer, &[Scope::Purge]), None, &[PurgeGroup]),
        ("deploy, pull", of_group("acme", Role::Maintainer, &Scope::PULL), None, &[]),
        ("deploy, nothing", of_group("acme", Role::Maintainer, &[]), None, &[]),
        (
            "access owner, api",
            of_group("acme", Role::Owner, &[Scope::Api]),
            None,
            &[ReadUpstreams, ReadGroup, ReviewGroup, AuditGroup, ChangeGroup, PurgeGroup, OwnGroup],
        ),
        ("access guest, api", of_group("acme", Role::Guest, &[Scope::Api]), None, &[ReadUpstreams, ReadGroup]),
        ("access guest, purge", of_group("acme", Role::Guest, &[Scope::Purge]), None, &[]),
        ("owner of a group that begins alike", of_group("ac", Role::Owner, &[Scope::Api]), None, &[ReadUpstreams]),
        ("administrator, password", user(true, None), None, every),
        ("administrator, api", user(true, Some(&[Scope::Api])), None, &ALL[1..13]),
        (
            "administrator, read_api",
            user(true, Some(&[Scope::ReadApi])),
            None,
            &[ReadEverything, ReadUpstreams, ReadSelf, ReadGroup, ReviewGroup, AuditGroup],
        ),
        (
            "owner, password",
            user(false, None),
            Some(Role::Owner),
            &[
                ReadUpstreams,
                ReadSelf,
                ChangeSelf,
                ChangePassword,
                ReadGroup,
                ReviewGroup,
                AuditGroup,
                ChangeGroup,
                PurgeGroup,
                OwnGroup,
            ],
        ),
        (
            "owner, read_api",
            user(false, Some(&[Scope::ReadApi])),
            Some(Role::Owner),
            &[ReadUpstreams, ReadSelf, ReadGroup, ReviewGroup, AuditGroup],
        ),
        ("owner, purge", user(false, Some(&[Scope::Purge])), Some(Role::Owner), &[PurgeGroup]),
        ("owner, pull", user(false, Some(&Scope::PULL)), Some(Role::Owner), &[]),
        (
            "maintainer, api",
            user(false, Some(&[Scope::Api])),
            Some(Role::Maintainer),
            &[ReadUpstreams, ReadSelf, ChangeSelf, ReadGroup, ReviewGroup, ChangeGroup, PurgeGroup],
        ),
        (
            "guest, password",
            user(false, None),
            Some(Role::Guest),
            &[ReadUpstreams, ReadSelf, ChangeSelf, ChangePassword, ReadGroup],
        ),
        ("guest, purge", user(false, Some(&[Scope::Purge])), Some(Role::Guest), &[]),
        ("no member", user(false, None), None, &[ReadUpstreams, ReadSelf, ChangeSelf, ChangePassword]),
    ] {
        let target = target("acme", Some(Private), membership);
        for action in ALL {
            assert_eq!(principal.may_on(action, &target).is_ok(), may.contains(&action), "{name} {action:?}");
        }
    }
}

#[test]
fn a_groups_token_reaches_its_group_and_subgroups_and_no_other() {
    let token = of_group("acme", Role::Maintainer, &[Scope::Api]);
    for (at, expected) in [("acme", true), ("acme/ci", true), ("acme-labs", false), ("other", false)] {
        for visibility in [None, Some(Private), Some(Public)] {
            let target = target(at, visibility, None);
            assert_eq!(token.may_on(ChangeGroup, &target).is_ok(), expected, "{target:?}");
        }
        let target = target(at, Some(Private), None);
        assert_eq!(service(Some("acme")).may_on(PurgeGroup, &target).is_ok(), expected, "{target:?}");
        assert!(Principal::Admin.may_on(ChangeGroup, &target).is_ok());
        assert!(service(None).may_on(PurgeGroup, &target).is_ok());
    }
}

#[test]
fn a_private_group_of_others_reads_like_one_that_is_not_there_and_other_groups_name_the_role() {
    for stranger in [
        user(false, None),
        of_group("other", Role::Owner, &[Scope::Api]),
        Principal::Service { token: held(&[Scope::Api, Scope::Purge]), group: Some(path("other")) },
    ] {
        for action in [ReadGroup, ReviewGroup, AuditGroup, ChangeGroup, PurgeGroup, OwnGroup] {
            let asked = |visibility| stranger.may_on(action, &target("acme", visibility, None)).unwrap_err();
            assert_eq!(asked(Some(Private)), asked(None));
            assert_eq!(asked(None).to_string(), "there is no group acme; `group list` shows those there are");
            for visibility in [Internal, Public] {
                let needs = action.role().unwrap();
                assert_eq!(
                    asked(Some(visibility)).to_string(),
                    format!("this needs the role {needs} in group acme; you have none there")
                );
            }
        }
    }
}

#[test]
fn a_member_is_told_which_role_is_missing_whatever_the_visibility() {
    for visibility in [None, Some(Private), Some(Internal), Some(Public)] {
        let target = target("acme", visibility, Some(Role::Guest));
        let denied = user(false, None).may_on(OwnGroup, &target).unwrap_err();
        assert_eq!(denied.to_string(), "this needs the role owner in group acme; yours is guest");
    }
}

#[test]
fn what_the_credentials_lack_is_told_before_the_group_is_looked_at() {
    let target = target("other", Some(Private), None);
    for (principal, action, expected) in [
        (of_group("acme", Role::Owner, &[]), ReadGroup, "this token lacks the scope read_api"),
        (user(false, Some(&[Scope::ReadApi])), ChangeGroup, "this token lacks the scope api"),
        (user(false, Some(&[Scope::ReadApi])), PurgeGroup, "this token lacks the scope purge"),
        (user(true, Some(&[Scope::ReadApi])), Administer, "this token lacks the scope api"),
        (user(false, None), Administer, "this needs an administrator"),
        (user(false, None), ReadEverything, "this needs an administrator"),
        (
            user(true, Some(&[Scope::Api])),
            ChangePassword,
            "a token cannot change the password of its user; sign in with name and password",
        ),
        (service(None), ReadSelf, "this needs a user: sign in with a personal token, or with name and password"),
        (
            Principal::Job { token: held(&[Scope::Api]) },
            ReadGroup,
            "a job token pulls images and does nothing else; use an API token",
        ),
        (Principal::Admin, ServeAsNode, "this needs a node token; create one with `token create --node`"),
    ] {
        assert_eq!(principal.may_on(action, &target).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_audit_names_who_acted() {
    for (principal, expected) in [
        (Principal::Admin, "admin token"),
        (user(false, None), "user alice"),
        (user(true, Some(&[Scope::Api])), "user alice, token 0190 (ci)"),
        (of_group("acme", Role::Guest, &[]), "token 0190 (ci)"),
        (service(None), "token 0190 (ci)"),
        (Principal::Node, "node"),
    ] {
        assert_eq!(principal.describe(), expected);
    }
}
