//! The credentials that groups have for upstreams.

use std::sync::Arc;

use roadstead_proto::UpstreamHost;

use crate::control::{
    ControlError, Credential, GroupId, client::NodeClient, memory::credentials::CredentialMemory, policy::Policy,
};

/// Credentials, as the control plane keeps them.
pub struct Credentials {
    client: Arc<NodeClient>,
    policy: Arc<Policy>,
    memory: Arc<CredentialMemory>,
}

impl Credentials {
    pub(crate) const fn new(client: Arc<NodeClient>, policy: Arc<Policy>, memory: Arc<CredentialMemory>) -> Self {
        Self { client, policy, memory }
    }

    /// Returns the group's credentials for an upstream, if they are remembered; the inner `None` if it has none.
    pub fn remembered(&self, group: &GroupId, upstream: &UpstreamHost) -> Option<Option<Arc<Credential>>> {
        let epoch = self.policy.load().group_by_id(group).map(|group| group.credential_epoch)?;
        self.memory.get(group, upstream, epoch)
    }

    /// Returns the group's credentials for an upstream, remembered or asked for; `None` if it has none.
    pub async fn get(&self, group: &GroupId, upstream: &UpstreamHost) -> Result<Option<Arc<Credential>>, ControlError> {
        if let Some(known) = self.remembered(group, upstream) {
            return Ok(known);
        }
        let (credential, epoch) = self.client.get_credential(group, upstream).await?;
        let credential = credential.map(Arc::new);
        self.memory.put(group, upstream, epoch, credential.clone());
        Ok(credential)
    }
}
