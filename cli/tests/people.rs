//! Admin commands against a server: groups' rules, people, trusts, CI variables.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing helper ends its test")]

mod harness;

use std::process::Command;

use harness::{Admin, Server, roadstead, run, serve};
use serde_json::{Value, json};

/// Returns the field of each item of a list.
fn each(list: &Value, field: &str) -> Vec<Value> {
    list.as_array().expect("a list").iter().map(|item| item[field].clone()).collect()
}

#[test]
fn groups_take_all_their_rules_at_once_or_are_not_created() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };

    let line = "group create acme --retention 90d --max-stale 14d --cooldown 24h --missing-tag keep --allow docker.io/* \
                --deny *miner* --deny */x";
    let group = &admin.json(line)["group"];
    assert_eq!((&group["retention"], &group["max_stale"]), (&json!("7776000s"), &json!("1209600s")));
    assert_eq!((&group["cooldown"], &group["missing_tag"]), (&json!("86400s"), &json!("MISSING_TAG_KEEP")));
    assert_eq!(group["allowed_images"], json!(["docker.io/*"]));
    assert_eq!(group["denied_images"], json!(["*miner*", "*/x"]));
    let shown = admin.run("group get acme").stdout;
    for says in ["Retention:        90d\n", "Cooldown:         1d\n", "Denied images:    *miner*, */x\n"] {
        assert!(shown.contains(says), "{shown}");
    }

    let updated = &admin.json("group update acme --no-allow --retention off --cooldown off")["group"];
    assert_eq!((&updated["allowed_images"], &updated["denied_images"]), (&json!([]), &json!(["*miner*", "*/x"])));
    let etag = updated["etag"].as_str().unwrap();
    assert_eq!(admin.run(&format!("group update acme --frozen true --etag {etag}")).code, Some(0));
    let stale = admin.run(&format!("group update acme --frozen false --etag {etag}"));
    assert_eq!(stale.code, Some(1), "{stale:?}");

    let refused = admin.run("group create ops --retention 1h --deny *miner*");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("retention"), "{refused:?}");
    assert_eq!(admin.run("group get ops").code, Some(1), "a group with fewer rules than asked for is left");
}

#[test]
fn rules_of_a_group_survive_being_set_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    let set = |pattern: &str| admin.command(&format!("group rule set default {pattern} --immutable"));
    let patterns: Vec<String> = (0..4).map(|at| format!("docker.io/library/image-{at}:*")).collect();
    let mut children: Vec<_> =
        patterns.iter().map(|pattern| set(pattern).stdout(std::process::Stdio::null()).spawn().unwrap()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let mut set = each(&admin.json("group rule list default"), "pattern");
    set.sort_by_key(Value::to_string);
    assert_eq!(set, patterns);

    assert_eq!(admin.run("group rule delete default docker.io/library/image-2:*").code, Some(0));
    let replaced = admin.json("group rule set default docker.io/library/image-1:* --max-age 1h --first");
    let rules = replaced["group"]["tag_rules"].as_array().unwrap();
    assert_eq!((rules.len(), &rules[0]["pattern"]), (3, &json!("docker.io/library/image-1:*")));
    assert_eq!((&rules[0]["max_age"], rules[0].get("immutable")), (&json!("3600s"), None));
    let gone = admin.run("group rule delete default docker.io/library/image-2:*");
    assert!(gone.code == Some(1) && gone.stderr.contains("group rule list default"), "{gone:?}");
}

#[test]
fn a_renamed_group_keeps_its_old_path_in_mind() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    for path in ["acme", "acme/backend"] {
        assert_eq!(admin.run(&format!("group create {path}")).code, Some(0));
    }
    let renamed = admin.json("group rename acme acme-corp");
    assert_eq!((&renamed["group"]["path"], &renamed["group"]["old_paths"]), (&json!("acme-corp"), &json!(["acme"])));
    assert_eq!(admin.json("group get acme-corp/backend")["group"]["old_paths"], json!(["acme/backend"]));
    assert!(admin.run("group get acme-corp").stdout.contains("Old paths:        acme\n"));
    assert_eq!(admin.run("group update acme-corp --new-path acme").code, Some(0));
}

