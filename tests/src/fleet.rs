//! Roadstead past one machine, on one: PostgreSQL, SeaweedFS, control replicas and nodes that share a store, behind a
//! balancer, with a link ([`crate::link`]) in every connection between them. Each process can be killed, paused, stopped,
//! started again and cut off.

mod load;
mod member;

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::{
    load::{Load, Pulled},
    member::{Member, Purpose},
};
use crate::{
    api::Api,
    balancer::{Backend, Balancer},
    client::Client,
    cluster::{executable, forget_environment},
    hub::Hub,
    link::Link,
    ports::free_address,
    postgres::{self, Postgres},
    process::{Finished, run_command},
    seaweed::Seaweed,
};

/// The bucket of the nodes' store.
pub const BUCKET: &str = "roadstead";

/// Fleets at a time in one test program. Each is a dozen processes: more of them only wait for each other.
static PLACES: std::sync::LazyLock<Arc<Semaphore>> = std::sync::LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// Options of a fleet.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Control replicas.
    pub controls: usize,
    /// Nodes.
    pub nodes: usize,
    /// More arguments for every control replica.
    pub control_arguments: Vec<String>,
    /// More arguments for every node.
    pub node_arguments: Vec<String>,
    /// More environment variables for single members, by name.
    pub environment: Vec<(&'static str, Vec<(String, String)>)>,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self { controls: 2, nodes: 3, control_arguments: vec![], node_arguments: vec![], environment: vec![] }
    }
}

/// All of it, running. Dropping it ends every process and removes every folder.
pub struct Fleet {
    /// The control replicas.
    pub controls: Vec<Member>,
    /// The nodes.
    pub nodes: Vec<Member>,
    /// The address for clients.
    pub balancer: Balancer,
    /// The address by which nodes reach Docker Hub.
    pub upstream: Link,
    /// The database.
    pub postgres: Postgres,
    /// The store.
    pub seaweed: Seaweed,
    folder: TempDir,
    _place: OwnedSemaphorePermit,
}

impl Fleet {
    /// Two control replicas and three nodes, with Docker Hub meaning `hub`, ready to serve.
    pub async fn start(hub: &Hub) -> Self {
        Self::start_with(hub, FleetOptions::default()).await
    }

    /// Does the same with options.
    pub async fn start_with(hub: &Hub, options: FleetOptions) -> Self {
        let place = Arc::clone(&PLACES).acquire_owned().await.unwrap();
        let folder = tempfile::Builder::new().prefix("roadstead-fleet-").tempdir().unwrap();
        let (postgres, seaweed, upstream) =
            tokio::join!(Postgres::start(), Seaweed::start(), async { Link::to(hub.address().parse().unwrap()).await });
        seaweed.create_bucket(BUCKET).await;

        // All at once, on an empty database: one of them makes the schema.
        let setting = Setting { folder: &folder, options: &options, postgres: &postgres, seaweed: &seaweed };
        let controls = join_all((1..=options.controls).map(|number| setting.control(number))).await;
        controls.iter().for_each(Member::start);
        join_all(controls.iter().map(Member::ready)).await;
        // Before the nodes start, so that they know it from the first.
        let url = format!("http://{}", upstream.address());
        let registry = hub.address();
        let set = ["upstream", "set", "docker.io", "--url", &url, "--redirect-host", &registry];
        cli(folder.path(), &controls[0], &set).await.ok();
        let token = Api::at(controls[0].address, ADMIN_TOKEN).node().await.token;
        let nodes = join_all((1..=options.nodes).map(|number| setting.node(number, &controls, &token))).await;
        nodes.iter().for_each(Member::start);
        join_all(nodes.iter().map(Member::ready)).await;

        let backends = nodes.iter().map(|node| Backend { address: node.address, metrics: Some(node.metrics) });
        let balancer = Balancer::start(backends.collect()).await;
        Self { controls, nodes, balancer, upstream, postgres, seaweed, folder, _place: place }
    }

    /// An admin command, as the administrator, at the first control replica.
    pub async fn cli(&self, arguments: &[&str]) -> Finished {
        self.cli_at(&self.controls[0], arguments).await
    }

    /// Does the same at another replica.
    pub async fn cli_at(&self, control: &Member, arguments: &[&str]) -> Finished {
        cli(self.folder.path(), control, arguments).await
    }

