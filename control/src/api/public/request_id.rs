//! Ids that callers choose for calls that create something.

use prost::Name;
use tonic::Status;

use crate::{
    api::errors::invalid_field,
    rules::{access::Actor, request::RequestId},
};

/// Reads the id of a call. `message` is the request without a password.
pub fn parse<M: Name>(caller: &Actor, id: &str, message: &M) -> Result<Option<RequestId>, Status> {
    RequestId::new(&caller.principal, id, M::NAME, &message.encode_to_vec())
        .map_err(|error| invalid_field("request_id", error.to_string()))
}
