//! Clients that cost next to nothing, so that a machine with few cores measures the server: one blocking socket and
//! thread each, bodies thrown away in the kernel (`MSG_TRUNC`) and only counted.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::net::RecvFlags;
use sha2::{Digest as _, Sha256};

/// Longest silence before a client gives up. Long: nginx keeps clients waiting until a whole blob is there.
const SILENCE: Duration = Duration::from_secs(120);

/// Maximum number of bytes that one call discards.
const DISCARD_BYTES: usize = 1 << 20;

/// Longest answer head, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The address of a server and the headers of requests to it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its port.
    pub address: SocketAddr,
    /// The part of the path before `/manifests/` and `/blobs/`.
    pub repository: String,
    /// The `Authorization` header, where one is needed.
    pub authorization: Option<String>,
}

impl Access {
    /// The path of a blob.
    pub fn blob(&self, digest: &str) -> String {
        format!("{}/blobs/{digest}", self.repository)
    }

    /// The path of a manifest.
    pub fn manifest(&self, digest: &str) -> String {
        format!("{}/manifests/{digest}", self.repository)
    }
}

/// One body, read to its end.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// When the request had been sent.
    pub asked: Instant,
    /// When the first byte of the body was here.
    pub first_byte: Instant,
    /// When the last one was.
    pub finished: Instant,
}

/// Reads a body and checks its length.
pub fn discard(access: &Access, path: &str) -> Result<Transfer> {
    let mut answer = Answer::open(access, path)?;
    let mut got = answer.first.len() as u64;
    let first_byte = Instant::now();
    let mut buffer = vec![0; DISCARD_BYTES];
    while got < answer.length {
        let (_, read) = rustix::net::recv(&answer.stream, &mut buffer[..], RecvFlags::TRUNC)?;
        ensure!(read > 0, "{path}: ended after {got} of {} bytes", answer.length);
        got += read as u64;
    }
    let finished = Instant::now();
    ensure!(got == answer.length, "{path}: {got} bytes instead of {}", answer.length);
    ensure!(answer.stream.read(&mut [0])? == 0, "{path}: more than {got} bytes");
    Ok(Transfer { asked: answer.asked, first_byte, finished })
}

/// Reads a body and checks its digest.
pub fn verify(access: &Access, path: &str) -> Result<()> {
    let mut answer = Answer::open(access, path)?;
    let mut hasher = Sha256::new_with_prefix(&answer.first);
    let mut got = answer.first.len() as u64;
    let mut buffer = vec![0; DISCARD_BYTES];
    while got < answer.length {
        let read = answer.stream.read(&mut buffer)?;
        ensure!(read > 0, "{path}: ended after {got} of {} bytes", answer.length);
        hasher.update(&buffer[..read]);
        got += read as u64;
    }
    let digest = hex::encode(hasher.finalize());
    ensure!(path.ends_with(&digest), "{path}: got {digest}");
    Ok(())
}

/// One client for each path, all asking at the same moment.
pub fn at_once(access: &Access, paths: &[String]) -> Result<Vec<Transfer>> {
    let start = Barrier::new(paths.len());
    thread::scope(|scope| {
        let client = |path| {
            start.wait();
            discard(access, path)
        };
        let clients: Vec<_> = paths.iter().map(|path| scope.spawn(move || client(path))).collect();
        clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}

/// An answer whose head, and a bit of its body, has been read.
struct Answer {
    stream: TcpStream,
    asked: Instant,
    length: u64,
    first: Vec<u8>,
}

impl Answer {
    fn open(access: &Access, path: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(access.address)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let authorization =
            access.authorization.as_ref().map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Connection: close\r\n\r\n", access.address);
        stream.write_all(head.as_bytes())?;
        let asked = Instant::now();

        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).with_context(|| format!("{path}: no answer"))?;
            ensure!(read > 0 && bytes.len() < MAX_HEAD_BYTES, "{path}: no whole answer head");
            bytes.extend_from_slice(&buffer[..read]);
            // Goes on until there is a byte of the body too: nothing asked for here is empty.
            match bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) if end + 4 < bytes.len() => {
                    let first = bytes.split_off(end + 4);
                    let head = String::from_utf8_lossy(&bytes);
                    ensure!(
                        head.starts_with("HTTP/1.1 200"),
                        "{path}: {} {}",
                        head.lines().next().unwrap_or_default(),
                        String::from_utf8_lossy(&first)
                    );
                    return Ok(Self { length: content_length(&head)?, stream, asked, first });
                }
                _ => {}
            }
        }
    }
}

fn content_length(head: &str) -> Result<u64> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = headers
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .with_context(|| format!("an answer without Content-Length: {head}"))?;
    Ok(value.trim().parse()?)
}
