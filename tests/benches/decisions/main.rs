//! The capacity of one control replica, on SQLite and on PostgreSQL: pulls by tag, link look-ups, recorded links, counted
//! pulls.
//!
//! ```text
//! cargo build --release                                   # the executable that is measured
//! cargo bench -p roadstead-tests --bench decisions
//! cargo bench -p roadstead-tests --bench decisions -- --callers 64 --seconds 10 --database sqlite
//! ```
//! The callers run on the same machine as the replica, and so does PostgreSQL: what is measured is the worst case. CPU is
//! that of the replica alone.
//!
//! This is a program, not a test: it asserts that every call succeeds, and nothing about time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
#[path = "../watch/replica.rs"]
mod replica;
#[path = "../compare/usage.rs"]
#[allow(dead_code)]
mod usage;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use calls::{Calls, Kind};
use clap::Parser;
use replica::{Database, Replica};
use tokio::task::JoinSet;

/// Asks one control replica as busy nodes do
#[derive(Debug, Parser)]
struct Options {
    /// Handed over by `cargo bench`; without it (`cargo test --all-targets`) nothing is run
    #[arg(long, hide = true)]
    bench: bool,
    /// Calls at a time, each by a connection of its own
    #[arg(long, default_value_t = 32)]
    callers: usize,
    /// Duration of the measurement of each kind of call
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only on this database
    #[arg(long, value_enum)]
    database: Option<Database>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("not run: `cargo bench -p roadstead-tests --bench decisions` runs this benchmark");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for database in Database::ALL {
        if options.database.is_none_or(|only| only == database) {
            runtime.block_on(measure(&options, database));
        }
    }
    Ok(())
}

async fn measure(options: &Options, database: Database) {
    println!("\n## {database:?}, {} callers\n", options.callers);
    println!("| what | a second | p50 | p99 | CPU of the replica | of it for each |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let replica = Replica::start(database).await;
    let calls = Arc::new(Calls::prepare(&replica).await);
    let time = Duration::from_secs(options.seconds);
    for kind in Kind::ALL {
        let (cpu, started) = (replica.cpu_seconds(), Instant::now());
        let mut callers = JoinSet::new();
        for number in 0..options.callers {
            let (calls, mut node) = (Arc::clone(&calls), calls.node(&replica));
            callers.spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    calls.call(&mut node, kind, number + times.len() * 1000).await;
                    times.push(asked.elapsed());
                }
                times
            });
        }
        let mut times: Vec<Duration> = callers.join_all().await.into_iter().flatten().collect();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let seconds = started.elapsed().as_secs_f64();
        let (count, cpu) = ((times.len() * kind.weight()) as f64, replica.cpu_seconds() - cpu);
        println!(
            "| {} | {:.0} | {:.1} ms | {:.1} ms | {:.0} % | {:.2} ms |",
            kind.name(),
            count / seconds,
            at(0.5),
            at(0.99),
            cpu * 100.0 / seconds,
            cpu * 1000.0 / count
        );
    }
    println!("\nMemory of the replica afterwards: {} MiB.", replica.memory_mib());
}
