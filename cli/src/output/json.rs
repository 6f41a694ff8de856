//! Messages as JSON, by their descriptors, so that new fields of the contract need no change here.

use std::{fmt, sync::OnceLock};

use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::{Serialize, Serializer};

use crate::failure::Failure;

fn pool() -> Result<&'static DescriptorPool, Failure> {
    static POOL: OnceLock<Result<DescriptorPool, String>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(roadstead_proto::DESCRIPTORS).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| Failure::failed(format_args!("cannot read the built-in descriptors: {error}")))
}

/// A message to serialize, with its fields in the order of the contract.
struct Json(DynamicMessage);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(false)
            .stringify_64_bit_integers(false);
        self.0.serialize_with_options(serializer, &options)
    }
}

fn unprintable<M: Name>(why: impl fmt::Display) -> Failure {
    Failure::failed(format_args!("cannot print {} as JSON: {why}", M::full_name()))
}

fn json<M: Name>(message: &M) -> Result<Json, Failure> {
    let descriptor =
        pool()?.get_message_by_name(&M::full_name()).ok_or_else(|| unprintable::<M>("it has no descriptor"))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map(Json).map_err(unprintable::<M>)
}

/// Returns an answer as pretty-printed JSON.
pub fn answer<M: Name>(message: &M) -> Result<String, Failure> {
    serde_json::to_string_pretty(&json(message)?).map_err(unprintable::<M>)
}

/// Returns a list's items as a pretty-printed JSON array.
pub fn items<M: Name>(items: &[M]) -> Result<String, Failure> {
    let items = items.iter().map(json).collect::<Result<Vec<_>, _>>()?;
    serde_json::to_string_pretty(&items).map_err(unprintable::<M>)
}

#[cfg(test)]
mod tests;
