//! The facts by which a node authenticates and authorizes requests by itself.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use jsonwebtoken::DecodingKey;
use roadstead_proto::{GroupPath, ImagePattern, UpstreamHost};
use url::Url;

/// A group's id, as the control plane gave it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for GroupId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Registry tokens carry group ids as text.
impl PartialEq<String> for GroupId {
    fn eq(&self, text: &String) -> bool {
        *self.0 == **text
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The facts about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// The group's id; links and usage are kept under it.
    pub id: GroupId,
    /// Its path.
    pub path: GroupPath,
    /// Paths that it had before; good for pulls until another group has them.
    pub old_paths: Vec<GroupPath>,
    /// False: refuse every pull.
    pub enabled: bool,
    /// True: anonymous registry tokens are good for this group.
    pub anonymous_pull: bool,
    /// Upstreams it may use; the first is the default.
    pub upstreams: Vec<UpstreamHost>,
    /// Goes up whenever links of the group were removed.
    pub link_epoch: i64,
    /// Goes up whenever the group's upstream credentials changed.
    pub credential_epoch: i64,
    /// Goes up whenever the group admits fewer than before: registry tokens from before are void.
    pub access_epoch: i64,
    /// True: serve only what is cached, and ask upstream nothing.
    pub frozen: bool,
    /// If there are any, only images that one of these fits may be pulled.
    pub allowed_images: Vec<ImagePattern>,
    /// Images that may not be pulled; stronger.
    pub denied_images: Vec<ImagePattern>,
}

/// The facts about an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPolicy {
    /// The host in image names.
    pub host: UpstreamHost,
    /// The URL: http or https, without credentials, query and fragment.
    pub url: Url,
    /// Hosts (with their port where it is not the scheme's own), besides the URL's, whose token services may be
    /// given credentials.
    pub token_hosts: Vec<String>,
    /// PEM certificates that are trusted besides the public ones; may be empty.
    pub ca_pem: String,
    /// Hosts at addresses that are not public that it may redirect to.
    pub redirect_hosts: Vec<String>,
    /// Share of the pull limit, in percent, that is kept for what is not cached.
    pub reserve_percent: u8,
}

/// A key that registry tokens may be signed with.
#[derive(Clone)]
pub struct VerifyingKey {
    /// The `kid` of tokens signed with it.
    pub id: String,
    /// The public key.
    pub key: DecodingKey,
    /// The key as bytes.
    pub ed25519: [u8; 32],
    /// Tokens signed with it are void after this time; `None` while it is in use.
    pub not_after: Option<SystemTime>,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("id", &self.id).field("not_after", &self.not_after).finish()
    }
}

/// A token that was revoked or has gone with its group, or a user who may do less than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The token's or the user's id, as registry tokens carry it.
    pub id: String,
    /// Registry tokens that carry a lower epoch with this id are void; `None`: all are.
    pub before_epoch: Option<i64>,
    /// After this time no registry token that this voids can be good any more.
    pub forget_after: SystemTime,
}

/// One change of what a node knows.
#[derive(Clone, Debug)]
pub enum PolicyChange {
    /// A group is new or has changed.
    Group(GroupPolicy),
    /// A group is gone.
    GroupDeleted(GroupId),
    /// An upstream is new or has changed.
    Upstream(UpstreamPolicy),
    /// An upstream is gone.
    UpstreamDeleted(UpstreamHost),
    /// These are all keys there are.
    Keys(Vec<VerifyingKey>),
    /// One more token is revoked, or one more user's registry tokens are.
    Revoked(Revocation),
}

/// The revocation of an id, and the time for which it matters.
#[derive(Clone, Copy, Debug)]
struct Revoked {
    before_epoch: Option<i64>,
    forget_after: SystemTime,
}

/// All that a node knows, at one revision. Immutable; a change makes a new one that shares what stayed.
#[derive(Clone, Debug, Default)]
pub struct PolicySnapshot {
    revision: i64,
    mark: Arc<str>,
    groups: HashMap<GroupId, Arc<GroupPolicy>>,
    groups_by_path: HashMap<GroupPath, Arc<GroupPolicy>>,
    groups_by_old_path: HashMap<GroupPath, Arc<GroupPolicy>>,
    upstreams: HashMap<UpstreamHost, Arc<UpstreamPolicy>>,
    keys: Arc<HashMap<String, VerifyingKey>>,
    revocations: HashMap<Arc<str>, Revoked>,
}

impl PolicySnapshot {
    /// Returns what is known after all these changes; those that make no sense are given to `left_out`.
    pub(crate) fn of<P>(changes: Vec<Result<PolicyChange, P>>, left_out: impl Fn(P)) -> Self {
        Self::default().with_all(changes, left_out)
    }

    /// The same, beginning with this.
    #[must_use]
    pub(crate) fn with_all<P>(self, changes: Vec<Result<PolicyChange, P>>, left_out: impl Fn(P)) -> Self {
        changes.into_iter().fold(self, |policy, change| match change {
            Ok(change) => policy.with(change),
            Err(problem) => {
                left_out(problem);
                policy
            }
        })
    }