#[test]
fn people_are_created_made_members_and_make_their_own_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    let password = "correct horse battery";

    let created = run(&mut admin.command("user create alice --password-stdin -o json"), &format!("{password}\n"));
    assert_eq!((&created.json()["user"]["name"], &created.json()["user"]["admin"]), (&json!("alice"), &json!(false)));
    assert!(!created.stdout.contains(password) && !created.stderr.contains(password));
    let short = run(&mut admin.command("user create bob --password-stdin"), "short\n");
    assert!(short.code == Some(1) && short.stderr.contains("12") && !short.stderr.contains("short\""), "{short:?}");

    let member = admin.json("member add default alice --role maintainer");
    assert_eq!(member["member"]["role"], "ROLE_MAINTAINER");
    assert_eq!(each(&admin.json("member list default"), "user"), ["alice"]);
    assert_eq!(admin.run("member add default nobody --role guest").code, Some(1));

    // The first token, with nothing but the password.
    let mut command = roadstead();
    command.args(["token", "create", "--user", "alice", "--name", "laptop", "--scope", "api", "--password-stdin"]);
    command.args(["-o", "json", "--control"]).arg(format!("http://{}", server.addresses[1]));
    let token = run(command.current_dir(&dir), password).json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("rs_"), "{token}");
    let wrong = run(&mut command, "wrong horse battery");
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("does not accept the password of alice"), "{wrong:?}");

    let as_alice = |line: &str| {
        let mut command = admin.command(line);
        run(command.env("ROADSTEAD_TOKEN", &token), "")
    };
    assert_eq!(each(&as_alice("group list -o json").json(), "path"), ["default"]);
    let refused = as_alice("user create eve --password-stdin");
    assert_eq!(refused.code, Some(2), "no password on stdin");
    let refused = as_alice("group delete default --yes");
    assert!(
        refused.code == Some(1) && refused.stderr.contains("the token from --token or ROADSTEAD_TOKEN"),
        "{refused:?}"
    );
    assert_eq!(each(&admin.json("token list --user alice"), "name"), ["laptop"]);

    assert_eq!(admin.json("user update alice --disabled true")["user"]["disabled"], true);
    assert_eq!(as_alice("group list").code, Some(1), "a disabled user's token works");
    assert_eq!(admin.json("member remove default alice"), json!({}));
    assert_eq!(admin.json("user delete alice --yes"), json!({}));
    assert_eq!(admin.json("user list"), json!([]));
}

#[test]
fn every_kind_of_token_is_made_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    for line in [
        "token create --group default --name deploy",
        "token create --group default --kind access --role guest --name access",
        "token create --group default --kind service --name group-purger",
        "token create --service --name purger",
        "token create-job default --expires-in 5m --name job",
    ] {
        let answer = admin.json(line);
        assert!(answer["token"].as_str().is_some_and(|token| token.starts_with("rs_")), "{line}: {answer}");
    }
    let once = "token create --group default --name once --request-id 0193a5c0-0000-7000-8000-000000000001";
    assert_eq!(admin.json(once), admin.json(once), "a repeat prints the same token");
    let kinds = each(&admin.json("token list --group default"), "kind");
    for kind in ["TOKEN_KIND_GROUP", "TOKEN_KIND_GROUP_ACCESS", "TOKEN_KIND_SERVICE", "TOKEN_KIND_JOB"] {
        assert!(kinds.contains(&json!(kind)), "{kind}: {kinds:?}");
    }
    let listed = admin.json("token list --group default")[0].clone();
    let id = listed["id"].as_str().unwrap();
    assert_eq!(admin.json(&format!("token get {id}"))["token"], listed);
    assert!(admin.run(&format!("token get {id}")).stdout.contains("deploy"));
    let table = admin.run("token list").stdout;
    assert!(table.contains("access (guest)") && table.contains("purger"), "{table}");
}

