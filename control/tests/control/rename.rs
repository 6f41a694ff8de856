//! Renaming groups, and how clients name their images.

use roadstead_proto::{
    node::v1::{GetLinksRequest, SignInRefusal::NotFound, WatchRequest},
    v1::{GetImagePrefixRequest, Group, Role, UpdateGroupRequest},
};
use tonic::{Code, Status};

use crate::{
    harness::{Client, Plane, digest, place},
    sign_in::{sign_in, snapshot},
};

async fn rename(client: &mut Client, from: &str, to: &str) -> Result<Group, Status> {
    let request = UpdateGroupRequest { path: from.into(), new_path: Some(to.into()), ..Default::default() };
    client.groups.update_group(request).await.map(|answer| answer.into_inner().group.unwrap())
}

/// Path and old paths of every group but the first start's, as nodes are told.
async fn told(plane: &Plane) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<_> =
        snapshot(&mut plane.node()).await.groups.into_iter().map(|group| (group.path, group.old_paths)).collect();
    groups.retain(|(path, _)| path != "default");
    groups.sort();
    groups
}

fn expected(groups: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    groups.iter().map(|(path, old)| ((*path).into(), old.iter().map(ToString::to_string).collect())).collect()
}

#[tokio::test]
async fn a_renamed_group_keeps_all_that_is_its_own_and_is_pulled_from_by_its_old_path() {
    let plane = Plane::start().await;
    let (acme, ci) = (plane.group("acme").await, plane.group("acme/ci").await);
    let token = plane.token("acme", &[]).await;
    let mut node = plane.node();
    node.link_blob(&acme, "a", "layer", 5).await;
    let renamed = rename(&mut plane.admin(), "acme", "Apex").await.unwrap();
    assert_eq!(
        (renamed.id.as_str(), renamed.path.as_str(), &*renamed.old_paths),
        (&*acme.id, "apex", &["acme".to_owned()][..])
    );
    assert_ne!(renamed.etag, acme.etag);
    assert_eq!(told(&plane).await, expected(&[("apex", &["acme"]), ("apex/ci", &["acme/ci"])]));
    let links = GetLinksRequest { repository: place(&renamed, "a"), digest: digest("layer") };
    assert!(node.node.get_links(links).await.unwrap().into_inner().link.is_some());
    let who = (token.username.as_str(), token.token.as_str());
    for path in ["apex", "acme", "ACME", "apex/ci", "acme/ci"] {
        sign_in(&mut node, who, &[path]).await.unwrap_or_else(|refused| panic!("{path}: {refused:?}"));
    }
    // Another takes the path: it is the other's, for pulls too.
    let taken = plane.group("acme").await;
    assert_ne!(taken.id, acme.id);
    assert_eq!(told(&plane).await, expected(&[("acme", &[]), ("apex", &[]), ("apex/ci", &["acme/ci"])]));
    assert_eq!(sign_in(&mut node, who, &["acme"]).await.unwrap_err().0, NotFound);
    sign_in(&mut node, who, &["acme/ci"]).await.unwrap();
    // And back again, at a path that is free.
    rename(&mut plane.admin(), "acme", "late").await.unwrap();
    rename(&mut plane.admin(), "apex", "acme").await.unwrap();
    assert_eq!(told(&plane).await, expected(&[("acme", &["apex"]), ("acme/ci", &["apex/ci"]), ("late", &[])]));
    assert_eq!(
        plane
            .admin()
            .groups
            .get_group(roadstead_proto::v1::GetGroupRequest { path: "acme/ci".into() })
            .await
            .unwrap()
            .into_inner()
            .group
            .unwrap()
            .id,
        ci.id
    );
}

#[tokio::test]
async fn a_path_that_is_taken_or_cannot_be_is_refused_and_nothing_moves() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "apex/ci", "other"] {
        plane.group(path).await;
    }
    let long = "a".repeat(253);
    let before = told(&plane).await;
    for (from, to, code) in [
        ("acme", "other", Code::AlreadyExists),
        ("acme", "apex", Code::AlreadyExists),
        ("acme", "acme/ci/deep", Code::InvalidArgument),
        ("acme", "a//b", Code::InvalidArgument),
        ("acme", &long, Code::InvalidArgument),
        ("gone", "back", Code::NotFound),
    ] {
        assert_eq!(rename(&mut plane.admin(), from, to).await.unwrap_err().code(), code, "{from} {to}");
        assert_eq!(told(&plane).await, before, "{from} {to}");
    }
    rename(&mut plane.admin(), "acme", "acme").await.unwrap();
    assert_eq!(told(&plane).await, before);
}

