//! A simulated node: the real client, somebody who pulls all the time, and what may not happen.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use hyper_util::rt::TokioIo;
use roadstead_proto::client::ControlReplicas;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::{
    REPLICAS,
    replica::{Changes, GROUPS, PORT, id},
};
use crate::{
    control::{Control, NodeIdentity, PolicySnapshot, staleness::QUIET},
    node_id::NodeId,
    random,
};

/// Interval of the pulls.
const PULLS: Duration = Duration::from_millis(50);
/// Between a change and the word of it: the control plane's look at the log, and the slowest link of a simulation.
const ON_THE_WAY: Duration = Duration::from_millis(600);
/// The executable's.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The observations of all nodes.
#[derive(Default)]
pub(super) struct Seen {
    /// The revision of each.
    pub(super) revisions: HashMap<&'static str, i64>,
    /// The number of pulls that had to ask first.
    pub(super) checks: usize,
    wrong: Option<String>,
}

impl Seen {
    /// The first thing that was wrong.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.wrong.clone().map_or(Ok(()), Err)
    }

    /// Checks whether that many nodes have that revision.
    pub(super) fn have_all(&self, nodes: usize, revision: i64) -> bool {
        self.revisions.values().filter(|has| **has >= revision).count() == nodes
    }

    fn look(&mut self, node: &'static str, policy: &PolicySnapshot, changes: &Changes) {
        let revision = policy.revision();
        let before = self.revisions.insert(node, revision).unwrap_or_default();
        if revision < before {
            self.wrong = Some(format!("{node} went back from revision {before} to {revision}"));
        }
        let known: [i64; GROUPS] =
            std::array::from_fn(|at| policy.group_by_id(&id(at).as_str().into()).map_or(-1, |group| group.link_epoch));
        let right = changes.epochs(revision);
        if known != right {
            self.wrong = Some(format!("{node} at revision {revision} knows {known:?}, which was {right:?}"));
        }
    }
}

fn replicas() -> ControlReplicas {
    let channel = |replica: &'static str| {
        Endpoint::from_static("http://replica")
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(service_fn(move |_| async move {
                turmoil::net::TcpStream::connect((replica, PORT)).await.map(TokioIo::new)
            }))
    };
    ControlReplicas::new(REPLICAS.map(channel).into()).starting_at(random::number() as usize)
}

/// Runs a node, and pulls by it.
pub(super) async fn follow(node: &'static str, changes: Changes, seen: Rc<RefCell<Seen>>) -> turmoil::Result {
    let folder = tempfile::tempdir()?;
    let identity = NodeIdentity { name: node.to_owned(), id: NodeId::open(folder.path())? };
    let client = Control::connect(replicas(), &"rs_node_x".into(), identity, None)?;
    let run = client.run("", CancellationToken::new());
    let pull = async {
        client.policy.wait_for_snapshot().await;
        loop {
            let old =
                changes.revision_at(turmoil::sim_elapsed().unwrap_or_default().saturating_sub(QUIET + ON_THE_WAY));
            let asked = client.sync.may_be_stale();
            let synced = client.sync.ensure_synced().await;
            let policy = client.policy.current();
            seen.borrow_mut().look(node, &policy, &changes);
            seen.borrow_mut().checks += usize::from(asked);
            // Who is refused is served nothing; in an outage that is known what is remembered holds.
            if synced.is_ok() && policy.revision() < old && !client.staleness().is_outage() {
                let revision = policy.revision();
                seen.borrow_mut().wrong =
                    Some(format!("{node} pulled by memory of revision {revision}, long after {old}"));
            }
            sleep(PULLS).await;
        }
    };
    tokio::join!(run, pull).1
}
