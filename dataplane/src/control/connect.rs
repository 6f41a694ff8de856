//! The parts of the node's side of the contract, put together.

use std::{path::PathBuf, sync::Arc};

use roadstead_proto::client::ControlReplicas;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{credentials::Credentials, links::Links, tags::Tags},
    client::{InvalidNodeToken, NodeClient, NodeIdentity},
    jobs::Offers,
    liveness::ControlLiveness,
    memory::{Memory, conditions::Conditions, credentials::CredentialMemory, links::LinkMemory, tags::TagMemory},
    policy::Policy,
    reports::{
        upstreams::UpstreamReports,
        usage::{UsageCounter, UsageReports},
    },
    staleness::Staleness,
    sync::{ensure_synced::SyncGuard, saved::Saved, watch::Watcher},
};

/// A node's connection to its control plane: the known state, and the calls. Each part is taken by those that need it.
pub struct Control {
    /// One function a call.
    pub client: Arc<NodeClient>,
    /// The state that decides on requests.
    pub policy: Arc<Policy>,
    /// When the control plane was last heard.
    pub liveness: Arc<ControlLiveness>,
    /// Catches up before a request is judged by what may be stale.
    pub sync: Arc<SyncGuard>,
    /// Rights to content.
    pub links: Arc<Links>,
    /// Decisions about tags.
    pub tags: Arc<Tags>,
    /// Credentials for upstreams.
    pub credentials: Arc<Credentials>,
    /// The known state of upstreams, by credentials.
    pub conditions: Arc<Conditions>,
    /// Counts pulls.
    pub usage: Arc<UsageCounter>,
    /// Jobs that are offered to all nodes.
    pub offers: Arc<Offers>,
    background: Background,
}

/// The tasks that run for as long as the node does.
struct Background {
    /// Follows what the control plane tells.
    watcher: Watcher,
    /// Reports pulls.
    usage: UsageReports,
    /// Reports what was learnt of upstreams.
    upstreams: UpstreamReports,
    /// Keeps on disk what a restart without the control plane needs.
    saved: Option<Saved>,
}

impl Control {
    /// Connects to `replicas` as the node that `token` belongs to. Nothing is known before [`Self::run`] runs, but for what
    /// an earlier process of this node saved in `folder`, if there is one.
    pub fn connect(
        replicas: impl Into<ControlReplicas>,
        token: &SecretString,
        node: NodeIdentity,
        folder: Option<PathBuf>,
    ) -> Result<Arc<Self>, InvalidNodeToken> {
        let policy: Arc<Policy> = Arc::default();
        let liveness: Arc<ControlLiveness> = Arc::default();
        let staleness = Arc::new(Staleness::new(Arc::clone(&liveness)));
        let client = NodeClient::new(replicas.into(), token, node, Arc::clone(&liveness), Arc::clone(&staleness))?;
        let client = Arc::new(client);
        let links = Arc::new(LinkMemory::new(Arc::clone(&policy)));
        let tags = Arc::new(TagMemory::new(Arc::clone(&policy)));
        let (conditions, offers): (Arc<Conditions>, Arc<Offers>) = Default::default();
        let usage: Arc<UsageCounter> = Arc::default();
        let credentials: Arc<CredentialMemory> = Arc::default();
        let memory = Memory {
            policy: Arc::clone(&policy),
            links: Arc::clone(&links),
            tags: Arc::clone(&tags),
            credentials: Arc::clone(&credentials),
        };
        let saved = folder.map(|folder| Saved {
            folder,
            node: client.node().id.clone(),
            policy: Arc::clone(&policy),
            liveness: Arc::clone(&liveness),
            links: Arc::clone(&links),
            tags: Arc::clone(&tags),
        });
        if saved.as_ref().is_some_and(Saved::restore) {
            // Whatever happened meanwhile, however short that was.
            staleness.suspect();
        }
        Ok(Arc::new(Self {
            sync: Arc::new(SyncGuard::new(Arc::clone(&client), Arc::clone(&policy), Arc::clone(&staleness))),
            links: Arc::new(Links::new(Arc::clone(&client), Arc::clone(&links), Arc::clone(&tags))),
            tags: Arc::new(Tags::new(Arc::clone(&client), tags, links)),
            credentials: Arc::new(Credentials::new(Arc::clone(&client), Arc::clone(&policy), credentials)),
            background: Background {
                watcher: Watcher {
                    client: Arc::clone(&client),
                    policy: Arc::clone(&policy),
                    staleness,
                    conditions: Arc::clone(&conditions),
                    offers: Arc::clone(&offers),
                    memory,
                },
                usage: UsageReports { client: Arc::clone(&client), counter: Arc::clone(&usage) },
                upstreams: UpstreamReports { client: Arc::clone(&client), conditions: Arc::clone(&conditions) },
                saved,
            },
            client,
            policy,
            liveness,
            conditions,
            usage,
            offers,
        }))
    }

    #[cfg(test)]
    pub(crate) fn staleness(&self) -> &Staleness {
        &self.background.watcher.staleness
    }

    /// Follows the control plane and reports to it until `stop`; returns after the last reports. Must run for anything to be
    /// known. If it is dropped, what is known stays, and what was not reported is lost. `registry_url` is where clients reach
    /// this node; empty if that is not known.
    pub async fn run(&self, registry_url: &str, stop: CancellationToken) {
        let Background { watcher, usage, upstreams, saved } = &self.background;
        let keep_saved = async {
            if let Some(saved) = saved {
                saved.keep(&stop).await;
            }
        };
        tokio::join!(
            stop.run_until_cancelled(watcher.run(registry_url)),
            usage.run(&stop),
            upstreams.run(&stop),
            keep_saved
        );
    }
}
