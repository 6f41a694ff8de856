//! The executable without a server: usage, exit codes, stdout and stderr.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing helper ends its test")]

mod harness;

use std::process::Command;

use harness::{Done, roadstead, run};

fn run_line(line: &str) -> Done {
    run(elsewhere().args(line.split(' ')), "")
}

fn elsewhere() -> Command {
    let mut command = roadstead();
    command.current_dir(std::env::temp_dir());
    command
}

#[test]
fn wrong_usage_is_exit_code_2_and_leaves_stdout_alone() {
    for (line, says) in [
        ("frobnicate", "frobnicate"),
        ("group", "create"),
        ("group update acme --token x", "--frozen"),
        ("group delete acme", "--yes"),
        ("group create acme --visibility secret", "--visibility"),
        ("token create --name ci", "--group"),
        ("token create --name ci --group acme --node", "--node"),
        ("token create --name ci --node --scope api", "--scope"),
        ("token create --name ci --group acme --scope everything", "--scope"),
        ("token create --name ci --user alice --kind deploy --token x", "--kind"),
        ("token create --name ci --group acme --password-stdin --token x", "--user"),
        ("token list --group acme --user alice", "--user"),
        ("user create alice --token x", "--password-stdin"),
        ("user create alice --password s3cret", "--password"),
        ("user update alice", "--disabled"),
        ("user delete alice", "--yes"),
        ("member add acme alice", "--role"),
        ("member add acme alice --role king", "king"),
        ("group create acme --retention soon", "--retention"),
        ("group update acme --allow a --no-allow", "--no-allow"),
        ("group rule set acme alpine", "--immutable"),
        ("oidc trust create acme --issuer https://i --audience a", "--claim"),
        ("oidc trust create acme --issuer https://i --audience a --claim sub", "CLAIM=PATTERN"),
        ("audit list --since yesterday", "--since"),
        ("audit list --limit 0", "--limit"),
        ("ci-env a//b", "a//b"),
        ("ci-env acme --registry proxy.example", "--registry"),
        ("ci-env acme --format csh", "csh"),
        ("mirror-config acme", "--for"),
        ("mirror-config acme --for docker --upstream ghcr.io", "--upstream ghcr.io"),
        ("upstream set ghcr.io --url https://ghcr.io --reserve 95%", "--reserve"),
        ("upstream set ghcr.io --url https://ghcr.io --ca-file /no/ca.pem --token x", "--ca-file /no/ca.pem"),
        ("cache pin acme alpine sha256:00", "IMAGE:TAG"),
        ("cache pin acme alpine:3", "DIGEST"),
        ("cache history acme alpine", "IMAGE:TAG"),
        ("cache prefetch acme alpine --every often", "--every"),
        ("token create --name ci --group acme --expires-in soon", "--expires-in"),
        ("upstream login acme docker.io --username me --token x", "--password-stdin"),
        ("cache purge acme --tag latest", "--image"),
        ("cache purge acme", "--yes"),
        ("cache purge --all-groups", "--yes"),
        ("cache purge acme --image alpine:3 --tag 4", "--tag"),
        ("upstream delete ghcr.io", "--yes"),
        ("group list --control 127.0.0.1:7071", "--control"),
        ("group list -o yaml", "yaml"),
        ("completions tcsh", "tcsh"),
        ("serve --storage ftp://bucket", "--storage ftp://bucket"),
        ("serve --node-cache much", "--node-cache"),
        ("serve --tls-cert /cert.pem", "--tls-cert /cert.pem"),
        ("serve --listen 127.0.0.1:7071", "127.0.0.1:7071"),
        ("dataplane", "--node-token"),
    ] {
        let done = run_line(line);
        assert_eq!(done.code, Some(2), "{line}: {done:?}");
        assert!(done.stderr.contains(says) && done.stdout.is_empty(), "{line}: {done:?}");
    }
}

#[test]
fn settings_come_from_the_environment_too() {
    let done = run(elsewhere().arg("serve").env("ROADSTEAD_STORAGE", "file://here"), "");
    assert_eq!(done.code, Some(2));
    assert_eq!(
        done.stderr,
        "error: --storage file://here: a file URL needs an absolute path and no host: file:///ABSOLUTE/PATH\n"
    );
}

#[test]
fn without_a_token_the_error_says_where_one_may_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(roadstead().current_dir(&dir).args(["group", "list"]), "");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.starts_with("error: no API token: run `roadstead login`, give --token, set ROADSTEAD_TOKEN"),
        "{done:?}"
    );
}

#[test]
fn a_dead_control_plane_is_said_with_its_address() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let done = run_line(&format!("group list --token x --control http://{unused}"));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(&format!("cannot reach the control plane at http://{unused}: ")), "{done:?}");
    assert!(done.stderr.trim_end().ends_with("is `roadstead serve` running?"), "{done:?}");
    assert!(done.stdout.is_empty(), "{done:?}");
}

#[test]
fn completions_know_the_commands_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let done = run_line(&format!("completions {shell}"));
        assert_eq!(done.code, Some(0), "{done:?}");
        for word in ["serve", "upstream", "registry-token-lifetime", "password-stdin"] {
            assert!(done.stdout.contains(word), "{shell} does not complete {word}");
        }
    }
}

#[test]
fn help_shows_every_command_with_examples() {
    let help = run_line("--help").stdout;
    for name in [
        "serve",
        "control",
        "dataplane",
        "group",
        "user",
        "member",
        "token",
        "oidc",
        "upstream",
        "cache",
        "ci-env",
        "mirror-config",
        "audit",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {name}")), "{name} is missing: {help}");
        let own = run_line(&format!("{name} --help"));
        assert!(own.code == Some(0) && own.stdout.contains("Example"), "{name}: {own:?}");
    }
}

#[test]
fn a_mirror_s_file_needs_no_server_where_the_registry_is_given() {
    let line = "mirror-config acme --for containerd --registry https://proxy.example:8443";
    let done = run_line(line);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.starts_with("# Install as /etc/containerd/certs.d/docker.io/hosts.toml\n"), "{done:?}");
    assert!(done.stdout.contains("\n\nserver = \"https://registry-1.docker.io\"\n"), "{done:?}");
    let json = run_line(&format!("{line} -o json")).json();
    assert!(json["content"].as_str().unwrap().starts_with("server = ") && json["needs"].is_array(), "{json}");

    // JSON has no comments, so the other steps go to stderr.
    let docker = run_line("mirror-config acme --for docker --registry http://127.0.0.1:7070");
    assert_eq!(docker.stdout, "{\n  \"registry-mirrors\": [\"http://127.0.0.1:7070\"]\n}\n");
    assert!(docker.stderr.contains("--mirror-group acme") && docker.stderr.contains("Only this machine"), "{docker:?}");
}
