//! What the control plane and this node tell each other about the blob store: garbage, files that nobody knows, damage, and
//! whose bytes are to be hashed.

use std::time::SystemTime;

use roadstead_proto::{Digest, node::v1 as pb};

use super::translate::{self, Problem, milliseconds};
use crate::control::{ControlClient, ControlError, GroupId, client::bad_answer};

/// Content claimed for deletion.
#[derive(Debug)]
pub struct ClaimedGarbage {
    /// Names the claim, for its confirmation.
    pub claim_id: String,
    /// What to delete.
    pub digests: Vec<Digest>,
}

/// Content as it is, or should be, in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredContent {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// What is wrong with stored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// It is not there.
    Missing,
    /// It has another size.
    Size,
    /// Its bytes do not hash to its digest.
    Digest,
}

impl DamageKind {
    /// A stable word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Digest => "digest",
        }
    }
}

/// Linked content that is not in the store as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The content.
    pub digest: Digest,
    /// What is wrong.
    pub kind: DamageKind,
    /// The size found; 0 if it is missing.
    pub found_bytes: u64,
    /// When it was noticed.
    pub noticed_at: SystemTime,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn contents(told: Vec<pb::StoredContent>) -> Result<Vec<StoredContent>, Problem> {
    let content = |told: pb::StoredContent| {
        let size_bytes = translate::unsigned("a size", told.size_bytes)?;
        Ok(StoredContent { digest: translate::digest(&told.digest)?, size_bytes })
    };
    told.into_iter().map(content).collect()
}

fn digests(told: &[String]) -> Result<Vec<Digest>, Problem> {
    told.iter().map(|text| translate::digest(text)).collect()
}

impl ControlClient {
    /// Claims stored content that nobody links any more, for the caller to delete. `void_earlier` says that nobody here
    /// works on an earlier claim.
    pub async fn claim_garbage(
        &self,
        store_id: &str,
        limit: u16,
        void_earlier: bool,
    ) -> Result<ClaimedGarbage, ControlError> {
        const CALL: &str = "ClaimGarbage";
        let request = self.request(pb::ClaimGarbageRequest {
            limit: limit.into(),
            node_id: self.node_id.to_string(),
            store_id: store_id.to_owned(),
            void_earlier,
        });
        let answer = self.call(CALL, self.service.clone().claim_garbage(request)).await?;
        let digests = digests(&answer.digests).map_err(bad_answer(CALL))?;
        Ok(ClaimedGarbage { claim_id: answer.claim_id, digests })
    }

    /// Confirms that claimed content was deleted.
    pub async fn confirm_garbage(&self, claim_id: &str, digests: &[Digest]) -> Result<(), ControlError> {
        let digests = digests.iter().map(Digest::to_string).collect();
        let request = self.request(pb::ConfirmGarbageRequest { digests, claim_id: claim_id.to_owned() });
        self.call("ConfirmGarbage", self.service.clone().confirm_garbage(request)).await.map(|_| ())
    }

    /// Tells of contents that were found in the store; what nobody knows becomes garbage. Answers how much that was, and
    /// which linked contents have another size.
    pub async fn adopt_contents(
        &self,
        store_id: &str,
        found: impl IntoIterator<Item = StoredContent>,
    ) -> Result<(u64, Vec<Digest>), ControlError> {
        const CALL: &str = "AdoptContents";
        let content = |found: StoredContent| pb::StoredContent {
            digest: found.digest.to_string(),
            size_bytes: number(found.size_bytes),
        };
        let contents = found.into_iter().map(content).collect();
        let request = self.request(pb::AdoptContentsRequest { contents, store_id: store_id.to_owned() });
        let answer = self.call(CALL, self.service.clone().adopt_contents(request)).await?;
        let wrong_size = digests(&answer.wrong_size_digests).map_err(bad_answer(CALL))?;
        Ok((translate::unsigned("a count", answer.adopted).map_err(bad_answer(CALL))?, wrong_size))
    }

    /// Reports what is not in the store as it should be, and what was fetched again. Answers which damage counts.
    pub async fn report_damage(
        &self,
        store_id: &str,
        damages: &[Damage],
        healed: &[Digest],
    ) -> Result<Vec<Digest>, ControlError> {
        const CALL: &str = "ReportDamage";
        let damaged = |damage: &Damage| {
            let kind = match damage.kind {
                DamageKind::Missing => pb::StoredDamage::Missing,
                DamageKind::Size => pb::StoredDamage::Size,
                DamageKind::Digest => pb::StoredDamage::Digest,
            };
            pb::DamagedContent {
                digest: damage.digest.to_string(),
                damage: kind.into(),
                found_bytes: number(damage.found_bytes),
                noticed_at_ms: milliseconds(damage.noticed_at),
            }
        };
        let request = self.request(pb::ReportDamageRequest {
            damages: damages.iter().map(damaged).collect(),
            healed_digests: healed.iter().map(Digest::to_string).collect(),
            store_id: store_id.to_owned(),
        });
        let answer = self.call(CALL, self.service.clone().report_damage(request)).await?;
        digests(&answer.recorded_digests).map_err(bad_answer(CALL))
    }

    /// Which linked contents to hash next; none if all were hashed lately.
    pub async fn claim_scrub(&self, store_id: &str, limit: u16) -> Result<Vec<StoredContent>, ControlError> {
        const CALL: &str = "ClaimScrub";
        let request = self.request(pb::ClaimScrubRequest { limit: limit.into(), store_id: store_id.to_owned() });
        let answer = self.call(CALL, self.service.clone().claim_scrub(request)).await?;
        contents(answer.contents).map_err(bad_answer(CALL))
    }

    /// The next contents that a group links, in the order of digests, and how many there are in all.
    pub async fn group_contents(
        &self,
        group: &GroupId,
        after: Option<&Digest>,
    ) -> Result<(Vec<StoredContent>, u64), ControlError> {
        const CALL: &str = "ListGroupContents";
        let after_digest = after.map(Digest::to_string).unwrap_or_default();
        let request =
            self.request(pb::ListGroupContentsRequest { group_id: group.to_string(), after_digest, limit: 0 });
        let answer = self.call(CALL, self.service.clone().list_group_contents(request)).await?;
        let total = translate::unsigned("a count", answer.total).map_err(bad_answer(CALL))?;
        Ok((contents(answer.contents).map_err(bad_answer(CALL))?, total))
    }
}
