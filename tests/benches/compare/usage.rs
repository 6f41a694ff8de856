//! The resource usage of a server's processes, from `/proc`: CPU time and anonymous memory of a process and all its
//! descendants.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

/// Interval of the memory samples.
const SAMPLING: Duration = Duration::from_millis(20);

/// CPU seconds, in user and kernel, that this process and its descendants have used so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut ticks = 0;
    for pid in family(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat_fields(&stat);
        // Counted after the name (fields 1 and 2 of proc(5)): utime is field 14, stime 15.
        for index in [11, 12] {
            ticks += fields.get(index).context("short /proc/PID/stat")?.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Anonymous memory (RssAnon) that they hold now, in bytes.
fn anonymous_bytes(pid: u32) -> u64 {
    family(pid).into_iter().filter_map(anonymous_bytes_of).sum()
}

fn anonymous_bytes_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// A process and its descendants.
fn family(root: u32) -> Vec<u32> {
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&pid) = members.get(next) {
        next += 1;
        // Every thread of a process may have started others.
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    members
}

fn stat_fields(stat: &str) -> Vec<&str> {
    // The name, in brackets, may hold spaces and brackets itself.
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect()
}

/// Watches the memory of a server until it is asked for the peak.
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    watcher: JoinHandle<()>,
}

impl PeakMemory {
    /// Starts to watch.
    pub fn watch(pid: u32) -> Self {
        let (stop, peak) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let watcher = thread::spawn({
            let (stop, peak) = (stop.clone(), peak.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(anonymous_bytes(pid), Ordering::Relaxed);
                    thread::sleep(SAMPLING);
                }
            }
        });
        Self { stop, peak, watcher }
    }

    /// Stops; answers the most that was seen, in bytes.
    pub fn peak(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // It cannot panic, and if it did, the peak so far would still be one.
        let _ = self.watcher.join();
        self.peak.load(Ordering::Relaxed)
    }
}
