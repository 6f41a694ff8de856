//! Answers about links.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{Digest, node::v1 as pb};

use super::translate::{self, Problem};
use crate::control::{BlobRecorded, ControlError, Link, ProvenLink, Recorded, Unlinked, tag::Brought};

/// The control plane's answer about a group's right to a digest.
#[derive(Debug)]
pub(crate) struct LinksAnswer {
    /// The link, if the group has one.
    pub(crate) link: Option<Arc<Link>>,
    /// For a manifest, the links to what it refers to.
    pub(crate) referenced: Vec<Arc<Link>>,
    /// Other content that the same manifest refers to, without a link.
    pub(crate) unlinked: Vec<Unlinked>,
    /// The group's link epoch at which all of it was read.
    pub(crate) link_epoch: i64,
    /// The content was fetched whole from the repository's upstream before.
    pub(crate) is_from_upstream: bool,
}

pub(super) fn read_links(asked: &Digest, answer: pb::GetLinksResponse) -> Result<LinksAnswer, Problem> {
    let link = answer.link.map(translate::link).transpose()?;
    if link.as_ref().is_some_and(|link| link.digest != *asked) {
        return Err(format!("{asked} was asked for"));
    }
    let referenced = translate::links(answer.referenced)?;
    let unlinked = translate::unlinked(answer.unlinked)?;
    Ok(LinksAnswer {
        link,
        referenced,
        unlinked,
        link_epoch: answer.link_epoch,
        is_from_upstream: answer.from_upstream,
    })
}

pub(super) fn read_recorded(answer: pb::RecordLinkResponse) -> Result<(Recorded, Brought), Problem> {
    let recorded = match (answer.outdated, answer.recorded) {
        _ if answer.unproven => Recorded::Unproven,
        (true, _) => Recorded::Outdated,
        (false, false) => Recorded::BeingDeleted,
        (false, true) => Recorded::Recorded,
    };
    let good_for = translate::span(answer.unconfirmed_for);
    let referenced = translate::links(answer.referenced)?;
    let unlinked = translate::unlinked(answer.unlinked)?;
    Ok((recorded, Brought { referenced, unlinked, link_epoch: answer.link_epoch, good_for, fresh_for: Duration::ZERO }))
}

pub(super) fn proven_to_pb(proven: &ProvenLink) -> pb::ProvenLink {
    pb::ProvenLink {
        repository: Some(translate::repository_to_pb(&proven.repository)),
        link: Some(translate::link_to_pb(&proven.link)),
        link_epoch: proven.proof.link_epoch,
        proof: translate::proof_to_pb(proven.proof.kind).into(),
    }
}

/// Reads the results for so many links, each with the group's link epoch.
pub(super) fn read_results(asked: usize, answer: pb::RecordLinksResponse) -> Result<Vec<BlobRecorded>, Problem> {
    if answer.results.len() != asked {
        return Err(format!("{} results for {asked} links", answer.results.len()));
    }
    let read = |result: pb::RecordedLink| {
        let recorded = match result.outcome() {
            pb::LinkOutcome::Recorded => Recorded::Recorded,
            pb::LinkOutcome::BeingDeleted => Recorded::BeingDeleted,
            pb::LinkOutcome::Outdated => Recorded::Outdated,
            pb::LinkOutcome::Unproven => Recorded::Unproven,
            pb::LinkOutcome::NoGroup => {
                let message = "the group was deleted".to_owned();
                return Ok(Err(ControlError::NotFound { call: "RecordLinks", message }));
            }
            pb::LinkOutcome::Unspecified => return Err(format!("there is no outcome {}", result.outcome)),
        };
        Ok(Ok((recorded, result.link_epoch)))
    };
    answer.results.into_iter().map(read).collect()
}
