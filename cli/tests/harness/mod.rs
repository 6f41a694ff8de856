//! Runs the executable as people do: commands to their end, servers until they are dropped.
#![allow(dead_code, reason = "every test program uses a part of it")]
#![allow(clippy::expect_used, reason = "a failing harness ends its test")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Longest time that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The result of a command that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Parses stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Returns the executable, without settings from the environment of the tests.
pub fn roadstead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["ROADSTEAD_", "OTEL_", "RUST_LOG"].iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end, with `input` on stdin. A command that does not end is killed and has no exit code.
pub fn run(command: &mut Command, input: &str) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // A command that fails before it reads has closed its stdin.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("it is ours").is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let code = child.wait().expect("it is ours").code();
    Done { code, stdout: stdout.join().expect("UTF-8"), stderr: stderr.join().expect("UTF-8") }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || std::io::read_to_string(pipe.expect("piped")).expect("UTF-8"))
}

/// A running server.
pub struct Server {
    child: Child,
    greeting: Receiver<String>,
    /// Its stdout, up to its addresses.
    pub said: String,
    /// Its addresses, in the order of its banner.
    pub addresses: Vec<SocketAddr>,
}

impl Server {
    /// Starts a server and waits until it has printed `addresses` addresses.
    pub fn start(command: &mut Command, addresses: usize) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, greeting) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Self { child, greeting, said: String::new(), addresses: Vec::new() };
        while server.addresses.len() < addresses {
            let line = server.greeting.recv_timeout(PATIENCE).expect("it says where it listens");
            server.hear(&line);
        }
        server
    }

    fn hear(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "[]:.".contains(c)));
        self.addresses.extend(words.filter_map(|word| word.trim_end_matches('.').parse::<SocketAddr>().ok()));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the end and returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                while let Ok(line) = self.greeting.recv() {
                    self.hear(&line);
                }
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns `roadstead serve` in a folder, on free ports for registry, control and metrics.
pub fn serve(data_dir: &Path) -> Command {
    let mut command = roadstead();
    command.args(["serve", "--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"]);
    command.args(["--metrics-listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    command
}

/// A GET over HTTP/1.1: status line with headers, and body.
pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    get_with(address, path, "")
}

/// A GET with further header lines.
pub fn get_with(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// Admin commands against a server that runs in `dir`.
pub struct Admin<'a> {
    pub server: &'a Server,
    pub dir: &'a Path,
}

impl Admin<'_> {
    pub fn command(&self, line: &str) -> Command {
        let mut command = roadstead();
        command.args(line.split(' ')).arg("--data-dir").arg(self.dir);
        command.arg("--control").arg(format!("http://{}", self.server.addresses[1]));
        command
    }

    pub fn run(&self, line: &str) -> Done {
        run(&mut self.command(line), "")
    }

    pub fn json(&self, line: &str) -> serde_json::Value {
        self.run(&format!("{line} --output json")).json()
    }
}
