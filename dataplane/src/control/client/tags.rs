//! Answers about tags.

use roadstead_proto::{Digest, node::v1 as pb};

use super::translate::{self, Problem};
use crate::control::{TagResolution, TagVerdict, tag::Brought};

fn digest_if_named(text: &str) -> Result<Option<Digest>, Problem> {
    (!text.is_empty()).then(|| translate::digest(text)).transpose()
}

pub(super) fn read_resolution(answer: pb::ResolveTagResponse) -> Result<(TagResolution, Option<Brought>), Problem> {
    use pb::resolve_tag_response::Decision;
    Ok(match answer.decision.ok_or("there is no decision")? {
        Decision::Serve(serve) => {
            let (serve, brought) = translate::serve(serve)?;
            (TagResolution::Serve(serve), Some(brought))
        }
        Decision::Revalidate(pb::Revalidate { cached_digest }) => {
            (TagResolution::Revalidate { cached: digest_if_named(&cached_digest)? }, None)
        }
        Decision::Fetch(pb::FetchManifest { digest }) => (TagResolution::Fetch(translate::digest(&digest)?), None),
        Decision::Refuse(refuse) => (TagResolution::Refuse(translate::refuse(refuse)?), None),
    })
}

pub(super) fn read_verdict(answer: pb::ReportTagResponse) -> Result<(TagVerdict, Option<Brought>), Problem> {
    use pb::report_tag_response::Decision;
    Ok(match answer.decision.ok_or("there is no decision")? {
        Decision::Serve(serve) => {
            let (serve, brought) = translate::serve(serve)?;
            (TagVerdict::Serve(serve), Some(brought))
        }
        Decision::Fetch(pb::FetchManifest { digest }) => (TagVerdict::Fetch(digest_if_named(&digest)?), None),
        Decision::Refuse(refuse) => (TagVerdict::Refuse(translate::refuse(refuse)?), None),
    })
}
