//! What outlives the node's process: the last snapshot, links and meanings of tags, so that a node which starts while the control
//! plane is away serves what it served before.
//!
//! Guarantees: a file is replaced whole or not at all, is read by its owner only, and is ignored if it is damaged, of another version
//! or another node's. There are no secrets in it: no token, no password, no credential of an upstream; keys are public ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost::Message;
use roadstead_proto::{Algorithm, Digest, node::v1 as pb};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::control::{
    ControlClient, GroupPolicy, PolicySnapshot, UpstreamPolicy, client::translate, memory::tags::Meaning,
};

/// The last snapshot, in the data folder.
const SNAPSHOT: &str = "snapshot";
/// Links and meanings of tags, in the data folder.
const REMEMBERED: &str = "remembered";
/// First word of both files, and their version.
const MAGIC: &str = "roadstead-saved-1";
/// How often it is looked whether there is something new to keep.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the time of the last word is kept where nothing else is new.
const LAST_WORD_EVERY: Duration = Duration::from_secs(20);
/// How often links and tags are kept.
const MEMORY_EVERY: Duration = Duration::from_secs(60);

/// What was kept last.
#[derive(Default)]
struct Kept {
    revision: i64,
    policy_at: Option<Instant>,
    memory_at: Option<Instant>,
    memory: Option<Digest>,
}

impl ControlClient {
    /// Takes what an earlier process of this node kept in `folder`, and keeps what is known there from now on.
    pub fn restore(&self, folder: &Path) {
        if self.folder.set(folder.to_owned()).is_err() {
            return;
        }
        let Some(saved) = read::<pb::SavedPolicy>(&folder.join(SNAPSHOT)) else { return };
        let Some(policy) = saved.policy.filter(|_| saved.node_id == self.node_id.as_str()) else { return };
        let (revision, heard_at) = (policy.revision, translate::time(saved.heard_at_ms));
        let mut restored = PolicySnapshot::default();
        for part in translate::snapshot(policy) {
            match part {
                Ok(change) => restored = restored.with(change),
                Err(problem) => warn!(problem, "left out of the snapshot on disk"),
            }
        }
        self.policy.store(Arc::new(restored.as_of(revision, heard_at)));
        self.contact.heard_before(heard_at);
        let (links, tags) = self.restore_memory(folder);
        // Whatever happened meanwhile, however short that was.
        self.doubt.raise();
        self.has_snapshot.send_replace(true);
        let silent_seconds = self.last_contact().as_secs();
        info!(
            revision,
            links, tags, silent_seconds, "serving by what was known at the last stop until the control plane answers"
        );
    }

    fn restore_memory(&self, folder: &Path) -> (usize, usize) {
        let Some(saved) = read::<pb::SavedMemory>(&folder.join(REMEMBERED)) else { return (0, 0) };
        if saved.node_id != self.node_id.as_str() {
            return (0, 0);
        }
        let policy = self.policy.load();
        let epoch = |at: &crate::control::RepositoryRef| policy.group_by_id(&at.group).map(|group| group.link_epoch);
        let (mut links, mut tags) = (0, 0);
        for saved in saved.links {
            let (Some(at), Some(link)) = (saved.repository, saved.link) else { continue };
            let (Ok(at), Ok(link)) = (translate::repository(at), translate::link(link)) else { continue };
            if let Some(epoch) = epoch(&at) {
                self.links.put(&at, link, saved.link_epoch, epoch);
                links += 1;
            }
        }
        for saved in saved.tags {
            let (Some(at), Some(link)) = (saved.repository, saved.manifest) else { continue };
            let (Ok(at), Ok(manifest)) = (translate::repository(at), translate::link(link)) else { continue };
            let (Ok(tag), Some(epoch)) = (saved.tag.parse(), epoch(&at)) else { continue };
            let confirmed_at = translate::time(saved.confirmed_at_ms);
            let good_until = translate::time(saved.good_until_ms);
            let meaning = Meaning { manifest, link_epoch: saved.link_epoch, confirmed_at, good_until };
            self.tags.put(&at, &tag, meaning, epoch);
            tags += 1;
        }
        (links, tags)
    }

