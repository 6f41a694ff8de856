//! Messages about stored content and its corruption, to and from the control plane's own words.

use roadstead_proto::{CorruptionKind, Digest, node::v1};
use tonic::Status;

use crate::{
    api::errors::{invalid_field, parse},
    rules::cache::corruption::{Noticed, Stored},
    usecases::cache::garbage::Adopted,
};

/// Most bytes of a node's or store's id.
const MAX_ID_BYTES: usize = 512;

/// Ids as nodes name themselves and their stores.
pub fn ids(ids: &[&str]) -> Result<(), Status> {
    if ids.iter().any(|id| id.len() > MAX_ID_BYTES || id.chars().any(char::is_control)) {
        return Err(invalid_field("id", format!("at most {MAX_ID_BYTES} bytes, and no control characters")));
    }
    Ok(())
}

pub fn digests_in(field: &str, digests: &[String]) -> Result<Vec<Digest>, Status> {
    digests.iter().map(|digest| parse(field, digest)).collect()
}

pub fn contents_in(contents: Vec<v1::StoredContent>) -> Result<Vec<Stored>, Status> {
    let stored = |content: v1::StoredContent| {
        Ok(Stored { digest: parse("contents.digest", &content.digest)?, size_bytes: content.size_bytes.max(0) })
    };
    contents.into_iter().map(stored).collect()
}

pub fn contents(contents: Vec<Stored>) -> Vec<v1::StoredContent> {
    let content =
        |stored: Stored| v1::StoredContent { digest: stored.digest.to_string(), size_bytes: stored.size_bytes };
    contents.into_iter().map(content).collect()
}

pub fn adopted(adopted: Adopted) -> v1::AdoptContentsResponse {
    let wrong_size_digests = adopted.wrong_size.iter().map(Digest::to_string).collect();
    v1::AdoptContentsResponse { adopted: adopted.adopted, wrong_size_digests }
}

pub fn noticed_in(noticed: v1::CorruptContent) -> Result<Noticed, Status> {
    let kind =
        CorruptionKind::try_from(noticed.kind).map_err(|error| invalid_field("corruptions.kind", error.to_string()))?;
    Ok(Noticed { digest: parse("corruptions.digest", &noticed.digest)?, kind, found_bytes: noticed.found_bytes.max(0) })
}
