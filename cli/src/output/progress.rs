//! Progress on stderr: a bar on a terminal, otherwise a line at intervals.

use std::{
    cell::Cell,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::plain;

/// Interval of progress lines when stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of a long command. Dropping it removes the bar.
pub struct Progress {
    bar: Option<ProgressBar>,
    next_line: Cell<Instant>,
}

impl Progress {
    /// Returns the progress of an amount of bytes.
    pub fn of_bytes(label: &str) -> Self {
        Self::new(label, "{msg}[{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// Returns the progress of a number of items.
    pub fn of_items(label: &str) -> Self {
        Self::new(label, "{msg}[{bar:30}] {pos}/{len} {eta}")
    }

    fn new(label: &str, template: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_message(if label.is_empty() { String::new() } else { format!("{} ", plain(label)) });
            bar
        });
        Self { bar, next_line: Cell::new(Instant::now() + LINE_INTERVAL) }
    }

    /// Moves the bar, or prints `line` if it is due.
    pub fn show(&self, position: u64, total: u64, line: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(position);
        } else if Instant::now() >= self.next_line.get() {
            self.next_line.set(Instant::now() + LINE_INTERVAL);
            eprintln!("{}", line());
        }
    }

    /// Prints a message above the bar.
    pub fn message(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
