//! The machine and the executable that the figures are of.

use std::{fs, process::Command};

/// Processor, kernel and date, in a few words.
pub fn describe() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &str| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned());
    let model = cpus.lines().find_map(named).unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%F"]).output().map(|output| output.stdout).unwrap_or_default();
    format!("{model}, Linux {}, {}", kernel.trim(), String::from_utf8_lossy(&date).trim())
}

/// The name of the folder that the measured executable is in, which is that of its build profile.
pub fn profile() -> String {
    let executable = roadstead_tests::cluster::executable();
    let folder = executable.parent().and_then(|folder| folder.file_name());
    folder.map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}
