//! Access to pulls as one table, tried with the running server: the rule that `control` tests as a function. Each cell is a
//! sign-in for an image of a group, and then a pull with what came of it.

use std::time::Duration;

use roadstead_proto::v1::{Role, UpdateGroupRequest, UpdateUserRequest, Visibility};
use roadstead_tests::{
    api::{Api, PULL},
    client::{self, Client},
    cluster::{Cluster, DeployToken},
    image::Image,
    issuer::{Issuer, Signer},
};

use crate::{open_pair, soon};

/// The password of every user.
const PASSWORD: &str = "correct horse battery";
/// The columns: private, internal, public, with anonymous pulls, each of the first, second and last switched off, and none.
const GROUPS: [&str; 8] = ["acme/ci", "inner", "public", "open", "acme/off", "inner-off", "open-off", "nowhere"];

/// The refusal of each name: status, code, and part of the message.
fn reading(verdict: &str) -> (u16, &'static str, &'static str) {
    match verdict {
        "wrong" => (401, "UNAUTHORIZED", "wrong user name, password or token"),
        "sign in" => (401, "UNAUTHORIZED", "sign in first"),
        "stranger" => (401, "UNAUTHORIZED", "no group here trusts this ID token"),
        "no user" => (401, "UNAUTHORIZED", "is disabled"),
        "no token" => (401, "UNAUTHORIZED", "does not pull images"),
        "scopes" => (403, "DENIED", "pulling needs the scopes read_registry and write_registry; this token lacks"),
        "denied" => (403, "DENIED", "may not pull from"),
        "off" => (403, "DENIED", "is switched off"),
        "404" => (404, "NAME_UNKNOWN", "there is no group"),
        other => panic!("{other}"),
    }
}

struct Row {
    who: &'static str,
    credentials: Option<(String, String)>,
    cells: [&'static str; 8],
}

fn row(who: &'static str, token: DeployToken, cells: [&'static str; 8]) -> Row {
    Row { who, credentials: Some((token.username, token.token)), cells }
}

fn user(name: &'static str, cells: [&'static str; 8]) -> Row {
    Row { who: name, credentials: Some((name.into(), PASSWORD.into())), cells }
}

