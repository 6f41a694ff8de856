//! `roadstead login`: later commands use what it keeps, other servers never get its token, and others cannot read it.

use std::{fs, os::unix::fs::PermissionsExt};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    process::{Finished, run_command},
};

/// Runs a command of a person with a home of their own and no token, anywhere but on the server's machine.
async fn run_at_home(cluster: &Cluster, home: &std::path::Path, arguments: &[&str], input: &str) -> Finished {
    let mut command = cluster.command(arguments);
    command.env("XDG_CONFIG_HOME", home).env("ROADSTEAD_DATA_DIR", home.join("nothing"));
    run_command(command.into(), input).await
}

#[tokio::test]
async fn a_login_is_kept_for_later_commands_and_for_no_other_server() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let other = Cluster::start_bare(ClusterOptions::default()).await;
    let home = tempfile::tempdir().unwrap();
    let (url, token) = (format!("http://{}", cluster.control), cluster.admin_token());
    let at_home = async |arguments: &[&str], input: &str| run_at_home(&cluster, home.path(), arguments, input).await;

    let stranger =
        at_home(&["login", &url, "--token-stdin"], "rs_pat_000000000000000000000000000000000000000000000000\n").await;
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(at_home(&["group", "list"], "").await.failed().contains("roadstead login"), "nothing was kept");
    let missing = at_home(&["login", &url], "").await;
    assert_eq!((missing.code, missing.stderr.contains("--token-stdin")), (2, true), "{missing:?}");

    let kept = at_home(&["login", &url, "--token-stdin"], &format!("{token}\n")).await;
    assert_eq!(kept.code, 0, "{kept:?}");
    assert!(!format!("{kept:?}").contains(&token), "the token is not shown");
    let file = home.path().join("roadstead/login.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    at_home(&["group", "create", "acme"], "").await.ok();
    assert!(at_home(&["group", "list", "--control", &url], "").await.ok().contains("acme"));

    // The token is for the server of the login only.
    let elsewhere = format!("http://{}", other.control);
    let refused = at_home(&["group", "list", "--control", &elsewhere], "").await.failed();
    assert!(refused.contains("no API token"), "{refused}");
    // A token that is given stands before the one that is kept.
    let given = at_home(&["group", "list", "--token", "rs_pat_0"], "").await.failed();
    assert!(given.contains("--token or ROADSTEAD_TOKEN"), "{given}");

    assert_eq!(at_home(&["logout"], "").await.code, 0);
    assert!(!file.exists());
    assert!(at_home(&["group", "list"], "").await.failed().contains("no API token"));
    assert_eq!(at_home(&["logout"], "").await.code, 0);
}
