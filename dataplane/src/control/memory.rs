//! Answers of the control plane that a node remembers: links, tags, credentials, and conditions.

pub mod conditions;
pub mod credentials;
pub mod links;
pub mod tags;

use std::sync::Arc;

use self::{credentials::CredentialMemory, links::LinkMemory, tags::TagMemory};
use crate::control::policy::Policy;

/// All that is void if the control plane's database turns out to be another one than it was told of.
pub(crate) struct Memory {
    pub(crate) policy: Arc<Policy>,
    pub(crate) links: Arc<LinkMemory>,
    pub(crate) tags: Arc<TagMemory>,
    pub(crate) credentials: Arc<CredentialMemory>,
}

impl Memory {
    /// Forgets everything. Verified tokens, sign-ins and saved memory are void by their memory's name.
    pub(crate) fn forget(&self) {
        self.policy.renew_memory();
        self.links.forget_all();
        self.tags.forget_all();
        self.credentials.forget_all();
    }
}
