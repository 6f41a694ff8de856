//! The capacity of one control replica with a million blobs, on SQLite and on PostgreSQL: lists, figures, and the calls of
//! nodes.
//!
//! ```text
//! cargo build --release                                       # the executable that is measured
//! cargo bench -p roadstead-tests --bench inventory
//! cargo bench -p roadstead-tests --bench inventory -- --blobs 100000 --database sqlite
//! ```
//! The database is filled by statements of its own, with what the product's would have left; everything else goes through
//! gRPC over TCP, as nodes and administrators do. PostgreSQL is a server of the program's own, durable in nothing.
//! Caller, replica and database share the machine.
//!
//! This is a program, not a test: it asserts nothing about time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decisions;
mod fill;
mod lists;
#[path = "../watch/replica.rs"]
#[allow(dead_code)]
mod replica;
#[path = "../compare/usage.rs"]
#[allow(dead_code)]
mod usage;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use replica::{Database, Replica};

/// Fills one control replica with a million blobs and measures it
#[derive(Debug, Parser)]
struct Options {
    /// Handed over by `cargo bench`; without it (`cargo test --all-targets`) nothing is run
    #[arg(long, hide = true)]
    bench: bool,
    /// Blobs of the one large group
    #[arg(long, default_value_t = 1_000_000)]
    blobs: i64,
    /// Number of requests for each page
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Only on this database
    #[arg(long, value_enum)]
    database: Option<Database>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("not run: `cargo bench -p roadstead-tests --bench inventory` runs this benchmark");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for database in Database::ALL {
        if options.database.is_none_or(|only| only == database) {
            runtime.block_on(measure(&options, database))?;
        }
    }
    Ok(())
}

async fn measure(options: &Options, database: Database) -> Result<()> {
    println!("\n### {database:?}, {} blobs\n", options.blobs);
    let replica = Replica::start(database).await;
    let group = fill::fill(&replica, options.blobs).await?;
    println!("memory of the replica: {} MiB\n", replica.memory_mib());
    println!("| call | p50 | p99 | rate |\n| --- | ---: | ---: | ---: |");
    lists::measure(&replica, options.rounds).await;
    decisions::measure(&replica, &group, options.blobs).await;
    println!("\nmemory of the replica: {} MiB", replica.memory_mib());
    Ok(())
}

/// A line of the table: times of single calls.
fn line(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("| {what} | {:.1} ms | {:.1} ms | |", at(0.5), at(0.99));
}

/// A line of the table: how many in how long.
fn rate(what: &str, count: usize, took: Duration, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let rate = count as f64 / took.as_secs_f64();
    println!("| {what} | {:.1} ms | {:.1} ms | {rate:.0}/s |", at(0.5), at(0.99));
}
