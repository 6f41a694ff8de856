//! The number of nodes that one control replica carries: a thousand watch streams, on SQLite and on PostgreSQL.
//!
//! ```text
//! cargo build --release                                   # the executable that is measured
//! cargo bench -p roadstead-tests --bench watch
//! cargo bench -p roadstead-tests --bench watch -- --node-starts 5 --groups 100000 --database sqlite
//! cargo bench -p roadstead-tests --bench watch -- --watchers 200 --groups 100 --changes 20 --database sqlite
//! ```
//! Each simulated node has a connection of its own and reads what it is told, as a node does, but keeps nothing. They
//! run on the same machine as the replica and take processor time from it: what is measured is the worst case. CPU and
//! memory are those of the replica alone.
//!
//! This is a program, not a test: it asserts that every watcher learns of everything, and nothing about time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod node_start;
mod nodes;
mod replica;
#[path = "../compare/usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use futures_util::{StreamExt as _, stream};
use nodes::{Nodes, Seen};
use replica::{Database, Replica};
use roadstead_proto::v1::{CreateGroupRequest, UpdateGroupRequest};

/// Watches one control replica as many nodes do
#[derive(Debug, Parser)]
struct Options {
    /// Handed over by `cargo bench`; without it (`cargo test --all-targets`) nothing is run
    #[arg(long, hide = true)]
    bench: bool,
    /// Nodes that watch
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Groups that there are
    #[arg(long, default_value_t = 1000)]
    groups: usize,
    /// Groups that are changed, one after the other
    #[arg(long, default_value_t = 50)]
    changes: usize,
    /// Time between two changes, in milliseconds
    #[arg(long, default_value_t = 200)]
    pause_ms: u64,
    /// Start this many real nodes, one after the other, instead of simulating many
    #[arg(long, default_value_t = 0)]
    node_starts: usize,
    /// Only on this database
    #[arg(long, value_enum)]
    database: Option<Database>,
}

/// Duration of the idle phase, whose cost is measured.
const IDLE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("not run: `cargo bench -p roadstead-tests --bench watch` runs this benchmark");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("| {} watchers, {} groups |", options.watchers, options.groups);
    for database in Database::ALL {
        if options.database.is_none_or(|only| only == database) {
            runtime.block_on(measure(&options, database))?;
        }
    }
    Ok(())
}

async fn measure(options: &Options, database: Database) -> Result<()> {
    println!("\n## {database:?}\n");
    let replica = Replica::start(database).await;
    if options.node_starts > 0 {
        node_start::fill(&replica, options.groups).await?;
        return node_start::measure(&replica, options.node_starts).await;
    }
    let groups = create_groups(&replica, options.groups).await;
    let token = replica.node_token().await;
    println!("memory before the first watcher: {} MiB", replica.memory_mib());

    let memory = usage::PeakMemory::watch(replica.pid());
    let cpu = replica.cpu_seconds();
    let nodes = Nodes::watch(replica.address(), &token, options.watchers, nodes::Heard::default()).await;
    let times = nodes.first_events().await;
    report("snapshot at every watcher", times);
    println!(
        "  CPU {:.2} s, memory {} MiB, peak {} MiB",
        replica.cpu_seconds() - cpu,
        replica.memory_mib(),
        memory.peak() >> 20
    );

    let cpu = replica.cpu_seconds();
    tokio::time::sleep(IDLE).await;
    println!("idle: {:.1} % of one core", (replica.cpu_seconds() - cpu) * 100.0 / IDLE.as_secs_f64());

    let (cpu, started) = (replica.cpu_seconds(), Instant::now());
    let mut changed = Vec::new();
    for group in groups.iter().cycle().take(options.changes) {
        let change = UpdateGroupRequest { frozen: Some(true), ..UpdateGroupRequest::default() };
        let at = Instant::now();
        replica.admin().update_group(group, change).await;
        changed.push(Seen { group: group.clone(), at });
        tokio::time::sleep(Duration::from_millis(options.pause_ms)).await;
    }
    report("change, from the call to every watcher", nodes.latencies(&changed).await);
    let seconds = replica.cpu_seconds() - cpu;
    println!(
        "  CPU {seconds:.2} s in {:.1} s, {:.1} ms a change; memory {} MiB",
        started.elapsed().as_secs_f64(),
        seconds * 1000.0 / options.changes as f64,
        replica.memory_mib()
    );

    // All connections break at once, and all nodes come back.
    let revision = nodes.revision();
    drop(nodes);
    let cpu = replica.cpu_seconds();
    let nodes = Nodes::watch(replica.address(), &token, options.watchers, revision).await;
    report("resumed at every watcher", nodes.first_events().await);
    println!("  CPU {:.2} s, memory {} MiB", replica.cpu_seconds() - cpu, replica.memory_mib());
    Ok(())
}

/// Makes groups; answers their paths.
async fn create_groups(replica: &Replica, count: usize) -> Vec<String> {
    let admin = replica.admin();
    let made = stream::iter(0..count).map(|number| {
        let mut groups = admin.groups.clone();
        async move {
            let path = format!("team-{number:05}/containers");
            groups.create_group(CreateGroupRequest { path: path.clone(), ..Default::default() }).await.unwrap();
            path
        }
    });
    made.buffered(16).collect().await
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms ({} times)", at(0.5), at(0.99), at(1.0), times.len());
}
