//! An older backup is restored while nodes that have seen later changes run, or are cut off.

use std::path::Path;

use http::Method;
use roadstead_tests::{
    client::Client,
    cluster::executable,
    eventually::eventually,
    fleet::{Fleet, Purpose},
    image::{Image, digest},
    link::Mode,
    process::run,
};

use super::{open_fleet, pull, push};

/// The groups, and what is done to each after the restore.
const GROUPS: [&str; 3] = ["off", "revoked", "purged"];

/// A node, as clients of every group.
struct Clients([Client; 3]);

impl Clients {
    fn of(url: &str, token: &(String, String)) -> Self {
        Self(GROUPS.map(|group| Client::new(url, group, (group == "revoked").then(|| token.clone()))))
    }

    async fn pull(&self, name: &str, image: &Image) {
        for client in &self.0 {
            pull(client, name, image).await;
        }
    }

    /// The groups that get something of an image: by digest, with the registry tokens that the clients have.
    async fn served(&self, name: &str, image: &Image) -> Vec<&'static str> {
        let layer = digest(&image.layers[0]);
        let mut served = Vec::new();
        for (client, group) in self.0.iter().zip(GROUPS) {
            for rest in [format!("blobs/{layer}"), format!("manifests/{}", image.digest())] {
                let answer = client.try_ask(Method::GET, name, &rest, &[]).await;
                if answer.is_ok_and(|answer| answer.status == 200) {
                    served.push(group);
                }
            }
        }
        served
    }
}

async fn command(arguments: &[&str], fleet: &Fleet) {
    let folder = fleet.controls[0].data_dir();
    let key = folder.with_file_name("secret-key");
    let (folder, key, url) = (folder.to_str().unwrap(), key.to_str().unwrap(), fleet.postgres.url());
    let to = ["--data-dir", folder, "--secret-key-file", key, "--database-url", &url];
    run(executable(), &[arguments, &to].concat()).await.ok();
}

async fn restore_by_hand(backup: &Path, fleet: &Fleet) {
    let dump = backup.join("control.dump");
    let into = ["--clean", "--if-exists", "--dbname", &fleet.postgres.url(), dump.to_str().unwrap()];
    run("pg_restore", &into).await.ok();
}

async fn nothing_taken_after_a_restore_is_served(by_hand: bool) {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    let (later_name, later) = push(&hub, "later", 2);
    for group in GROUPS {
        let anonymous = if group == "revoked" { "false" } else { "true" };
        let create = ["group", "create", group, "--visibility", "public", "--anonymous-pull", anonymous];
        fleet.cli(&create).await.ok();
    }
    let create = ["token", "create", "--group", "revoked", "--name", "ci", "--output", "json"];
    let token: serde_json::Value = serde_json::from_str(&fleet.cli(&create).await.ok()).unwrap();
    let text = |field: &str| token[field].as_str().unwrap().to_owned();
    let credentials = (text("username"), text("token"));
    let clients: Vec<_> =
        fleet.nodes.iter().map(|node| Clients::of(&format!("http://{}", node.address), &credentials)).collect();
    for clients in &clients {
        clients.pull(name, &image).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    command(&["backup", backup.to_str().unwrap()], &fleet).await;

    // Nodes see changes that the backup lacks, and learn of content that it does not know.
    for clients in &clients {
        clients.pull(later_name, &later).await;
    }
    for frozen in ["true", "false", "true", "false"] {
        fleet.cli(&["group", "update", "default", "--frozen", frozen]).await.ok();
    }
    fleet.nodes[2].set_links(Purpose::Control, Mode::Refuse).await;
    for control in &fleet.controls {
        control.stop().await;
    }
    if by_hand {
        restore_by_hand(&backup, &fleet).await;
    } else {
        command(&["restore", backup.to_str().unwrap()], &fleet).await;
    }
    // Upstream has gone: what is served is served from memory.
    hub.down().await;
    for control in &fleet.controls {
        control.start();
    }
    for control in &fleet.controls {
        control.ready().await;
    }
    // As many changes as were lost: without marks, the nodes would think that they have them.
    fleet.cli(&["group", "update", "off", "--enabled", "false"]).await.ok();
    fleet.cli(&["token", "revoke", &text("id")]).await.ok();
    fleet.cli(&["cache", "purge", "purged", "--yes"]).await.ok();
    fleet.cli(&["cache", "purge", "purged", "--yes"]).await.ok();

    // Running nodes, from when they have heard of it; the one that was cut off, from its first answer on.
    for clients in &clients[..2] {
        eventually("running nodes serve nothing of it", async || clients.served(name, &image).await.is_empty()).await;
    }
    fleet.nodes[2].set_links(Purpose::Control, Mode::Pass).await;
    let links: Vec<_> = fleet.nodes[2].links(Purpose::Control).collect();
    eventually("the node is back", async || links.iter().any(|link| link.open() > 0)).await;
    eventually("the node that was cut off serves nothing of it", async || {
        clients[2].served(name, &image).await.is_empty()
    })
    .await;
    for (number, clients) in clients.iter().enumerate() {
        // Registry tokens from before are void; new ones give nothing that was taken either.
        let fresh = Clients::of(&format!("http://{}", fleet.nodes[number].address), &credentials);
        let layer = digest(&image.layers[0]);
        for client in &fresh.0 {
            let answer = client.try_pull(name, &format!("blobs/{layer}"), &[]).await;
            assert!(answer.is_ok_and(|answer| answer.status != 200), "node {}", number + 1);
        }
        for (name, image) in [(name, &image), (later_name, &later)] {
            assert_eq!(clients.served(name, image).await, Vec::<&str>::new(), "node {} {name}", number + 1);
        }
    }
    let timelines = fleet.postgres.query("SELECT count(*) FROM audit WHERE action = 'timeline.begin'").await;
    assert_eq!(timelines.trim(), if by_hand { "1" } else { "0" }, "a restore by hand is found out once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_taken_after_roadstead_restore_is_served_by_nodes_that_saw_later_changes() {
    nothing_taken_after_a_restore_is_served(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_taken_after_a_restore_by_hand_is_served_by_nodes_that_saw_later_changes() {
    nothing_taken_after_a_restore_is_served(true).await;
}
