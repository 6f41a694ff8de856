//! `roadstead node`: the data-plane nodes there are.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{ListNodesRequest, Node, NodeState, cluster_service_client::ClusterServiceClient};

use crate::{
    connect::{AdminFlags, CallError, Session, all_pages},
    failure::Failure,
    output::{Table, human},
};

/// Look at the data-plane nodes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead node list
  roadstead node list -o json")]
pub struct NodeCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the nodes that were heard of in the last day, and how they are
    #[command(after_help = "Example:\n  roadstead node list")]
    List,
}

impl NodeCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut cluster = ClusterServiceClient::new(session.channel());
        match self {
            Self::List => {
                let request = ListNodesRequest::default();
                let nodes = all_pages(request, async |page| cluster.list_nodes(page).await).await?;
                session
                    .output
                    .list(&nodes, "No node was heard of in the last day.", |nodes| table(nodes, SystemTime::now()))?;
            }
        }
        Ok(())
    }
}

/// One line a node.
fn table(nodes: &[Node], now: SystemTime) -> Table {
    let header = [
        "NAME",
        "STATE",
        "VERSION",
        "SINCE",
        "LAST HEARD",
        "REVISION",
        "FILLS",
        "SERVED",
        "FETCHED",
        "FROM PEERS",
        "FREE",
        "ID",
    ];
    Table::new(header, nodes, |node| {
        [
            node.name.clone(),
            state(node).to_owned(),
            node.version.clone(),
            human::relative(node.started_at.as_ref(), now, "-"),
            human::relative(node.last_heard_at.as_ref(), now, "-"),
            revision(node),
            node.fills.to_string(),
            human::size(node.served_bytes),
            human::size(node.fetched_bytes),
            human::size(node.peer_bytes),
            if node.store_total_bytes > 0 { human::size(node.store_available_bytes) } else { "-".to_owned() },
            node.id.clone(),
        ]
    })
}

fn state(node: &Node) -> &'static str {
    match node.state() {
        NodeState::Up => "up",
        NodeState::Lagging => "lagging",
        NodeState::Unreachable => "unreachable",
        NodeState::Unspecified => "unknown",
    }
}

/// What the node serves by, and how much it has missed.
fn revision(node: &Node) -> String {
    match (node.applied_revision, node.revisions_behind) {
        (0, _) => "none yet".to_owned(),
        (applied, 0) => applied.to_string(),
        (applied, behind) => format!("{applied} ({behind} behind)"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_list_of_nodes_reads_well() {
        let up = Node {
            id: "0199-a".into(),
            name: "edge-1".into(),
            version: "0.1.0".into(),
            state: NodeState::Up.into(),
            started_at: Some(Timestamp { seconds: 0, nanos: 0 }),
            last_heard_at: Some(Timestamp { seconds: 7198, nanos: 0 }),
            applied_revision: 42,
            revisions_behind: 0,
            fills: 3,
            served_bytes: 3 << 30,
            fetched_bytes: 1 << 20,
            peer_bytes: 0,
            peer_url: String::new(),
            store_total_bytes: 100 << 30,
            store_available_bytes: 40 << 30,
        };
        let gone = Node {
            id: "0199-b".into(),
            name: "edge-2".into(),
            state: NodeState::Unreachable.into(),
            last_heard_at: Some(Timestamp { seconds: 3600, nanos: 0 }),
            applied_revision: 40,
            revisions_behind: 2,
            store_total_bytes: 0,
            ..up.clone()
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7200);
        assert_eq!(
            table(&[up, gone], now).to_string(),
            "NAME     STATE         VERSION   SINCE         LAST HEARD   REVISION        FILLS   SERVED    FETCHED   FROM PEERS   FREE     ID\n\
             edge-1   up            0.1.0     2 hours ago   just now     42              3       3.0 GiB   1.0 MiB   0 B          40 GiB   0199-a\n\
             edge-2   unreachable   0.1.0     2 hours ago   1 hour ago   40 (2 behind)   3       3.0 GiB   1.0 MiB   0 B          -        0199-b\n"
        );
    }
}
