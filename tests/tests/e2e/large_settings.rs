//! An owner who makes as much as possible: nodes start all the same, others pull, and too much is refused.

use roadstead_proto::v1::{CreateGroupRequest, ImagePatterns, UpdateGroupRequest};
use roadstead_tests::{
    api::Api,
    cluster::{Cluster, ClusterOptions},
    eventually::eventually,
    hub::{AuthMode, Hub, HubOptions},
    image::{Image, digest},
};
use tonic::{Code, Status};

/// Subgroups of the attack, each with two lists of 100 patterns of 512 characters: 70 MB of settings.
const SUBGROUPS: usize = 700;

async fn start(limits: &[&str]) -> (Hub, Cluster, Image) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let image = Image::small(1);
    hub.push("library/alpine", "3.20", &image);
    let arguments = limits.iter().map(|text| (*text).to_owned()).collect();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    (hub, cluster, image)
}

/// An owner of group `evil` and of nothing else.
async fn owner(cluster: &Cluster) -> Api {
    cluster.create_group("evil").await;
    cluster.cli_with_input(&["user", "create", "mallory", "--password-stdin"], "correct horse battery").await.ok();
    cluster.cli(&["member", "add", "evil", "mallory", "--role", "owner"]).await.ok();
    let token = cluster.cli_json(&["token", "create", "--user", "mallory", "--name", "t", "--scope", "api"]).await;
    Api::at(cluster.control, token["token"].as_str().unwrap())
}

fn patterns(of: char) -> Option<ImagePatterns> {
    let patterns = (0..100).map(|number| format!("{number:03}{}", of.to_string().repeat(509))).collect();
    Some(ImagePatterns { patterns })
}

/// Makes the subgroups of the attack until one is refused.
async fn attack(owner: &Api) -> (usize, Option<Status>) {
    for number in 0..SUBGROUPS {
        let request = CreateGroupRequest {
            path: format!("evil/sub-{number}"),
            allowed_images: patterns('a'),
            denied_images: patterns('d'),
            ..Default::default()
        };
        if let Err(status) = owner.groups.clone().create_group(request).await {
            return (number, Some(status));
        }
    }
    (SUBGROUPS, None)
}

async fn others_pull(cluster: &Cluster, image: &Image) {
    let client = cluster.anonymous();
    // A node that was started again catches up first, and refuses meanwhile.
    let caught_up = async || client.manifest("alpine", "3.20").await.status.as_u16() == 200;
    eventually("the node has caught up", caught_up).await;
    assert_eq!(client.manifest("alpine", "3.20").await.expect(200).body, image.manifest);
    for blob in image.blobs() {
        assert_eq!(client.blob("alpine", &digest(blob)).await.expect(200).body, blob);
    }
}

#[tokio::test]
async fn an_owner_who_makes_seventy_megabytes_of_settings_is_refused_and_told_so() {
    let (_hub, cluster, image) = start(&[]).await;
    let owner = owner(&cluster).await;
    let (made, refused) = attack(&owner).await;
    let refused = refused.expect("everything was accepted");
    assert!((10..SUBGROUPS).contains(&made), "{made}");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("--max-tree-settings"), "{}", refused.message());
    assert!(String::from_utf8_lossy(refused.details()).contains("LIMIT_REACHED"));
    // The same by changing what is there.
    let small = CreateGroupRequest { path: "evil/small".into(), ..Default::default() };
    owner.groups.clone().create_group(small).await.unwrap();
    let grown = UpdateGroupRequest {
        path: "evil/small".into(),
        allowed_images: patterns('a'),
        denied_images: patterns('d'),
        ..Default::default()
    };
    assert_eq!(owner.groups.clone().update_group(grown).await.unwrap_err().code(), Code::ResourceExhausted);
    // Others change their settings, pull, and start nodes as before.
    cluster.cli(&["group", "update", "default", "--deny", "something/else"]).await.ok();
    others_pull(&cluster, &image).await;
    cluster.kill();
    cluster.run_processes().await;
    others_pull(&cluster, &image).await;
}

#[tokio::test]
async fn nodes_start_and_follow_with_more_settings_than_a_message_holds() {
    let limits = ["--max-tree-settings", "1GiB", "--max-total-settings", "1GiB"];
    let (_hub, cluster, image) = start(&limits).await;
    let owner = owner(&cluster).await;
    let (made, refused) = attack(&owner).await;
    assert!(refused.is_none(), "{made}: {refused:?}");
    cluster.kill();
    cluster.run_processes().await;
    others_pull(&cluster, &image).await;
    // One change of 70 MB: every subgroup gets another path.
    let moved = UpdateGroupRequest { path: "evil".into(), new_path: Some("worse".into()), ..Default::default() };
    owner.groups.clone().update_group(moved).await.unwrap();
    cluster.cli(&["group", "update", "default", "--enabled", "false"]).await.ok();
    let is_refused = async || cluster.anonymous().sign_in("alpine").await.status.as_u16() == 403;
    eventually("the change after it is known", is_refused).await;
}
