//! The rule of retention: it evicts images that nobody has pulled for long, and the least recently pulled ones where
//! there is more than there may be.
//!
//! An *image* is a manifest that no other refers to, with all that it refers to, or a blob that none refers to: it
//! stays or goes whole. It counts as pulled when it, or a manifest in it, was. It guarantees that
//! - what a protected tag means, and what a tag is pinned to, stays, with all that it needs;
//! - nothing goes that an image which stays needs;
//! - no more images go than have to: without the last one there would still be too much.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::Hash,
    str::FromStr,
};

use roadstead_proto::{ContentKind, Digest, ImagePattern, InvalidImagePattern, RepositoryName, Tag, UpstreamHost};

use crate::rules::cache::purge::{Inventory, Selection};

/// A pattern of tags; one without "/" and ":" is of tags of every image. Shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern {
    text: Box<str>,
    pattern: ImagePattern,
}

impl TagPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the tag fits.
    pub fn fits(&self, host: &UpstreamHost, repository: &RepositoryName, tag: &Tag) -> bool {
        self.pattern.fits_tag(host, repository, tag)
    }
}

impl FromStr for TagPattern {
    type Err = InvalidImagePattern;

    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        let is_of_all = !text.is_empty() && !text.contains(['/', ':']);
        let pattern = if is_of_all { format!("*:{text}").parse()? } else { text.parse()? };
        Ok(Self { text: text.into(), pattern })
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An image of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its manifest; or the blob that it is.
    pub root: Digest,
    /// Tags that mean it or a manifest in it.
    pub tags: BTreeSet<String>,
    /// When it was last pulled, or cached if it never was.
    pub last_used_ms: i64,
    /// It stays, whatever there is.
    pub is_kept: bool,
    /// All that it needs of what is linked, itself too.
    pub members: BTreeSet<Digest>,
}

/// The images of a repository. `keeps` tells which tags are protected; `pinned` is what tags are pinned to.
pub fn images(held: &Inventory, keeps: impl Fn(&str) -> bool, pinned: &BTreeSet<Digest>) -> Vec<Image> {
    let mut children: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    let mut referred: BTreeSet<Digest> = BTreeSet::new();
    for (parent, child) in &held.references {
        if parent != child && held.links.contains_key(parent) && held.links.contains_key(child) {
            children.entry(*parent).or_default().push(*child);
            referred.insert(*child);
        }
    }
    let mut kept: BTreeSet<Digest> = pinned.iter().copied().filter(|digest| held.links.contains_key(digest)).collect();
    kept.extend(held.tags.iter().filter(|(tag, _)| keeps(tag)).map(|(_, digest)| *digest));
    kept.retain(|digest| held.links.contains_key(digest));
    let roots = held.links.keys().filter(|digest| !referred.contains(digest));
    // An image kept within another one is an image of its own, and stays when the rest is evicted.
    let all: BTreeSet<Digest> = roots.chain(&kept).copied().collect();
    all.into_iter().map(|root| image(held, &children, root, kept.contains(&root))).collect()
}

fn image(held: &Inventory, children: &BTreeMap<Digest, Vec<Digest>>, root: Digest, is_kept: bool) -> Image {
    let mut members = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        let new = children.get(&parent).into_iter().flatten().filter(|child| members.insert(**child));
        open.extend(new.copied().collect::<Vec<_>>());
    }
    let used = members.iter().filter_map(|digest| Some((digest, held.links.get(digest)?)));
    // Blobs do not count: others may have pulled them, for images that share them.
    let last_used_ms = used
        .filter(|(digest, link)| link.kind == ContentKind::Manifest || **digest == root)
        .map(|(_, link)| link.last_used_ms)
        .max()
        .unwrap_or_default();
    let tags = held.tags.iter().filter(|(_, digest)| members.contains(digest)).map(|(tag, _)| tag.clone()).collect();
    Image { root, tags, last_used_ms, is_kept, members }
}

/// The images of a repository, as one goes after the other.
#[derive(Debug)]
pub struct Shelf {
    images: BTreeMap<Digest, Image>,
    /// By how many of them each content is needed.
    digests: HashMap<Digest, u32>,
    /// The number of them that each tag resolves to.
    tags: HashMap<String, u32>,
}

impl Shelf {
    /// All of them.
    pub fn new(images: Vec<Image>) -> Self {
        let (mut digests, mut tags) = (HashMap::new(), HashMap::new());
        for image in &images {
            image.members.iter().for_each(|digest| *digests.entry(*digest).or_default() += 1);
            image.tags.iter().for_each(|tag| *tags.entry(tag.clone()).or_default() += 1);
        }
        Self { images: images.into_iter().map(|image| (image.root, image)).collect(), digests, tags }
    }

    /// One that is still there.
    pub fn get(&self, root: &Digest) -> Option<&Image> {
        self.images.get(root)
    }

    /// Takes one that is still there. Answers what goes with it: what none that is left needs.
    pub fn take(&mut self, root: &Digest) -> Option<Selection> {
        let image = self.images.remove(root)?;
        let digests = image.members.into_iter().filter(|digest| is_last(&mut self.digests, digest)).collect();
        let tags = image.tags.into_iter().filter(|tag| is_last(&mut self.tags, tag)).collect();
        Some(Selection { digests, tags })
    }
}

/// Counts one less, and answers whether none is left.
fn is_last<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return true };
    *count = count.saturating_sub(1);
    *count == 0
}