const MEMBER: [&str; 8] = ["ok", "ok", "ok", "ok", "off", "off", "off", "404"];
const STRANGER: [&str; 8] = ["404", "ok", "ok", "ok", "404", "off", "off", "404"];
/// At home in acme/ci only.
const LOCAL: [&str; 8] = ["ok", "ok", "ok", "ok", "404", "off", "off", "404"];
/// At home below acme/ci.
const BELOW: [&str; 8] = ["denied", "ok", "ok", "ok", "404", "off", "off", "404"];
const NO_SCOPES: [&str; 8] = ["scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "404"];
const STRANGER_NO_SCOPES: [&str; 8] = ["404", "scopes", "scopes", "scopes", "404", "scopes", "scopes", "404"];
/// A job of acme belongs to acme, not to the installation.
const JOB: [&str; 8] = ["ok", "denied", "ok", "ok", "off", "denied", "off", "404"];
const FOREIGN_JOB: [&str; 8] = ["404", "denied", "ok", "ok", "404", "denied", "off", "404"];
const JOB_BELOW: [&str; 8] = ["denied", "denied", "ok", "ok", "404", "denied", "off", "404"];

async fn groups(admin: &Api) {
    use Visibility::{Internal, Private, Public};
    for (path, visibility, anonymous) in [
        ("acme", Private, false),
        ("acme/ci", Private, false),
        ("acme/ci/deep", Private, false),
        ("acme/off", Private, false),
        ("other", Private, false),
        ("inner", Internal, false),
        ("inner-off", Internal, false),
        ("public", Public, false),
        ("open", Public, true),
        ("open-off", Public, true),
    ] {
        admin.group(path, visibility, anonymous).await;
        if path.ends_with("off") {
            admin.update_group(path, UpdateGroupRequest { enabled: Some(false), ..Default::default() }).await;
        }
    }
}

async fn people(admin: &Api) -> Vec<Row> {
    for (name, is_admin, membership) in [
        ("guest", false, Some(("acme", Role::Guest))),
        ("maintainer", false, Some(("acme", Role::Maintainer))),
        ("owner", false, Some(("acme", Role::Owner))),
        ("local", false, Some(("acme/ci", Role::Guest))),
        ("below", false, Some(("acme/ci/deep", Role::Owner))),
        ("stranger", false, None),
        ("root", true, None),
        ("disabled", false, Some(("acme", Role::Owner))),
    ] {
        admin.user(name, PASSWORD, is_admin).await;
        if let Some((group, role)) = membership {
            admin.member(group, name, role).await;
        }
    }
    let of_disabled = admin.personal("disabled", &PULL).await;
    admin.update_user("disabled", UpdateUserRequest { disabled: Some(true), ..Default::default() }).await;
    vec![
        user("guest", MEMBER),
        user("maintainer", MEMBER),
        user("owner", MEMBER),
        user("local", LOCAL),
        user("below", BELOW),
        user("stranger", STRANGER),
        user("root", MEMBER),
        user("disabled", ["no user"; 8]),
        user("nobody", ["wrong"; 8]),
        Row {
            who: "wrong password",
            credentials: Some(("owner".into(), "incorrect horse".into())),
            cells: ["wrong"; 8],
        },
        row("guest's personal", admin.personal("guest", &PULL).await, MEMBER),
        row("guest's personal, api", admin.personal("guest", &["api"]).await, MEMBER),
        row("guest's personal, read_registry", admin.personal("guest", &["read_registry"]).await, NO_SCOPES),
        row("owner's personal, write_registry", admin.personal("owner", &["write_registry"]).await, NO_SCOPES),
        row("owner's personal, read_api", admin.personal("owner", &["read_api"]).await, NO_SCOPES),
        row("stranger's personal", admin.personal("stranger", &PULL).await, STRANGER),
        row("stranger's personal, half", admin.personal("stranger", &["read_registry"]).await, STRANGER_NO_SCOPES),
        row("root's personal", admin.personal("root", &PULL).await, MEMBER),
        row("disabled user's personal", of_disabled, ["no user"; 8]),
    ]
}

async fn tokens(cluster: &Cluster, admin: &Api) -> Vec<Row> {
    let revoked = admin.deploy("acme", &PULL).await;
    cluster.cli(&["token", "revoke", &revoked.id]).await.ok();
    let expired = admin.deploy_for("acme", Duration::from_secs(1)).await;
    let misnamed = DeployToken { username: "owner".into(), ..admin.deploy("acme", &PULL).await };
    let administrator = DeployToken { id: String::new(), username: "admin".into(), token: cluster.admin_token() };
    let client = cluster.client("acme", &expired);
    soon(401, || client.sign_in("app")).await;
    vec![
        row("deploy", admin.deploy("acme", &PULL).await, MEMBER),
        row("deploy of the group itself", admin.deploy("acme/ci", &PULL).await, LOCAL),
        row("deploy of a subgroup", admin.deploy("acme/ci/deep", &PULL).await, BELOW),
        row("deploy of another group", admin.deploy("other", &PULL).await, STRANGER),
        row("deploy, half", admin.deploy("acme", &["read_registry"]).await, NO_SCOPES),
        row("deploy, api", admin.deploy("acme", &["api"]).await, NO_SCOPES),
        row("deploy of another group, half", admin.deploy("other", &["write_registry"]).await, STRANGER_NO_SCOPES),
        row("access, guest", admin.access("acme", Role::Guest, &PULL).await, MEMBER),
        row("access, owner, api", admin.access("acme", Role::Owner, &["api"]).await, NO_SCOPES),
        row("access of another group", admin.access("other", Role::Owner, &PULL).await, STRANGER),
        row("job", admin.job("acme").await, JOB),
        row("job of another group", admin.job("other").await, FOREIGN_JOB),
        row("job of a subgroup", admin.job("acme/ci/deep").await, JOB_BELOW),
        row("service", admin.service("acme").await, ["no token"; 8]),
        row("node", admin.node().await, ["no token"; 8]),
        row("the administrator's", administrator, ["no token"; 8]),
        row("revoked", revoked, ["wrong"; 8]),
        row("expired", expired, ["wrong"; 8]),
        row("by another user's name", misnamed, ["wrong"; 8]),
        Row {
            who: "nobody",
            credentials: None,
            cells: ["sign in", "sign in", "sign in", "ok", "sign in", "sign in", "off", "sign in"],
        },
    ]
}

async fn jobs(admin: &Api, issuer: &Issuer, signer: &Signer) -> Vec<Row> {
    admin.allow_issuer(issuer).await;
    for (group, projects) in [("acme", "acme/*"), ("other", "other/*"), ("acme/ci/deep", "deep/*")] {
        admin.trust(group, issuer, projects).await;
    }
    let job = |who, project: &str, cells| Row {
        who,
        credentials: Some(("oidc".into(), signer.sign(&issuer.claims(project)))),
        cells,
    };
    vec![
        job("oidc", "acme/app", JOB),
        job("oidc of another group", "other/app", FOREIGN_JOB),
        job("oidc of a subgroup", "deep/app", JOB_BELOW),
        job("oidc that nobody trusts", "evil/app", ["stranger"; 8]),
    ]
}

#[tokio::test]
async fn who_may_pull_from_where() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let admin = cluster.admin();
    let signer = Signer::rsa("k1");
    let issuer = Issuer::start(&[&signer]).await;
    groups(&admin).await;
    let mut rows = people(&admin).await;
    rows.extend(tokens(&cluster, &admin).await);
    rows.extend(jobs(&admin, &issuer, &signer).await);
    let mut wrong = Vec::new();
    for (address, Row { who, credentials, cells }) in rows.into_iter().enumerate() {
        // Each from an address of its own: failures of one must not slow another.
        let local = std::net::IpAddr::from([127, 0, 1, u8::try_from(address).unwrap() + 1]);
        let http = client::builder().local_address(local).build().unwrap();
        for (group, cell) in GROUPS.into_iter().zip(cells) {
            let client = Client::new(&cluster.url(), group, credentials.clone()).with_http(http.clone());
            let signed_in = client.sign_in("app").await;
            let error = || signed_in.json()["errors"][0].clone();
            let is_right = match cell {
                "ok" => signed_in.status == 200 && client.manifest("app", "latest").await.status == 200,
                refused => {
                    let (status, code, message) = reading(refused);
                    signed_in.status == status
                        && error()["code"] == code
                        && error()["message"].as_str().is_some_and(|text| text.contains(message))
                }
            };
            if !is_right {
                let told = String::from_utf8_lossy(&signed_in.body).into_owned();
                wrong.push(format!("{who} at {group}: expected {cell}, got {} {told:.200}", signed_in.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), cluster.log());
}
