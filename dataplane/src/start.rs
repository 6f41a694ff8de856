//! Puts a node together, and takes it down in order.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::registry::Registry;
use roadstead_proto::client::ControlReplicas;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{authenticate::Authenticator, authorize::Authorizer},
    config::{DataplaneConfig, StorageUrl},
    control::{Control, InvalidNodeToken, NodeIdentity, liveness},
    fill::{
        Cluster, Fills,
        peer_client::{PeerClient, PeerSetupError},
    },
    http::{
        limit::Places,
        pipeline::{Front, Pipeline},
        registry_url,
    },
    jobs::{JobBoard, Jobs},
    listener::{self, Listener, PortSettings, Timeouts},
    maintenance::Maintenance,
    metrics::Metrics,
    node_id::NodeId,
    peer::{PeerConfig, PeerPort},
    pull::{self, Puller},
    readiness::Readiness,
    reporter::Reporter,
    sign_in::{SignInMemory, TokenService},
    storage::{BlobStore, LocalStore, ObjectBlobStore, ObjectSettings, StorageError, StorageMetrics},
    upstream::{UpstreamClient, UpstreamMetrics, UpstreamSetupError},
};

/// Time for which other nodes may continue to read from here after a stop has waited for downloads.
const PEER_DRAIN: Duration = Duration::from_secs(5);

