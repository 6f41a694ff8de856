//! A control plane and three nodes, each with a store of its own, and what happens between them.

use std::{net::SocketAddr, path::Path, time::Duration};

use futures_util::future::join_all;
use roadstead_tests::{
    client::{self, Client, metric},
    cluster::{Cluster, ClusterOptions, DeployToken},
    eventually::eventually,
    hub::{AuthMode, Hub, HubOptions},
    link::Link,
    ports::free_address,
    process::Daemon,
};

/// A node that meets others.
pub(crate) struct Node {
    pub(crate) daemon: Daemon,
    registry: SocketAddr,
    metrics: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// The address by which others reach it.
    pub(crate) link: Link,
    /// The address by which it reaches upstream.
    pub(crate) upstream: Link,
    scheme: &'static str,
}

/// The common arguments of nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOptions {
    /// More arguments.
    pub(crate) arguments: Vec<String>,
    /// They speak TLS, as the arguments say.
    pub(crate) tls: bool,
    /// Each reaches upstream by a link of its own: as a proxy, which is what the hub then takes it for.
    pub(crate) own_upstream: bool,
}

impl Node {
    async fn start(hub: &Hub, cluster: &Cluster, token: &str, number: usize, options: &NodeOptions) -> Self {
        let (registry, metrics, peer) = (free_address(), free_address(), free_address());
        let (link, upstream) = (Link::to(peer).await, Link::to(hub.address().parse().unwrap()).await);
        let (name, scheme) = (format!("peer-{number}"), if options.tls { "https" } else { "http" });
        let mut command = cluster.command(&["dataplane", "--node-name", &name, "--node-token", token]);
        command
            .args(["--listen", &registry.to_string(), "--metrics-listen", &metrics.to_string()])
            .args(["--peer-listen", &peer.to_string(), "--peer-url", &format!("{scheme}://{}", link.address())])
            .args(["--control", &format!("http://{}", cluster.control)])
            .args(&options.arguments)
            .envs(options.own_upstream.then(|| ("HTTP_PROXY", format!("http://{}", upstream.address()))))
            .arg("--data-dir")
            .arg(cluster.folder().join(&name));
        let daemon = Daemon::spawn(&mut command, &cluster.folder().join(format!("{name}.log")));
        Self { daemon, registry, metrics, peer, link, upstream, scheme }
    }

    async fn ready(&mut self) {
        let (http, ready) = (client::http(), format!("http://{}/readyz", self.metrics));
        let is_ready = async || http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success());
        self.daemon.wait_for(Duration::from_secs(60), is_ready).await;
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.url(), "default", None)
    }

    pub(crate) fn client(&self, group: &str, token: &DeployToken) -> Client {
        let credentials = Some((token.username.clone(), token.token.clone()));
        Client::new(&self.url(), group, credentials)
    }

    pub(crate) async fn began(&self, source: &str) -> f64 {
        metric(self.metrics, "roadstead_fill_source_total", &[&format!("source=\"{source}\"")]).await
    }

    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.registry)
    }
}

/// Three nodes, ready, and the token that nodes have.
pub(crate) async fn three(auth: AuthMode) -> (Hub, Cluster, Vec<Node>, String) {
    three_with(auth, |_| NodeOptions::default()).await
}

/// Does the same with more to say; `options` is told where files may be put.
pub(crate) async fn three_with(
    auth: AuthMode,
    options: impl Fn(&Path) -> NodeOptions,
) -> (Hub, Cluster, Vec<Node>, String) {
    let hub = Hub::start_with(HubOptions { auth, ..HubOptions::default() }).await;
    let cluster = Cluster::start_with(&hub, ClusterOptions { split: true, ..ClusterOptions::default() }).await;
    let token = cluster.cli_json(&["token", "create", "--node", "--name", "peers"]).await;
    let token = token["token"].as_str().unwrap().to_owned();
    let options = options(cluster.folder());
    let mut nodes = join_all((1..=3).map(|number| Node::start(&hub, &cluster, &token, number, &options))).await;
    for node in &mut nodes {
        node.ready().await;
    }
    (hub, cluster, nodes, token)
}

/// Downloads by where they began to take bytes from, over all nodes: upstream, another node, upstream without the others.
pub(crate) async fn began(nodes: &[Node]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for node in nodes {
        for (sum, source) in sums.iter_mut().zip(["upstream", "peer", "upstream_uncoordinated"]) {
            *sum += node.began(source).await;
        }
    }
    sums
}

/// Which node fetches from upstream; it has to be one alone.
pub(crate) async fn owner(nodes: &[Node]) -> usize {
    let mut owner = None;
    for (index, node) in nodes.iter().enumerate() {
        if node.began("upstream").await > 0.0 {
            assert_eq!(owner.replace(index), None, "two nodes fetch");
        }
    }
    owner.expect("nobody fetches")
}

/// Waits until other nodes have asked a node for something, so many times.
pub(crate) async fn until_asked(nodes: &[Node], connections: usize) {
    let asked = || nodes.iter().map(|node| node.link.connections()).sum::<usize>();
    eventually(format_args!("{connections} connections between nodes"), async || asked() >= connections).await;
}

/// Waits until so many requests are under way at all nodes together.
pub(crate) async fn in_flight(nodes: &[Node], requests: f64) {
    eventually(format_args!("{requests} requests are under way"), async || {
        let counts = nodes.iter().map(|node| metric(node.metrics, "roadstead_requests_in_flight", &[]));
        join_all(counts).await.iter().sum::<f64>() >= requests
    })
    .await;
}