    /// Somebody without credentials, in the ready-made group, who pulls by way of the balancer.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url(), "default", None)
    }

    /// Returns the address of the balancer.
    pub fn url(&self) -> String {
        format!("http://{}", self.balancer.address())
    }

    /// Every process.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.controls.iter().chain(&self.nodes)
    }

    /// The last lines of every log, for messages of failed tests.
    pub fn logs(&self) -> String {
        let last = |member: &Member| {
            let log = member.log();
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            format!("== {}\n{}\n", member.name, lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        self.members().map(last).collect()
    }
}

/// The administrator's token: the same for all replicas.
const ADMIN_TOKEN: &str = "the-administrator-of-a-fleet-of-test-nodes";

async fn cli(folder: &Path, control: &Member, arguments: &[&str]) -> Finished {
    let mut command = Command::new(executable());
    forget_environment(&mut command);
    command.args(arguments).args(["--control", &format!("http://{}", control.address)]);
    command.env("ROADSTEAD_TOKEN", ADMIN_TOKEN).current_dir(folder);
    run_command(command.into(), "").await
}

/// The parts that members are built from.
struct Setting<'a> {
    folder: &'a TempDir,
    options: &'a FleetOptions,
    postgres: &'a Postgres,
    seaweed: &'a Seaweed,
}

impl Setting<'_> {
    async fn control(&self, number: usize) -> Member {
        let key = self.folder.path().join("secret-key");
        if !key.exists() {
            fs::write(&key, SECRET_KEY).unwrap();
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let database = Link::to(self.postgres.address()).await;
        let (address, metrics) = (free_address(), free_address());
        let mut arguments = words(&["control", "--control-listen", &address.to_string()]);
        arguments.extend(words(&["--metrics-listen", &metrics.to_string(), "--secret-key-file"]));
        arguments.push(key.display().to_string());
        arguments.extend(words(&["--database-url", &postgres::url_at(database.address(), "roadstead")]));
        arguments.extend(self.options.control_arguments.iter().cloned());
        let environment = vec![("ROADSTEAD_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned())];
        let links = vec![(Purpose::Database, database)];
        self.member(format!("control-{number}"), address, metrics, links, arguments, environment)
    }

    async fn node(&self, number: usize, controls: &[Member], token: &str) -> Member {
        let (address, metrics, peer) = (free_address(), free_address(), free_address());
        let to_controls = join_all(controls.iter().map(|control| Link::to(control.address))).await;
        let (store, to_peer) = (Link::to(self.seaweed.address()).await, Link::to(peer).await);
        let urls: Vec<_> = to_controls.iter().map(|link| format!("http://{}", link.address())).collect();
        let name = format!("node-{number}");
        let mut arguments = words(&["dataplane", "--listen", &address.to_string(), "--node-name", &name]);
        arguments.extend(words(&["--metrics-listen", &metrics.to_string(), "--control", &urls.join(",")]));
        arguments.extend(words(&["--storage", &format!("s3://{BUCKET}/blobs"), "--node-cache", "1GiB"]));
        arguments.extend(words(&["--peer-listen", &peer.to_string()]));
        arguments.extend(words(&["--peer-url", &format!("http://{}", to_peer.address())]));
        arguments.extend(self.options.node_arguments.iter().cloned());
        let mut environment = Seaweed::environment(&format!("http://{}", store.address()));
        environment.push(("ROADSTEAD_NODE_TOKEN".to_owned(), token.to_owned()));
        let mut links: Vec<_> = to_controls.into_iter().map(|link| (Purpose::Control, link)).collect();
        links.extend([(Purpose::Store, store), (Purpose::Peer, to_peer)]);
        self.member(name, address, metrics, links, arguments, environment)
    }

    fn member(
        &self,
        name: String,
        address: SocketAddr,
        metrics: SocketAddr,
        links: Vec<(Purpose, Link)>,
        arguments: Vec<String>,
        mut environment: Vec<(String, String)>,
    ) -> Member {
        let own = self.options.environment.iter().filter(|(of, _)| *of == name);
        environment.extend(own.flat_map(|(_, variables)| variables.clone()));
        let folder = self.folder.path().into();
        Member { name, address, metrics, links, folder, arguments, environment, daemon: std::sync::Mutex::default() }
    }
}

/// The key that encrypts stored secrets: any 32 bytes, the same for all replicas.
const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
