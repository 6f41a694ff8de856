use roadstead_proto::v1::{GetGroupResponse, GetStatsResponse, Group, Visibility};

use serde_json::Value;

use super::*;

#[test]
fn an_answer_has_proto_names_in_their_order_default_fields_and_plain_numbers() {
    let stats = GetStatsResponse { images: 1, bytes: 1 << 40, ..GetStatsResponse::default() };
    let expected = r#"{
  "images": 1,
  "manifests": 0,
  "blobs": 0,
  "bytes": 1099511627776,
  "hits": 0,
  "misses": 0
}"#;
    assert_eq!(answer(&stats).unwrap(), expected);
}

#[test]
fn times_durations_and_enums_are_as_protobuf_json_has_them() {
    let group = Group {
        path: "acme".into(),
        visibility: Visibility::Private.into(),
        max_age: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        created_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
        ..Group::default()
    };
    let json: Value = serde_json::from_str(&answer(&GetGroupResponse { group: Some(group) }).unwrap()).unwrap();
    let group = &json["group"];
    assert_eq!(group["visibility"], "VISIBILITY_PRIVATE");
    assert_eq!(group["max_age"], "90s");
    assert_eq!(group["created_at"], "1970-01-01T00:00:00Z");
    assert_eq!(group["anonymous_pull"], false);
    assert_eq!(group["upstreams"], Value::Array(vec![]));
}

#[test]
fn an_empty_list_is_an_empty_array() {
    assert_eq!(items::<Group>(&[]).unwrap(), "[]");
}
