//! Messages as JSON, through their descriptors: whatever the contract gains is printed without a change here.

use std::sync::OnceLock;

use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, value::Serializer};

use crate::failure::Failure;

fn pool() -> Result<&'static DescriptorPool, Failure> {
    static POOL: OnceLock<Result<DescriptorPool, String>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(roadstead_proto::DESCRIPTORS).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| Failure::failed(format_args!("cannot read the built-in descriptors: {error}")))
}

fn value<M: Name>(message: &M) -> Result<Value, Failure> {
    let unprintable =
        |why: &dyn std::fmt::Display| Failure::failed(format_args!("cannot print {} as JSON: {why}", M::full_name()));
    let descriptor = pool()?.get_message_by_name(&M::full_name()).ok_or_else(|| unprintable(&"no descriptor"))?;
    let dynamic =
        DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|error| unprintable(&error))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false).stringify_64_bit_integers(false);
    dynamic.serialize_with_options(Serializer, &options).map_err(|error| unprintable(&error))
}

/// One answer, pretty-printed.
pub fn answer<M: Name>(message: &M) -> Result<String, Failure> {
    Ok(format!("{:#}", value(message)?))
}

/// The array of a list's items, pretty-printed.
pub fn items<M: Name>(items: &[M]) -> Result<String, Failure> {
    let values = items.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{:#}", Value::Array(values)))
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::{GetGroupResponse, GetStatsResponse, Group, Visibility};

    use super::*;

    #[test]
    fn an_answer_has_proto_names_default_fields_and_plain_numbers() {
        let stats = GetStatsResponse { images: 1, bytes: 1 << 40, ..GetStatsResponse::default() };
        let expected = r#"{
  "images": 1,
  "manifests": 0,
  "blobs": 0,
  "bytes": 1099511627776,
  "hits": 0,
  "misses": 0
}"#;
        assert_eq!(sorted(&answer(&stats).unwrap()), sorted(expected));
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

    fn sorted(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }
}
