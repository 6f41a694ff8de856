//! `roadstead node`: the data-plane nodes.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    GetNodeRequest, ListNodesRequest, Node, NodeState, cluster_service_client::ClusterServiceClient,
};

use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, Table, human},
};

/// Show the data-plane nodes
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
    /// List the nodes that reported in the last day, with their state
    #[command(after_help = "Example:\n  roadstead node list")]
    List,
    /// Show a node
    #[command(after_help = "Example:\n  roadstead node get 01920c3e-0000-7000-8000-000000000000")]
    Get {
        /// Id of the node (see `node list`)
        id: String,
    },
}

impl NodeCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        match self {
            Self::List => {
                let request = ListNodesRequest::default();
                session.print_list(request, "No node reported in the last day.", table).await?;
            }
            Self::Get { id } => {
                let mut cluster = ClusterServiceClient::new(session.channel());
                let answer = cluster.get_node(GetNodeRequest { id }).await?.into_inner();
                session.output.answer(&answer, || details(answer.node.as_ref()))?;
            }
        }
        Ok(())
    }
}

fn details(node: Option<&Node>) -> Details {
    let Some(node) = node else { return Details::default() };
    Details::default()
        .with("ID", &node.id)
        .with("Name", &node.name)
        .with("State", state(node))
        .with("Version", &node.version)
        .with("Since", human::absolute(node.started_at.as_ref(), "-"))
        .with("Last report", human::absolute(node.last_heard_at.as_ref(), "-"))
        .with("Revision", revision(node))
        .with("Fills", node.fills.to_string())
        .with("Served", human::size(node.served_bytes))
        .with("Fetched", human::size(node.fetched_bytes))
        .with("From peers", human::size(node.peer_bytes))
        .with("Free", free(node))
}

/// Returns the free space of the node's blob store.
fn free(node: &Node) -> String {
    if node.store_total_bytes > 0 { human::size(node.store_available_bytes) } else { "-".to_owned() }
}

/// Returns a table with a row for each node.
fn table(nodes: &[Node], now: SystemTime) -> Table {
    let header = [
        "NAME",
        "STATE",
        "+VERSION",
        "+SINCE",
        "LAST REPORT",
        "REVISION",
        "FILLS",
        "+SERVED",
        "+FETCHED",
        "+FROM PEERS",
        "FREE",
        "+ID",
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
            free(node),
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

/// Returns the revision that the node has applied, and the number of revisions it lacks.
fn revision(node: &Node) -> String {
    match (node.applied_revision, node.revisions_behind) {
        (0, _) => "none yet".to_owned(),
        (applied, 0) => applied.to_string(),
        (applied, behind) => format!("{applied} ({behind} behind)"),
    }
}

#[cfg(test)]
mod tests;