/// The reason for which a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("--listen {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The message of the operating system.
        source: io::Error,
    },
    /// The address for other nodes cannot be listened on.
    #[error("--peer-listen {address}: {source}")]
    PeerListen {
        /// The address.
        address: SocketAddr,
        /// The message of the operating system.
        source: io::Error,
    },
    /// The client for other nodes could not be made.
    #[error(transparent)]
    Peers(#[from] PeerSetupError),
    /// The blob store cannot be used.
    #[error("--storage: {0}")]
    Storage(#[from] StorageError),
    /// The client for upstreams could not be made.
    #[error("the client for upstream registries could not be set up: {0}")]
    Upstream(#[from] UpstreamSetupError),
    /// The node's id can neither be read nor kept.
    #[error("--data-dir: the node's id cannot be kept: {0}")]
    NodeId(#[from] io::Error),
    /// The node token is invalid.
    #[error("--node-token: {0}")]
    NodeToken(#[from] InvalidNodeToken),
}

impl StartError {
    /// True if a setting is wrong, and not the environment.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NodeToken(_) | Self::Peers(_) | Self::Storage(StorageError::Settings(_)))
    }
}

/// A node that is bound and not yet serving.
pub struct Dataplane {
    server: Listener<Pipeline>,
    /// The port for other nodes, if there is one, and the leases that go with it.
    peer_port: Option<(Listener<PeerPort>, Arc<Cluster>)>,
    readiness: Readiness,
    control: Arc<Control>,
    store: Arc<dyn BlobStore>,
    fills: Arc<Fills>,
    jobs: Arc<Jobs>,
    maintenance: Maintenance,
    scrub_rate: u64,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    stopping: CancellationToken,
    drain: Duration,
    registry_url: String,
}

impl Dataplane {
    /// Checks what can be checked, opens the store, binds the port. `replicas` lead to the control plane.
    pub async fn bind(
        config: DataplaneConfig,
        replicas: impl Into<ControlReplicas>,
        node_token: SecretString,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::register(registry);
        // Where bytes are kept.
        let store = open_store(&config, registry).await?;
        // What the control plane says, and what this node tells it.
        let node = NodeIdentity { name: config.node_name.clone(), id: NodeId::open(&config.data_dir)? };
        let control = Control::connect(replicas, &node_token, node, Some(config.data_dir.clone()))?;
        liveness::metric::register(&control.liveness, registry);
        // Asks registries, within their pull limits.
        let conditions = Arc::clone(&control.conditions);
        let upstream_metrics = UpstreamMetrics::register(registry);
        let upstream = UpstreamClient::new(config.upstream, upstream_metrics.clone(), conditions)?;
        let upstream = Arc::new(upstream);
        // Keeps links and what is stored in agreement.
        let store_id = config.storage.id(&control.client.node().id);
        let maintenance = Maintenance::new(Arc::clone(&control), Arc::clone(&store), store_id, Arc::clone(&metrics));
        // The other nodes, and the leases that keep two of them from fetching the same.
        let peers = match &config.peers {
            Some(peers) => Some(meet(peers, config.port.limits.backlog, config.tls.is_some(), &control)?),
            None => None,
        };
        let cluster = peers.as_ref().map(|(_, cluster)| Arc::clone(cluster));
        // Downloads, one a digest.
        let fills = Fills::new(
            Arc::clone(&store),
            Arc::clone(&upstream),
            Arc::clone(&control.links),
            Arc::clone(&maintenance.recorder),
            Arc::clone(&metrics),
            cluster.clone(),
        );
        // The flows behind the registry port.
        let puller = Puller::new(pull::Parts {
            control: Arc::clone(&control),
            upstream: Arc::clone(&upstream),
            store: Arc::clone(&store),
            fills: Arc::clone(&fills),
            recorder: Arc::clone(&maintenance.recorder),
            corruption: Arc::clone(&maintenance.corruption),
            metrics: Arc::clone(&metrics),
            revalidate_timeout: config.revalidate_timeout,
        });
        // What every request passes on its way to a flow.
        let authenticator = Arc::new(Authenticator::new(
            Arc::clone(&control.policy),
            Arc::clone(&control.liveness),
            config.allow_anonymous_pulls,
        ));
        let pipeline = Arc::new(Pipeline {
            metrics: Arc::clone(&metrics),
            access_log: config.access_log,
            mirrors: Arc::new(config.mirrors),
            front: Front {
                external_url: config.external_url.clone(),
                trusted_proxies: Arc::clone(&config.port.trusted_proxies),
            },
            places: Places::new(config.max_requests),
            sync: Arc::clone(&control.sync),
            sign_in: TokenService {
                client: Arc::clone(&control.client),
                policy: Arc::clone(&control.policy),
                liveness: Arc::clone(&control.liveness),
                allow_anonymous_pulls: config.allow_anonymous_pulls,
                authenticator,
                sync: Arc::clone(&control.sync),
                remembered: SignInMemory::new()?,
                max_control_outage: config.max_control_outage,
            },
            authorizer: Authorizer {
                policy: Arc::clone(&control.policy),
                liveness: Arc::clone(&control.liveness),
                max_control_outage: config.max_control_outage,
                allow_anonymous_pulls: config.allow_anonymous_pulls,
            },
            puller: Arc::clone(&puller),
        });
        let has_tls = config.tls.is_some();
        let drain = config.port.timeouts.drain;
        // What other nodes fetch from this one.
        let peer_port = match peers {
            None => None,
            Some((listener, cluster)) => {
                let port = PeerPort {
                    policy: Arc::clone(&control.policy),
                    links: Arc::clone(&control.links),
                    fills: Arc::clone(&fills),
                    store: Arc::clone(&store),
                };
                let timeouts = Timeouts { drain: drain.min(PEER_DRAIN), ..config.port.timeouts };
                let settings = PortSettings { timeouts, ..config.port.clone() };
                let (tls, open) = (config.tls.clone(), metrics.peer_connections.clone());
                let server = Listener::new(listener, tls, settings, Arc::new(port), open)?;
                Some((server, cluster))
            }
        };
        // The registry port.
        let failed = |source| StartError::Listen { address: config.listen, source };
        let socket = listener::bind(config.listen, config.port.limits.backlog).map_err(failed)?;
        let open = metrics.connections.clone();
        let server = Listener::new(socket, config.tls, config.port, pipeline, open).map_err(failed)?;
        let registry_url = registry_url::of_node(config.external_url.as_ref(), server.local_addr(), has_tls);
        let stopping = CancellationToken::new();
        let prefetcher = puller.prefetcher();
        // What the control plane wants some node to do.
        let board = JobBoard {
            offers: Arc::clone(&control.offers),
            client: Arc::clone(&control.client),
            policy: Arc::clone(&control.policy),
        };
        let jobs = Jobs::new(board, prefetcher, upstream, maintenance.checker(), stopping.clone());
        // What balancers and the control plane hear of this node.
        let readiness = Readiness::new(
            Arc::clone(&control.policy),
            Arc::clone(&control.liveness),
            config.max_control_outage,
            stopping.clone(),
        );
        let reporter = Reporter {
            client: Arc::clone(&control.client),
            policy: Arc::clone(&control.policy),
            metrics: Arc::clone(&metrics),
            upstream_metrics,
            max_control_outage: config.max_control_outage,
            peer_url: cluster.as_ref().map_or_else(String::new, |cluster| cluster.peer_url().to_owned()),
            store_id: config.storage.id(&control.client.node().id),
        };
        Ok(Self {
            server,
            peer_port,
            readiness,
            control,
            store,
            fills,
            jobs,
            maintenance,
            scrub_rate: config.scrub_rate,
            metrics,
            reporter,
            stopping,
            drain,
            registry_url,
        })
    }

    /// Address of registry traffic.
    pub const fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Tells whether the node is ready, while it serves.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `stop`; returns after answers under way have ended (or the drain time is over) and what was
    /// counted has been delivered.
    pub async fn serve(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let control = CancellationToken::new();
        let (client, stop_client) = (Arc::clone(&self.control), control.clone());
        let registry_url = self.registry_url;
        tasks.spawn(async move { client.run(&registry_url, stop_client).await });
        tasks.spawn(self.reporter.run(control.clone()));
        tasks.spawn(self.readiness.clone().watch_store(Arc::clone(&self.store), Arc::clone(&self.metrics)));
        tasks.spawn(Arc::clone(&self.jobs).run());
        self.maintenance.spawn(&tasks, Arc::clone(&self.fills), self.scrub_rate, &self.stopping);
        if let Some((port, cluster)) = self.peer_port {
            // Until the downloads have ended: other nodes follow them.
            tasks.spawn(port.serve(control.clone()));
            tasks.spawn(cluster.keep_leases(control.clone()));
        }
        let (stopping, links) = (self.stopping.clone(), Arc::clone(&self.control.links));
        tasks.spawn(async move {
            stop.cancelled().await;
            links.hurry();
            stopping.cancel();
        });
        let began = async {
            self.stopping.cancelled().await;
            Instant::now()
        };
        let ((), began) = tokio::join!(self.server.serve(self.stopping.clone()), began);
        self.fills.drain(self.drain.saturating_sub(began.elapsed())).await;
        // Last, because answers that were still going out are counted too.
        control.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// Opens the blob store that the settings name.
async fn open_store(config: &DataplaneConfig, registry: &mut Registry) -> Result<Arc<dyn BlobStore>, StartError> {
    let store: Arc<dyn BlobStore> = match &config.storage {
        StorageUrl::Local(path) => Arc::new(LocalStore::open(path)?),
        StorageUrl::Object(url) => {
            let settings = ObjectSettings {
                url: url.clone(),
                data_dir: config.data_dir.clone(),
                node_cache_bytes: config.node_cache_bytes,
                redirect: config.redirect_blobs,
            };
            Arc::new(ObjectBlobStore::open(&settings, StorageMetrics::register(registry)).await?)
        }
    };
    Ok(store)
}

/// Binds the port for other nodes, and joins them.
fn meet(
    config: &PeerConfig,
    backlog: u32,
    has_tls: bool,
    control: &Arc<Control>,
) -> Result<(TcpListener, Arc<Cluster>), StartError> {
    let failed = |source| StartError::PeerListen { address: config.listen, source };
    let listener = listener::bind(config.listen, backlog).map_err(failed)?;
    let url = config.url(listener.local_addr().map_err(failed)?, has_tls);
    let peers = PeerClient::new(&config.ca_pem)?;
    Ok((listener, Cluster::new(Arc::clone(&control.client), peers, url)))
}

#[cfg(test)]
mod tests;