#[tokio::test]
async fn paths_that_are_left_and_taken_within_the_family_are_no_old_paths() {
    let plane = Plane::start().await;
    plane.group("a/a").await;
    plane.group("a/a/a").await;
    rename(&mut plane.admin(), "a/a", "a").await.unwrap();
    assert_eq!(told(&plane).await, expected(&[("a", &[]), ("a/a", &["a/a/a"])]));
}

#[tokio::test]
async fn owners_rename_where_a_group_is_and_move_it_where_they_may_create_one() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "acme/web", "other"] {
        plane.group(path).await;
    }
    for name in ["olga", "mia"] {
        plane.user(name, false).await;
    }
    plane.member("acme", "mia", Role::Maintainer).await;
    plane.member("acme/ci", "olga", Role::Owner).await;
    plane.member("other", "olga", Role::Owner).await;
    let (olga, mia) =
        (plane.personal_token("olga", &["api"]).await.token, plane.personal_token("mia", &["api"]).await.token);
    let (mut olga, mut mia) = (plane.client(Some(&olga)), plane.client(Some(&mia)));
    assert_eq!(rename(&mut mia, "acme/ci", "acme/cd").await.unwrap_err().code(), Code::PermissionDenied);
    rename(&mut olga, "acme/ci", "acme/cd").await.unwrap();
    assert_eq!(rename(&mut olga, "acme/cd", "acme/web/cd").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(rename(&mut olga, "acme/cd", "top").await.unwrap_err().code(), Code::PermissionDenied);
    let epochs = async || {
        let told = snapshot(&mut plane.node()).await;
        told.groups
            .iter()
            .map(|group| (group.path.clone(), group.access_epoch))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = epochs().await;
    rename(&mut olga, "acme/cd", "other/cd").await.unwrap();
    // Those of acme were let in and are no more: registry tokens from before are void.
    assert!(epochs().await["other/cd"] > before["acme/cd"]);
}

#[tokio::test]
async fn the_image_prefix_is_of_the_node_that_was_heard_last() {
    let plane = Plane::start().await;
    plane.group("acme/ci").await;
    let ask = || GetImagePrefixRequest { path: "acme/ci".into() };
    let refused = plane.admin().groups.get_image_prefix(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for registry_url in ["https://first.example", "https://proxy.example:8443", "", "not a url"] {
        let watch = WatchRequest { registry_url: registry_url.into(), ..Default::default() };
        plane.node().node.watch(watch).await.unwrap();
    }
    let prefix = plane.admin().groups.get_image_prefix(ask()).await.unwrap().into_inner();
    assert_eq!(prefix.registry_url, "https://proxy.example:8443");
    assert_eq!(prefix.server, "proxy.example:8443");
    assert_eq!(prefix.group_image_prefix, "proxy.example:8443/acme/dependency_proxy/containers");
    assert_eq!(prefix.direct_group_image_prefix, "proxy.example:8443/acme/ci/dependency_proxy/containers");
}

#[tokio::test]
async fn a_top_level_path_that_another_group_is_pulled_by_is_taken_by_administrators_only() {
    let plane = Plane::start().await;
    for path in ["acme", "other", "free"] {
        plane.group(path).await;
    }
    rename(&mut plane.admin(), "acme", "apex").await.unwrap();
    rename(&mut plane.admin(), "free", "gone").await.unwrap();
    plane.user("olga", false).await;
    for path in ["other", "gone"] {
        plane.member(path, "olga", Role::Owner).await;
    }
    let token = plane.personal_token("olga", &["api"]).await.token;
    let mut olga = plane.client(Some(&token));
    let refused = rename(&mut olga, "other", "acme").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(told(&plane).await, expected(&[("apex", &["acme"]), ("gone", &["free"]), ("other", &[])]));
    // Its own old path, and one that is nobody's.
    rename(&mut olga, "gone", "free").await.unwrap();
    rename(&mut olga, "other", "another").await.unwrap();
    rename(&mut plane.admin(), "another", "acme").await.unwrap();
    assert_eq!(told(&plane).await, expected(&[("acme", &["other", "another"]), ("apex", &[]), ("free", &["gone"])]));
}