    /// The revision that this is the state of; 0 before the first word from the control plane.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The mark of that revision: tells it from one with the same number in another history of the control plane's database.
    pub fn mark(&self) -> &Arc<str> {
        &self.mark
    }

    /// The same with the mark of its revision.
    #[must_use]
    pub fn marked(mut self, mark: Arc<str>) -> Self {
        self.mark = mark;
        self
    }

    /// Returns the group at a path, or the one that had the path before it was renamed.
    pub fn group(&self, path: &GroupPath) -> Option<&Arc<GroupPolicy>> {
        self.groups_by_path.get(path).or_else(|| self.groups_by_old_path.get(path))
    }

    /// The group with an id.
    pub fn group_by_id(&self, id: &GroupId) -> Option<&Arc<GroupPolicy>> {
        self.groups.get(id)
    }

    /// The upstream that image names call `host`.
    pub fn upstream(&self, host: &UpstreamHost) -> Option<&Arc<UpstreamPolicy>> {
        self.upstreams.get(host)
    }

    /// The key with an id; none once it is void.
    pub fn key(&self, id: &str) -> Option<&DecodingKey> {
        self.key_at(id, SystemTime::now())
    }

    /// The key with an id as of a time.
    pub fn key_at(&self, id: &str, now: SystemTime) -> Option<&DecodingKey> {
        let key = self.keys.get(id)?;
        let is_void = key.not_after.is_some_and(|end| end < now);
        (!is_void).then_some(&key.key)
    }

    /// Checks whether registry tokens that carry this token's or user's id with this epoch (tokens have none: 0) are void.
    pub fn is_revoked(&self, id: &str, epoch: i64) -> bool {
        self.revocations.get(id).is_some_and(|revoked| revoked.before_epoch.is_none_or(|least| epoch < least))
    }

    /// Returns the snapshot at another revision, without the revocations that can matter no more.
    #[must_use]
    pub fn at(self, revision: i64) -> Self {
        self.as_of(revision, SystemTime::now())
    }

    /// Does the same, and judges by the time `now`.
    #[must_use]
    pub fn as_of(mut self, revision: i64, now: SystemTime) -> Self {
        self.revocations.retain(|_, revoked| revoked.forget_after > now);
        self.revision = revision;
        self
    }

    /// Every group.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<GroupPolicy>> {
        self.groups.values()
    }

    /// Every upstream.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<UpstreamPolicy>> {
        self.upstreams.values()
    }

    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.values()
    }

    /// Everything that is void.
    pub(crate) fn revocations(&self) -> impl Iterator<Item = Revocation> {
        self.revocations.iter().map(|(id, revoked)| Revocation {
            id: id.to_string(),
            before_epoch: revoked.before_epoch,
            forget_after: revoked.forget_after,
        })
    }

    /// Returns the snapshot after `change`.
    #[must_use]
    pub fn with(mut self, change: PolicyChange) -> Self {
        match change {
            PolicyChange::Group(group) => self.put_group(group),
            PolicyChange::GroupDeleted(id) => self.drop_group(&id),
            PolicyChange::Upstream(upstream) => {
                self.upstreams.insert(upstream.host.clone(), Arc::new(upstream));
            }
            PolicyChange::UpstreamDeleted(host) => {
                self.upstreams.remove(&host);
            }
            PolicyChange::Keys(keys) => {
                self.keys = Arc::new(keys.into_iter().map(|key| (key.id.clone(), key)).collect());
            }
            PolicyChange::Revoked(revocation) => self.revoke(revocation),
        }
        self
    }

    /// Keeps the stricter of two revocations of one id, and for as long as either matters.
    fn revoke(&mut self, Revocation { id, before_epoch, forget_after }: Revocation) {
        let new = Revoked { before_epoch, forget_after };
        let entry = self.revocations.entry(id.into()).or_insert(new);
        entry.before_epoch = entry.before_epoch.zip(before_epoch).map(|(old, new)| old.max(new));
        entry.forget_after = entry.forget_after.max(forget_after);
    }

    fn put_group(&mut self, group: GroupPolicy) {
        // A renamed group is found at its old path only for as long as it says so.
        self.drop_group(&group.id);
        let group = Arc::new(group);
        for path in &group.old_paths {
            self.groups_by_old_path.insert(path.clone(), Arc::clone(&group));
        }
        self.groups_by_path.insert(group.path.clone(), Arc::clone(&group));
        self.groups.insert(group.id.clone(), group);
    }

    fn drop_group(&mut self, id: &GroupId) {
        let Some(gone) = self.groups.remove(id) else { return };
        // Another group may have taken a path over meanwhile.
        let forget = |map: &mut HashMap<GroupPath, Arc<GroupPolicy>>, path: &GroupPath| {
            if map.get(path).is_some_and(|there| there.id == gone.id) {
                map.remove(path);
            }
        };
        forget(&mut self.groups_by_path, &gone.path);
        gone.old_paths.iter().for_each(|path| forget(&mut self.groups_by_old_path, path));
    }
}

#[cfg(test)]
mod tests;
