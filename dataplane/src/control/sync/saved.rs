//! The state that outlives the node's process: the last snapshot, links and digests of tags, so that a node which starts
//! while the control plane is unavailable serves as before.
//!
//! Guarantees: a file is replaced whole or not at all, is read by its owner only, and is ignored if it is damaged, of
//! another version or another node's. It contains no secrets: tokens, passwords and upstream credentials are left out, and
//! keys are public ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use roadstead_proto::{Algorithm, Digest};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    control::{
        client::saved as wire,
        liveness::ControlLiveness,
        memory::{links::LinkMemory, tags::TagMemory},
        policy::Policy,
    },
    node_id::NodeId,
};

/// The last snapshot, in the data folder.
const SNAPSHOT: &str = "snapshot";
/// Links and what tags resolved to, in the data folder.
const REMEMBERED: &str = "remembered";
/// First word of both files, and their version.
const MAGIC: &str = "roadstead-saved-1";
/// Interval of the looks for changes to save.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Interval at which the time of the last word is saved without other changes.
const LAST_WORD_EVERY: Duration = Duration::from_secs(20);
/// Interval at which links and tags are saved.
const MEMORY_EVERY: Duration = Duration::from_secs(60);

/// The last saved state.
#[derive(Default)]
struct Kept {
    revision: i64,
    memory_id: Arc<str>,
    policy_at: Option<Instant>,
    memory_at: Option<Instant>,
    memory: Option<Digest>,
}

/// Keeps what a restart without the control plane needs.
pub(crate) struct Saved {
    pub(crate) folder: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) policy: Arc<Policy>,
    pub(crate) liveness: Arc<ControlLiveness>,
    pub(crate) links: Arc<LinkMemory>,
    pub(crate) tags: Arc<TagMemory>,
}

impl Saved {
    /// Takes what an earlier process of this node saved; false if there is nothing to take.
    pub(crate) fn restore(&self) -> bool {
        let Some(saved) = read(&self.folder.join(SNAPSHOT)) else { return false };
        let left_out = |problem| warn!(problem, "left out of the snapshot on disk");
        let Some(saved) = wire::read_policy(&saved, &self.node, left_out) else { return false };
        let revision = saved.policy.revision();
        self.policy.restore(saved.policy);
        self.liveness.heard_before(saved.heard_at);
        let (links, tags) = self.restore_memory(&saved.memory_id);
        info!(
            revision,
            links,
            tags,
            silent_seconds = self.liveness.silent_for().as_secs(),
            "serving by what was known at the last stop until the control plane answers"
        );
        true
    }

    fn restore_memory(&self, memory_id: &str) -> (usize, usize) {
        let Some(memory) = read(&self.folder.join(REMEMBERED)) else { return (0, 0) };
        let Some((links, tags)) = wire::read_memory(&memory, &self.node, memory_id) else { return (0, 0) };
        self.policy.adopt_memory(memory_id);
        let counts = (links.len(), tags.len());
        for (key, (link_epoch, link)) in links {
            self.links.put(&key.repository, [link], link_epoch);
        }
        for ((repository, tag), remembered) in tags {
            self.tags.put(&repository, &tag, remembered);
        }
        counts
    }

    /// Keeps what is known, soon after it changed and at the stop.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        let mut kept = Kept::default();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.save(&mut kept, false).await;
        }
        self.save(&mut kept, true).await;
    }

    async fn save(&self, kept: &mut Kept, is_last: bool) {
        if !self.policy.has_snapshot() {
            return;
        }
        let is_due = |at: Option<Instant>, every| at.is_none_or(|at| at.elapsed() >= every);
        // Read before the policy: a memory that is renewed meanwhile is saved the next time.
        let memory_id = self.policy.memory_id();
        let policy = self.policy.current();
        let is_same = policy.revision() == kept.revision && memory_id == kept.memory_id;
        if is_last || !is_same || is_due(kept.policy_at, LAST_WORD_EVERY) {
            let heard_at = SystemTime::now().checked_sub(self.liveness.silent_for()).unwrap_or(SystemTime::UNIX_EPOCH);
            write(self.folder.join(SNAPSHOT), wire::policy_to_bytes(&self.node, heard_at, &policy, &memory_id)).await;
            (kept.revision, kept.policy_at) = (policy.revision(), Some(Instant::now()));
            kept.memory_id = Arc::clone(&memory_id);
        }
        if is_last || is_due(kept.memory_at, MEMORY_EVERY) {
            let memory = wire::memory_to_bytes(&self.node, &memory_id, self.links.all(), self.tags.all());
            let digest = Digest::of(Algorithm::Sha256, &memory);
            if kept.memory != Some(digest) {
                write(self.folder.join(REMEMBERED), memory).await;
            }
            (kept.memory, kept.memory_at) = (Some(digest), Some(Instant::now()));
        }
    }
}

/// Returns what a file holds; `None`, with a line in the log, if it is not to be used.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "what was saved cannot be read");
            return None;
        }
    };
    let body = open(&bytes).map(<[u8]>::to_vec);
    if body.is_none() {
        warn!(path = %path.display(), "what was saved is damaged or of another version; ignored");
    }
    body
}

/// `MAGIC DIGEST\n`, then the body.
fn open(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (magic, digest) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    let body = &bytes[end + 1..];
    (magic == MAGIC && digest == Digest::of(Algorithm::Sha256, body).to_string()).then_some(body)
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{MAGIC} {}\n", Digest::of(Algorithm::Sha256, body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Replaces a file. A failed save is only logged: it matters to a node that starts while the control plane is unavailable.
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
