//! Simulated nodes: each watches by a connection of its own and notes when it learns of what.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use roadstead_proto::node::v1::{
    WatchRequest, node_service_client::NodeServiceClient, policy_change::Change, watch_response::Event,
};
use roadstead_tests::api;
use tokio::{sync::mpsc, task::JoinSet};

/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause of a node before it reconnects.
const RETRY: Duration = Duration::from_millis(100);
/// Largest message that is taken, in bytes: snapshots are large.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// When a group's change was made, or seen.
pub struct Seen {
    /// The group's path.
    pub group: String,
    /// When.
    pub at: Instant,
}

/// All of them. Dropping it closes their connections.
pub struct Nodes {
    _tasks: JoinSet<()>,
    count: usize,
    firsts: Mutex<mpsc::UnboundedReceiver<Duration>>,
    seen: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
    revision: Arc<Mutex<Heard>>,
}

/// A revision as nodes hear it: number and mark.
pub type Heard = (i64, String);

impl Nodes {
    /// Starts watches of `count` nodes that have this revision.
    pub async fn watch(control: SocketAddr, token: &str, count: usize, have: Heard) -> Self {
        let (first, firsts) = mpsc::unbounded_channel();
        let (seen, revision) = (Arc::<Mutex<HashMap<_, Vec<_>>>>::default(), Arc::<Mutex<Heard>>::default());
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let mut node =
                NodeServiceClient::new(api::calls(control, token)).max_decoding_message_size(MAX_MESSAGE_BYTES);
            let (first, seen, revision) = (first.clone(), Arc::clone(&seen), Arc::clone(&revision));
            let (resume_revision, resume_mark) = have.clone();
            let request = WatchRequest {
                node_name: format!("node-{number}"),
                resume_revision,
                resume_mark,
                ..Default::default()
            };
            tasks.spawn(async move {
                let started = Instant::now();
                // Nodes try again, too: a thousand connections at once may be too many for the machine.
                let mut events = loop {
                    match node.watch(request.clone()).await {
                        Ok(events) => break events.into_inner(),
                        Err(_) => tokio::time::sleep(RETRY).await,
                    }
                };
                let mut is_first = true;
                while let Some(event) = events.message().await.unwrap() {
                    let now = Instant::now();
                    let heard = (event.revision, event.mark);
                    let mut revision = revision.lock().unwrap();
                    if heard.0 > revision.0 {
                        *revision = heard;
                    }
                    drop(revision);
                    if std::mem::take(&mut is_first) {
                        let _ = first.send(now - started);
                    }
                    if let Some(Event::Changes(changes)) = event.event {
                        let mut seen = seen.lock().unwrap();
                        for change in changes.changes {
                            if let Some(Change::Group(group)) = change.change {
                                seen.entry(group.path).or_default().push(now);
                            }
                        }
                    }
                }
                panic!("the watch of node {number} ended");
            });
        }
        Self { _tasks: tasks, count, firsts: Mutex::new(firsts), seen, revision }
    }

    /// The time until each node's first event.
    pub async fn first_events(&self) -> Vec<Duration> {
        let started = Instant::now();
        let mut times = Vec::new();
        while times.len() < self.count {
            assert!(started.elapsed() < PATIENCE, "{} of {} have heard something", times.len(), self.count);
            while let Ok(time) = self.firsts.lock().unwrap().try_recv() {
                times.push(time);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times
    }

    /// The time from each of these changes until each node learnt of it.
    pub async fn latencies(&self, changes: &[Seen]) -> Vec<Duration> {
        let started = Instant::now();
        let all_seen =
            || changes.iter().all(|c| self.seen.lock().unwrap().get(&c.group).is_some_and(|s| s.len() >= self.count));
        while !all_seen() {
            assert!(started.elapsed() < PATIENCE, "some have not heard of every change");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = self.seen.lock().unwrap();
        changes.iter().flat_map(|change| seen[&change.group].iter().map(|at| *at - change.at)).collect()
    }

    /// The highest revision that one of them has.
    pub fn revision(&self) -> Heard {
        self.revision.lock().unwrap().clone()
    }
}
