//! The rule of purges, over the content that a group holds of one repository.
//!
//! - All filters must fit. They pick *manifests*, and blobs that no manifest of the group refers to; a digest picks
//!   the manifest or blob that has it.
//! - The content that a purged manifest refers to goes with it, unless another manifest of the group in this
//!   repository refers to
//!   it too, or (for the manifests of an index) a tag means it, or it was pulled later than the filter says.
//! - Tags that meant a purged manifest go.
//! - A manifest counts as pulled whenever it or an index that refers to it was: clients that have the rest of an image
//!   ask for the index only, and that must not let its manifests age.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_proto::{ContentKind, Digest};

/// The content that a group holds of one repository.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Its links.
    pub links: BTreeMap<Digest, Held>,
    /// Its tags and the manifests they mean.
    pub tags: BTreeMap<String, Digest>,
    /// Which linked manifest refers to which digest.
    pub references: BTreeSet<(Digest, Digest)>,
}

/// One link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Manifest or blob.
    pub kind: ContentKind,
    /// When it was last pulled, or cached if it never was.
    pub last_used_ms: i64,
}

/// Which of it to purge; empty means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only the manifest that this tag resolves to.
    pub tag: Option<String>,
    /// The manifest or blob with this digest.
    pub digest: Option<Digest>,
    /// Only content last used before this time.
    pub used_before_ms: Option<i64>,
}

impl Filter {
    /// Returns whether everything fits.
    pub fn takes_all(&self) -> bool {
        self.tag.is_none() && self.digest.is_none() && self.used_before_ms.is_none()
    }
}

/// The selected content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Links, by digest.
    pub digests: BTreeSet<Digest>,
    /// Tags.
    pub tags: BTreeSet<String>,
}

/// Applies the rule.
pub fn select(inventory: &Inventory, filter: &Filter) -> Selection {
    let mut children: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    let mut parents: BTreeMap<Digest, usize> = BTreeMap::new();
    for (parent, child) in &inventory.references {
        let held = inventory.links.contains_key(parent) && inventory.links.contains_key(child);
        if held && parent != child {
            children.entry(*parent).or_default().push(*child);
            *parents.entry(*child).or_default() += 1;
        }
    }
    let tagged: BTreeSet<Digest> = inventory.tags.values().copied().collect();
    let last_used = last_used(inventory, &children);
    let young = |manifest: &Digest| {
        filter.used_before_ms.is_some_and(|before| {
            let held = inventory.links.get(manifest).filter(|held| held.kind == ContentKind::Manifest);
            held.is_some() && last_used.get(manifest).is_some_and(|used| *used >= before)
        })
    };
    let mut digests: BTreeSet<Digest> = roots(inventory, filter, &last_used, &parents).collect();
    let mut gone: Vec<Digest> = digests.iter().copied().collect();
    while let Some(parent) = gone.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            let Some(left) = parents.get_mut(child) else { continue };
            *left -= 1;
            if *left == 0 && !tagged.contains(child) && !young(child) && digests.insert(*child) {
                gone.push(*child);
            }
        }
    }
    let tags =
        inventory.tags.iter().filter(|(_, digest)| digests.contains(digest)).map(|(tag, _)| tag.clone()).collect();
    Selection { digests, tags }
}

/// Returns the content that the filters pick directly.
fn roots<'a>(
    inventory: &'a Inventory,
    filter: &'a Filter,
    last_used: &'a BTreeMap<Digest, i64>,
    parents: &'a BTreeMap<Digest, usize>,
) -> impl Iterator<Item = Digest> + 'a {
    let meant = filter.tag.as_ref().map(|tag| inventory.tags.get(tag).copied());
    inventory.links.iter().filter_map(move |(digest, held)| {
        let wanted = match (meant, filter.digest) {
            (None, None) => held.kind == ContentKind::Manifest || !parents.contains_key(digest),
            (meant, wanted) => {
                meant.is_none_or(|meant| meant == Some(*digest)) && wanted.is_none_or(|wanted| wanted == *digest)
            }
        };
        let used = last_used.get(digest).copied().unwrap_or(held.last_used_ms);
        let old = filter.used_before_ms.is_none_or(|before| used < before);
        (wanted && old).then_some(*digest)
    })
}

/// When each manifest was last used, itself or through an index.
fn last_used(inventory: &Inventory, children: &BTreeMap<Digest, Vec<Digest>>) -> BTreeMap<Digest, i64> {
    let manifest = |digest: &Digest| inventory.links.get(digest).is_some_and(|held| held.kind == ContentKind::Manifest);
    let mut used: BTreeMap<Digest, i64> =
        inventory.links.iter().map(|(digest, held)| (*digest, held.last_used_ms)).collect();
    let mut raised: Vec<Digest> = children.keys().copied().collect();
    while let Some(parent) = raised.pop() {
        let at = used.get(&parent).copied().unwrap_or_default();
        for child in children.get(&parent).into_iter().flatten().filter(|child| manifest(child)) {
            if let Some(own) = used.get_mut(child).filter(|own| **own < at) {
                *own = at;
                raised.push(*child);
            }
        }
    }
    used
}

#[cfg(test)]
mod tests;
