//! Processes of tests: commands that end by themselves, and daemons that end with their handle.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncWriteExt;

/// Longest that a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; 128 and more for signals, as shells have it.
    pub code: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Finished {
    /// Stdout of a command that has to succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "{} ended with {}:\n{}\n{}", self.command, self.code, self.stdout, self.stderr);
        self.stdout
    }

    /// Stdout and stderr of a command that has to fail.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(self.code != 0, "{} should have failed:\n{}\n{}", self.command, self.stdout, self.stderr);
        self.stdout + &self.stderr
    }
}

/// Runs a command to its end without input.
pub async fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Finished {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    run_command(command, "").await
}

/// Runs a prepared command to its end with `input` on stdin.
pub async fn run_command(mut command: tokio::process::Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let name = format!("{:?}", command.as_std());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    // Nobody has to read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} ran for {COMMAND_TIMEOUT:?}")).unwrap();
    Finished {
        command: name,
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A process that runs until its handle is dropped, in a process group of its own, with its output in a file.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; stdout and stderr are appended to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.into() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        kill_process(self.group(), Signal::TERM).unwrap();
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.group(), signal);
    }

    /// Stops its clock: it neither answers nor ends until [`Daemon::resume`].
    pub fn pause(&self) {
        kill_process_group(self.group(), Signal::STOP).unwrap();
    }

    /// Resumes it.
    pub fn resume(&self) {
        kill_process_group(self.group(), Signal::CONT).unwrap();
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.group(), Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Returns its exit status if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(exit_code)
    }

    /// Waits until it has ended; answers its exit code.
    pub async fn wait(&mut self, at_most: Duration) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(code) = self.ended() {
                return code;
            }
            assert!(started.elapsed() < at_most, "still running after {at_most:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `probe` answers something; panics with the log if the process ends or time runs out.
    pub async fn wait_for<T>(&mut self, at_most: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            let ended = self.ended();
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.log());
            assert!(started.elapsed() < at_most, "not there after {at_most:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let _ = kill_process(self.group(), Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}
