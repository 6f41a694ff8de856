//! Signing keys: rotation, and what survives a restart.

use crate::{
    harness::Plane,
    sign_in::{claims, keys, sign_in},
};
use roadstead_proto::time::timestamp_ms;

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn a_restart_keeps_the_key_so_that_tokens_go_on() {
    let plane = Plane::start().await;
    let token = sign_in(&mut plane.node(), ("", ""), &["default"]).await.unwrap().token;
    let before = keys(&mut plane.node()).await;
    let plane = plane.restart().await;
    assert_eq!(keys(&mut plane.node()).await, before);
    assert!(claims(&token, &keys(&mut plane.node()).await).is_some());
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_have_expired() {
    let plane = Plane::start().await;
    let old = keys(&mut plane.node()).await;
    plane.advance(30 * DAY);
    let plane = plane.restart().await;
    let published = keys(&mut plane.node()).await;
    assert_eq!(published.len(), 2);
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let token = sign_in(&mut plane.node(), ("", ""), &["default"]).await.unwrap().token;
    assert_eq!(kid(&token), old[0].id, "nodes may not have heard of the new one yet");
    plane.advance(60);
    let plane = plane.restart().await;
    let next = sign_in(&mut plane.node(), ("", ""), &["default"]).await.unwrap().token;
    assert_ne!(kid(&next), old[0].id);
    let both = keys(&mut plane.node()).await;
    assert!(claims(&token, &both).is_some() && claims(&next, &both).is_some());
    let retired = both.iter().find(|key| key.id == old[0].id).unwrap();
    assert!(timestamp_ms(retired.not_after) > plane.clock.now_ms() + 900_000);
    plane.advance(DAY + 1);
    let plane = plane.restart().await;
    let left = keys(&mut plane.node()).await;
    assert!(left.iter().all(|key| key.id != old[0].id) && claims(&next, &left).is_some());
}