#[test]
fn issuers_and_trusts_come_and_go_and_the_audit_knows() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    let issuer = "https://gitlab.example.com";
    let add = format!(
        "oidc trust create default --issuer {issuer} --audience proxy --claim project_path=acme/* --claim ref=main"
    );
    assert_eq!(admin.run(&add).code, Some(1), "an issuer that nobody allowed is trusted");
    assert_eq!(admin.json(&format!("oidc issuer create {issuer}"))["issuer"]["url"], issuer);
    let trust = admin.json(&add)["trust"].clone();
    assert_eq!(trust["claims"][1], json!({"claim": "ref", "pattern": "main"}));
    assert_eq!(admin.json("oidc trust list default"), json!([trust]));
    let id = trust["id"].as_str().unwrap();
    assert_eq!(admin.json(&format!("oidc trust get {id}"))["trust"], trust);
    assert_eq!(admin.json(&format!("oidc issuer get {issuer}"))["issuer"]["url"], issuer);
    // Earlier spellings go on.
    assert_eq!(admin.json(&format!("oidc issuer add {issuer}"))["issuer"]["url"], issuer);
    assert!(!admin.run("oidc issuer --help").stdout.contains("add"));
    assert_eq!(admin.json(&format!("oidc trust delete {}", trust["id"].as_str().unwrap())), json!({}));
    assert_eq!(admin.json(&format!("oidc issuer delete {issuer}")), json!({}));
    assert_eq!(admin.json("oidc issuer list"), json!([]));

    let events = admin.json("audit list --since 1h --group default");
    let actions: Vec<String> = each(&events, "action").iter().map(Value::to_string).collect();
    assert!(actions.iter().any(|action| action.contains("trust")), "{actions:?}");
    assert!(each(&events, "client_address").contains(&json!("127.0.0.1")), "{events}");
    let cut = admin.run("audit list --limit 1");
    assert_eq!((cut.stdout.lines().count(), cut.stderr.as_str()), (2, "There are older events; --limit shows more.\n"));
    assert_eq!(admin.json("audit list --until 2020-01-01"), json!([]));
}

/// The environment that a shell has after evaluating the variables.
fn evaluated(exports: &str) -> String {
    let done = run(Command::new("sh").args(["-c", &format!("{exports}\nenv")]), "");
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

#[test]
fn ci_gets_variables_that_log_in_and_name_images() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    assert_eq!(admin.run("group create acme").code, Some(0));
    assert_eq!(admin.run("group create acme/backend").code, Some(0));
    let registry = server.addresses[0];

    let done = admin.run("ci-env acme/backend --expires-in 5m");
    let environment = evaluated(&done.stdout);
    for line in [
        format!("CI_DEPENDENCY_PROXY_SERVER={registry}\n"),
        format!("CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX={registry}/acme/dependency_proxy/containers\n"),
        format!("CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX={registry}/acme/backend/dependency_proxy/containers\n"),
    ] {
        assert!(environment.contains(&line), "{line}{environment}");
    }
    let github = admin.run("ci-env acme --format github --registry https://proxy.example");
    let password = github.stdout.lines().find_map(|line| line.strip_prefix("CI_DEPENDENCY_PROXY_PASSWORD=")).unwrap();
    assert_eq!(github.stderr, format!("::add-mask::{password}\n"));
    assert!(github.stdout.contains("CI_DEPENDENCY_PROXY_SERVER=proxy.example\n"), "{github:?}");
    let json = admin.json("ci-env acme");
    assert_eq!(json.as_object().unwrap().len(), 5);
    assert_eq!(admin.run("ci-env nobody --registry https://proxy.example").code, Some(1));

    let config = admin.run("mirror-config acme --for podman");
    let location = format!("location = \"{registry}/acme/dependency_proxy/containers/docker.io\"\ninsecure = true\n");
    assert!(config.stdout.ends_with(&location), "{config:?}");
}
