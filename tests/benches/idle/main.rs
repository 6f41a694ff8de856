//! The cost of an installation that nobody uses: CPU of each part, and statements a second at PostgreSQL.
//!
//! ```text
//! cargo build --release                                   # the executable that is measured
//! cargo bench -p roadstead-tests --bench idle
//! cargo bench -p roadstead-tests --bench idle -- --controls 1 --nodes 1 --seconds 60
//! ```
//! PostgreSQL, an S3 store, control replicas and nodes start on this machine, as for the end-to-end tests. The
//! statements are those in the server's log, which is switched on for the purpose; their CPU is measured before that.
//!
//! This is a program, not a test: it asserts nothing about time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../compare/usage.rs"]
#[allow(dead_code)]
mod usage;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use clap::Parser;
use roadstead_tests::{
    fleet::{Fleet, FleetOptions},
    hub::Hub,
};

/// Measures an installation that nobody uses
#[derive(Debug, Parser)]
struct Options {
    /// Handed over by `cargo bench`; without it (`cargo test --all-targets`) nothing is run
    #[arg(long, hide = true)]
    bench: bool,
    /// Control replicas
    #[arg(long, default_value_t = 2)]
    controls: usize,
    /// Nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Duration of each of the two measurements, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Time for which everything settles after the start.
const SETTLE: Duration = Duration::from_secs(15);
/// Statements that are listed by themselves.
const LISTED: usize = 12;

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("not run: `cargo bench -p roadstead-tests --bench idle` runs this benchmark");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(&options))
}

async fn measure(options: &Options) -> Result<()> {
    let hub = Hub::start().await;
    let (controls, nodes) = (options.controls, options.nodes);
    let fleet = Fleet::start_with(&hub, FleetOptions { controls, nodes, ..FleetOptions::default() }).await;
    tokio::time::sleep(SETTLE).await;
    let span = Duration::from_secs(options.seconds);

    let mut parts: Vec<(String, u32)> = fleet.members().map(|member| (member.name.clone(), member.pid())).collect();
    parts.push(("PostgreSQL".to_owned(), fleet.postgres.pid()));
    let before = parts.iter().map(|(_, pid)| usage::cpu_seconds(*pid)).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(span).await;
    println!("| part | CPU, of one core |\n| --- | --- |");
    for ((name, pid), before) in parts.iter().zip(before) {
        println!("| {name} | {:.2} % |", (usage::cpu_seconds(*pid)? - before) * 100.0 / span.as_secs_f64());
    }

    fleet.postgres.log_statements().await;
    let before = fleet.postgres.log().lines().count();
    tokio::time::sleep(span).await;
    let log = fleet.postgres.log();
    let mut counts = BTreeMap::<String, usize>::new();
    for line in log.lines().skip(before) {
        // "LOG:  statement: BEGIN", "LOG:  execute sqlx_s_1: SELECT …"
        let statement = line.split_once("LOG:  statement: ").or_else(|| {
            let (_, execute) = line.split_once("LOG:  execute ")?;
            execute.split_once(": ")
        });
        if let Some((_, statement)) = statement {
            *counts.entry(statement.chars().take(70).collect()).or_default() += 1;
        }
    }
    let per_second = |count: usize| count as f64 / span.as_secs_f64();
    println!("\nstatements a second at PostgreSQL: {:.1}\n", per_second(counts.values().sum()));
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (statement, count) in counts.into_iter().take(LISTED) {
        println!("{:6.2}  {statement}", per_second(count));
    }
    Ok(())
}