    /// Keeps what is known, soon after it changed and at the stop.
    pub(crate) async fn keep_saved(&self, stop: &CancellationToken) {
        let Some(folder) = self.folder.get().cloned() else { return };
        let mut kept = Kept::default();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.save(&folder, &mut kept, false).await;
        }
        self.save(&folder, &mut kept, true).await;
    }

    async fn save(&self, folder: &Path, kept: &mut Kept, is_last: bool) {
        if !self.has_snapshot() {
            return;
        }
        let is_due = |at: Option<Instant>, every| at.is_none_or(|at| at.elapsed() >= every);
        let policy = self.policy();
        if is_last || policy.revision() != kept.revision || is_due(kept.policy_at, LAST_WORD_EVERY) {
            let heard_at = SystemTime::now().checked_sub(self.last_contact()).unwrap_or(SystemTime::UNIX_EPOCH);
            let saved = pb::SavedPolicy {
                node_id: self.node_id.to_string(),
                heard_at_ms: translate::milliseconds(heard_at),
                policy: Some(policy_to_pb(&policy)),
            };
            write(folder.join(SNAPSHOT), saved.encode_to_vec()).await;
            (kept.revision, kept.policy_at) = (policy.revision(), Some(Instant::now()));
        }
        if is_last || is_due(kept.memory_at, MEMORY_EVERY) {
            let memory = self.memory_to_pb().encode_to_vec();
            let digest = Digest::of(Algorithm::Sha256, &memory);
            if kept.memory != Some(digest) {
                write(folder.join(REMEMBERED), memory).await;
            }
            (kept.memory, kept.memory_at) = (Some(digest), Some(Instant::now()));
        }
    }

    fn memory_to_pb(&self) -> pb::SavedMemory {
        let links = self.links.all().into_iter().map(|(key, (link_epoch, link))| pb::SavedLink {
            repository: Some(translate::repository_to_pb(&key.at)),
            link: Some(translate::link_to_pb(&link)),
            link_epoch,
        });
        let tags = self.tags.all().into_iter().map(|((at, tag), meaning)| pb::SavedTag {
            repository: Some(translate::repository_to_pb(&at)),
            tag: tag.to_string(),
            manifest: Some(translate::link_to_pb(&meaning.manifest)),
            link_epoch: meaning.link_epoch,
            confirmed_at_ms: translate::milliseconds(meaning.confirmed_at),
            good_until_ms: translate::milliseconds(meaning.good_until),
        });
        pb::SavedMemory { node_id: self.node_id.to_string(), links: links.collect(), tags: tags.collect() }
    }
}

fn policy_to_pb(policy: &PolicySnapshot) -> pb::PolicySnapshot {
    pb::PolicySnapshot {
        revision: policy.revision(),
        groups: policy.groups().map(|group| group_to_pb(group)).collect(),
        upstreams: policy.upstreams().map(|upstream| upstream_to_pb(upstream)).collect(),
        keys: policy
            .keys()
            .map(|key| pb::PublicKey {
                id: key.id.clone(),
                ed25519: key.ed25519.to_vec(),
                not_after_ms: key.not_after.map_or(0, translate::milliseconds),
            })
            .collect(),
        revocations: policy
            .revocations()
            .map(|revocation| pb::Revocation {
                token_id: revocation.id,
                forget_after_ms: translate::milliseconds(revocation.forget_after),
                user_epoch: revocation.before_epoch.unwrap_or_default(),
            })
            .collect(),
        conditions: Vec::new(),
    }
}

fn group_to_pb(group: &GroupPolicy) -> pb::GroupPolicy {
    let texts = |all: &[roadstead_proto::ImagePattern]| all.iter().map(ToString::to_string).collect();
    pb::GroupPolicy {
        id: group.id.to_string(),
        path: group.path.to_string(),
        enabled: group.enabled,
        anonymous_pull: group.anonymous_pull,
        upstreams: group.upstreams.iter().map(ToString::to_string).collect(),
        link_epoch: group.link_epoch,
        credential_epoch: group.credential_epoch,
        frozen: group.frozen,
        access_epoch: group.access_epoch,
        old_paths: group.old_paths.iter().map(ToString::to_string).collect(),
        allowed_images: texts(&group.allowed_images),
        denied_images: texts(&group.denied_images),
    }
}

fn upstream_to_pb(upstream: &UpstreamPolicy) -> pb::UpstreamPolicy {
    pb::UpstreamPolicy {
        host: upstream.host.to_string(),
        url: upstream.url.to_string(),
        token_hosts: upstream.token_hosts.clone(),
        ca_pem: upstream.ca_pem.clone(),
        redirect_hosts: upstream.redirect_hosts.clone(),
        reserve_percent: upstream.reserve_percent.into(),
    }
}

/// What a file holds; `None`, with a line in the log, if it is not to be used.
fn read<M: Message + Default>(path: &Path) -> Option<M> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "what was kept cannot be read");
            return None;
        }
    };
    let message = open(&bytes);
    if message.is_none() {
        warn!(path = %path.display(), "what was kept is damaged or of another version; ignored");
    }
    message
}

/// `MAGIC DIGEST\n`, then the message.
fn open<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (magic, digest) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    let body = &bytes[end + 1..];
    (magic == MAGIC && digest == Digest::of(Algorithm::Sha256, body).to_string())
        .then(|| M::decode(body).ok())
        .flatten()
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{MAGIC} {}\n", Digest::of(Algorithm::Sha256, body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Replaces a file. What cannot be kept is only logged: it matters to a node that starts while the control plane is away.
async fn write(path: PathBuf, body: Vec<u8>) {
    let shown = path.display().to_string();
    let written = tokio::task::spawn_blocking(move || replace(&path, &seal(&body))).await;
    if let Ok(Err(error)) = written {
        warn!(path = shown, %error, "what is known cannot be kept on disk");
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
