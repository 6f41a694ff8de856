//! Answers about links.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{Digest, node::v1 as pb};

use super::translate::{self, Problem};
use crate::control::{Link, Recorded, tag::Brought};

/// The control plane's answer about a group's right to a digest.
#[derive(Debug)]
pub(crate) struct LinksAnswer {
    /// The link, if the group has one.
    pub(crate) link: Option<Arc<Link>>,
    /// For a manifest, the links to what it refers to.
    pub(crate) referenced: Vec<Arc<Link>>,
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
    Ok(LinksAnswer { link, referenced, link_epoch: answer.link_epoch, is_from_upstream: answer.from_upstream })
}

pub(super) fn read_recorded(answer: pb::RecordLinkResponse) -> Result<(Recorded, Brought), Problem> {
    let recorded = match (answer.outdated, answer.recorded) {
        _ if answer.unproven => Recorded::Unproven,
        (true, _) => Recorded::Outdated,
        (false, false) => Recorded::BeingDeleted,
        (false, true) => Recorded::Recorded,
    };
    let good_for = Duration::from_secs(u64::try_from(answer.unconfirmed_seconds).unwrap_or_default());
    let referenced = translate::links(answer.referenced)?;
    Ok((recorded, Brought { referenced, link_epoch: answer.link_epoch, good_for, fresh_for: Duration::ZERO }))
}
