//! The start of a real node that has to learn of many groups: its time until it serves, and its memory then.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use roadstead_tests::{client, cluster::executable, ports::free_address, process::Daemon};
use sqlx::{AnyConnection, Connection as _};

use crate::{replica::Replica, usage};

/// Longest that a start may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Adds groups, each with two patterns, in one statement.
pub async fn fill(replica: &Replica, groups: usize) -> Result<()> {
    sqlx::any::install_default_drivers();
    let mut db = AnyConnection::connect(&replica.database_url()).await?;
    let groups = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {groups})
         INSERT INTO groups (id, path, visibility, anonymous_pull, enabled, frozen, max_age_ms, retention_ms, max_stale_ms,
             cooldown_ms, missing_tag, tag_rules, allowed_images, denied_images, quota_bytes, protected_tags, etag, link_epoch,
             credential_epoch, access_epoch, hits, misses, created_at, updated_at)
         SELECT '01890000-0000-7000-8000-' || CAST(100000000000 + n AS TEXT), 'department-' || CAST(n / 50 AS TEXT) || '/team-'
             || CAST(n AS TEXT), 'private', 0, 1, 0, 0, 0, 604800000, 0, 'gone', '[]', 'docker.io/library/*',
             'docker.io/*miner*', 0, '', 1, 1, 1, 1, 0, 0, 0, 0 FROM numbers"
    );
    let upstreams = "INSERT INTO group_upstreams (group_id, position, host)
         SELECT id, 0, 'docker.io' FROM groups WHERE path LIKE 'department-%'"
        .to_owned();
    for statement in [groups, upstreams] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut db).await?;
    }
    Ok(db.close().await?)
}

/// Starts nodes one after the other, each with an empty folder, and prints the times and the memory of each.
pub async fn measure(replica: &Replica, starts: usize) -> Result<()> {
    let token = replica.node_token().await;
    for number in 1..=starts {
        let folder = tempfile::Builder::new().prefix("roadstead-node-").tempdir()?;
        let (registry, metrics) = (free_address(), free_address());
        let mut command = Command::new(executable());
        command.args(["dataplane", "--listen", &registry.to_string(), "--metrics-listen", &metrics.to_string()]);
        command.args(["--control", &format!("http://{}", replica.address()), "--node-token", &token]);
        command.arg("--data-dir").arg(folder.path()).env("ROADSTEAD_LOG", "warn");
        let started = Instant::now();
        let mut daemon = Daemon::spawn(&mut command, &folder.path().join("log"));
        let memory = usage::PeakMemory::watch(daemon.pid());
        let (http, url) = (client::http(), format!("http://{metrics}/readyz"));
        let ready = async || http.get(&url).send().await.ok().filter(|answer| answer.status().is_success());
        daemon.wait_for(PATIENCE, ready).await;
        let time = started.elapsed();
        let saved = folder.path().join("snapshot");
        while !saved.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!(
            "start {number}: ready after {:.2} s, peak memory {} MiB, saved snapshot {:.1} MiB",
            time.as_secs_f64(),
            memory.peak() >> 20,
            fs::metadata(&saved)?.len() as f64 / f64::from(1 << 20)
        );
        daemon.kill();
    }
    Ok(())
}