/// The linked content.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Its own size.
    pub size_bytes: i64,
    /// Manifest or blob.
    pub kind: ContentKind,
    /// When it was last pulled.
    pub last_pulled_ms: Option<i64>,
}

/// The reason for an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was not pulled for as long as the group says.
    Age,
    /// There is more than there may be.
    Room,
}

/// The bounds that retention keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Evicts content last used before this time.
    pub used_before_ms: Option<i64>,
    /// Bytes that there may be.
    pub most_bytes: Option<i64>,
}

/// An image that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction<P> {
    /// Its repository.
    pub repository: P,
    /// Its manifest; or the blob that it is.
    pub root: Digest,
    /// Tags that mean it.
    pub tags: Vec<String>,
    /// When it was last pulled, or cached if it never was.
    pub last_used_ms: i64,
    /// When it was last pulled.
    pub last_pulled_ms: Option<i64>,
    /// Bytes that there are less then.
    pub bytes: i64,
    /// Manifests that go.
    pub manifests: i64,
    /// The cause.
    pub reason: Reason,
}

/// All that is looked at together: a group's repositories, or everybody's. Every digest counts once.
pub struct Planner<P> {
    digests: HashMap<Digest, usize>,
    sizes: Vec<i64>,
    /// In how many repositories each is.
    places_of: Vec<u32>,
    /// By how many images of a repository a digest is needed.
    needed: HashMap<(usize, usize), u32>,
    repositories: Vec<P>,
    images: Vec<Candidate>,
    bytes: i64,
}

struct Candidate {
    repository: usize,
    root: Digest,
    tags: Vec<String>,
    last_used_ms: i64,
    last_pulled_ms: Option<i64>,
    is_kept: bool,
    /// With whether each is a manifest.
    members: Vec<(usize, bool)>,
}

impl<P: Clone + Ord> Planner<P> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            digests: HashMap::new(),
            sizes: Vec::new(),
            places_of: Vec::new(),
            needed: HashMap::new(),
            repositories: Vec::new(),
            images: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes of all that was added.
    pub fn bytes(&self) -> i64 {
        self.bytes
    }

    /// Adds a repository: its images, with what is known of all their members.
    pub fn add(&mut self, repository: P, images: Vec<Image>, contents: &HashMap<Digest, Content>) {
        let at = self.repositories.len();
        self.repositories.push(repository);
        for image in images {
            let mut members = Vec::with_capacity(image.members.len());
            let mut last_pulled_ms = None;
            for digest in image.members {
                // Members are linked, and so they are there.
                let Some(Content { size_bytes: size, kind, last_pulled_ms: pulled }) = contents.get(&digest).copied()
                else {
                    continue;
                };
                if kind == ContentKind::Manifest || digest == image.root {
                    last_pulled_ms = last_pulled_ms.max(pulled);
                }
                let number = *self.digests.entry(digest).or_insert_with(|| {
                    self.sizes.push(size);
                    self.places_of.push(0);
                    self.sizes.len() - 1
                });
                let needed = self.needed.entry((at, number)).or_default();
                *needed += 1;
                if *needed == 1 {
                    self.places_of[number] += 1;
                    self.bytes += if self.places_of[number] == 1 { size } else { 0 };
                }
                members.push((number, kind == ContentKind::Manifest));
            }
            let Image { root, tags, last_used_ms, is_kept, .. } = image;
            let tags = tags.into_iter().collect();
            self.images.push(Candidate { repository: at, root, tags, last_used_ms, last_pulled_ms, is_kept, members });
        }
    }

    /// Returns the evictions, the least recently pulled image first.
    pub fn evict(mut self, bounds: Bounds) -> Vec<Eviction<P>> {
        let mut candidates = std::mem::take(&mut self.images);
        candidates.retain(|image| !image.is_kept);
        candidates.sort_by(|a, b| {
            let by_repository = || self.repositories[a.repository].cmp(&self.repositories[b.repository]);
            a.last_used_ms.cmp(&b.last_used_ms).then_with(by_repository).then(a.root.cmp(&b.root))
        });
        let mut evictions = Vec::new();
        for image in candidates {
            let is_old = bounds.used_before_ms.is_some_and(|before| image.last_used_ms < before);
            let is_too_much = bounds.most_bytes.is_some_and(|most| self.bytes > most);
            let reason = match (is_old, is_too_much) {
                (true, _) => Reason::Age,
                (false, true) => Reason::Room,
                // All that follow were used later.
                (false, false) => break,
            };
            let (bytes, manifests) = self.take(&image);
            evictions.push(Eviction {
                repository: self.repositories[image.repository].clone(),
                root: image.root,
                tags: image.tags,
                last_used_ms: image.last_used_ms,
                last_pulled_ms: image.last_pulled_ms,
                bytes,
                manifests,
                reason,
            });
        }
        evictions
    }

    /// Bytes and manifests that go with an image.
    fn take(&mut self, image: &Candidate) -> (i64, i64) {
        let (mut bytes, mut manifests) = (0, 0);
        for (number, is_manifest) in &image.members {
            let Some(needed) = self.needed.get_mut(&(image.repository, *number)) else { continue };
            *needed -= 1;
            if *needed > 0 {
                continue;
            }
            manifests += i64::from(*is_manifest);
            self.places_of[*number] -= 1;
            if self.places_of[*number] == 0 {
                bytes += self.sizes[*number];
            }
        }
        self.bytes -= bytes;
        (bytes, manifests)
    }
}

impl<P: Clone + Ord> Default for Planner<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
