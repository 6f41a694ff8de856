//! What a node must know to authenticate and authorize requests by itself.

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

/// What a node knows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// The group's id; links and usage are kept under it.
    pub id: GroupId,
    /// Its path.
    pub path: GroupPath,
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

/// What a node knows of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPolicy {
    /// How image names refer to it.
    pub host: UpstreamHost,
    /// Where it is: http or https, without credentials, query and fragment.
    pub url: Url,
    /// Hosts (with their port where it is not the scheme's own), besides the URL's, whose token services may be
    /// given credentials.
    pub token_hosts: Vec<String>,
}

/// A key that registry tokens may be signed with.
#[derive(Clone)]
pub struct VerifyingKey {
    /// The `kid` of tokens signed with it.
    pub id: String,
    /// The public key.
    pub key: DecodingKey,
    /// Tokens signed with it are void after this time; `None` while it is in use.
    pub not_after: Option<SystemTime>,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("id", &self.id).field("not_after", &self.not_after).finish()
    }
}

/// A token that was revoked, or has gone with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its id, as registry tokens carry it.
    pub token_id: String,
    /// After this time no registry token issued for it can be good any more.
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
    /// One more token is revoked.
    Revoked(Revocation),
}

/// All that a node knows, at one revision. Immutable; a change makes a new one that shares what stayed.
#[derive(Clone, Debug, Default)]
pub struct PolicySnapshot {
    revision: i64,
    groups: HashMap<GroupId, Arc<GroupPolicy>>,
    groups_by_path: HashMap<GroupPath, Arc<GroupPolicy>>,
    upstreams: HashMap<UpstreamHost, Arc<UpstreamPolicy>>,
    keys: Arc<HashMap<String, VerifyingKey>>,
    revocations: HashMap<Arc<str>, SystemTime>,
}

impl PolicySnapshot {
    /// The revision that this is the state of; 0 before the first word from the control plane.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The group at a path.
    pub fn group(&self, path: &GroupPath) -> Option<&Arc<GroupPolicy>> {
        self.groups_by_path.get(path)
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
        let key = self.keys.get(id)?;
        let is_void = key.not_after.is_some_and(|end| end < SystemTime::now());
        (!is_void).then_some(&key.key)
    }

    /// Whether the token with this id is revoked.
    pub fn is_revoked(&self, token_id: &str) -> bool {
        self.revocations.contains_key(token_id)
    }

    /// The same at another revision, without the revocations that can matter no more.
    #[must_use]
    pub fn at(mut self, revision: i64) -> Self {
        let now = SystemTime::now();
        self.revocations.retain(|_, forget_after| *forget_after > now);
        self.revision = revision;
        self
    }

    /// What is known after `change`.
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
            PolicyChange::Revoked(Revocation { token_id, forget_after }) => {
                self.revocations.insert(token_id.into(), forget_after);
            }
        }
        self
    }

    fn put_group(&mut self, group: GroupPolicy) {
        // A renamed group is no longer found at its old path.
        self.drop_group(&group.id);
        let group = Arc::new(group);
        self.groups_by_path.insert(group.path.clone(), Arc::clone(&group));
        self.groups.insert(group.id.clone(), group);
    }

    fn drop_group(&mut self, id: &GroupId) {
        let Some(gone) = self.groups.remove(id) else { return };
        // Another group may have taken the path over meanwhile.
        if self.groups_by_path.get(&gone.path).is_some_and(|there| there.id == gone.id) {
            self.groups_by_path.remove(&gone.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn group(id: &str, path: &str) -> GroupPolicy {
        GroupPolicy {
            id: id.into(),
            path: path.parse().unwrap(),
            enabled: true,
            anonymous_pull: false,
            upstreams: vec!["docker.io".parse().unwrap()],
            link_epoch: 1,
            credential_epoch: 1,
            access_epoch: 1,
            frozen: false,
            allowed_images: Vec::new(),
            denied_images: Vec::new(),
        }
    }

    fn found(snapshot: &PolicySnapshot, path: &str) -> Option<String> {
        snapshot.group(&path.parse().unwrap()).map(|group| group.id.to_string())
    }

    #[test]
    fn groups_are_found_where_they_are_now() {
        let one = PolicySnapshot::default().with(PolicyChange::Group(group("g1", "acme")));
        let renamed = one.clone().with(PolicyChange::Group(group("g1", "umbrella")));
        assert_eq!((found(&renamed, "acme"), found(&renamed, "umbrella")), (None, Some("g1".to_owned())));
        let taken_over = renamed.with(PolicyChange::Group(group("g2", "acme")));
        let deleted = taken_over.with(PolicyChange::GroupDeleted("g1".into()));
        assert_eq!((found(&deleted, "acme"), found(&deleted, "umbrella")), (Some("g2".to_owned()), None));
        assert_eq!(found(&one, "acme"), Some("g1".to_owned()), "a snapshot never changes");
    }

    #[test]
    fn a_path_that_was_taken_over_stays_with_its_new_owner() {
        let snapshot = PolicySnapshot::default()
            .with(PolicyChange::Group(group("old", "acme")))
            .with(PolicyChange::Group(group("new", "acme")))
            .with(PolicyChange::GroupDeleted("old".into()));
        assert_eq!(found(&snapshot, "acme"), Some("new".to_owned()));
    }

    #[test]
    fn keys_void_by_their_time_and_revocations_stay_until_theirs() {
        let now = SystemTime::now();
        let key = |id: &str, not_after| VerifyingKey {
            id: id.to_owned(),
            key: DecodingKey::from_ed_der(&[0; 32]),
            not_after,
        };
        let (past, future) = (now - Duration::from_secs(5), now + Duration::from_secs(60));
        let revoked =
            |id: &str, forget_after| PolicyChange::Revoked(Revocation { token_id: id.to_owned(), forget_after });
        let snapshot = PolicySnapshot::default()
            .with(PolicyChange::Keys(vec![key("now", None), key("old", Some(future)), key("void", Some(past))]))
            .with(revoked("t1", past))
            .with(revoked("t2", future))
            .with(revoked("t3", future))
            .at(2);
        let known = ["now", "old", "void", "none"].map(|id| snapshot.key(id).is_some());
        assert_eq!(known, [true, true, false, false]);
        assert_eq!(["t1", "t2", "t3", "t4"].map(|id| snapshot.is_revoked(id)), [false, true, true, false]);
        assert!(snapshot.with(PolicyChange::Keys(vec![])).key("now").is_none());
    }
}
