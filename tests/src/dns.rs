//! A name server that knows every name, or none, or says nothing. The product's processes are made to ask it by a
//! `resolv.conf` of their own, which takes root.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{net::UdpSocket, task::JoinHandle};

/// The answer of the name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Every name is at 127.0.0.1.
    Loopback,
    /// The name does not exist.
    NoSuchName,
    /// Nothing.
    Nothing,
}

/// A running name server. Dropping it stops it.
pub struct NameServer {
    says: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
    folder: TempDir,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Starts one that knows every name.
    pub async fn start() -> Self {
        let socket = bind().await;
        let folder = tempfile::Builder::new().prefix("roadstead-dns-").tempdir().unwrap();
        let address = socket.local_addr().unwrap().ip();
        fs::write(folder.path().join("resolv.conf"), format!("nameserver {address}\n")).unwrap();
        let (says, asked) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(serve(socket, Arc::clone(&says), Arc::clone(&asked)));
        Self { says, asked, folder, task }
    }

    /// Changes what it says.
    pub fn say(&self, says: Says) {
        let code = [Says::Loopback, Says::NoSuchName, Says::Nothing].iter().position(|it| *it == says).unwrap();
        self.says.store(code as u8, Ordering::SeqCst);
    }

    /// Returns the number of questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The file that leads here.
    pub fn resolv_conf(&self) -> PathBuf {
        self.folder.path().join("resolv.conf")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// On an address of loopback of its own: the port cannot be chosen.
async fn bind() -> UdpSocket {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let start = process::id() as usize % 60_000;
    for _ in 0..100 {
        let host = start + NEXT.fetch_add(1, Ordering::SeqCst) + 256;
        let address = Ipv4Addr::new(127, 53, (host / 256 % 256) as u8, (host % 256) as u8);
        if let Ok(socket) = UdpSocket::bind(SocketAddr::from((address, 53))).await {
            return socket;
        }
    }
    panic!("no address of loopback has its port 53 free; listening there takes root")
}

async fn serve(socket: UdpSocket, says: Arc<AtomicU8>, asked: Arc<AtomicUsize>) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        asked.fetch_add(1, Ordering::SeqCst);
        let answer = match says.load(Ordering::SeqCst) {
            0 => answer(&question[..length], true),
            1 => answer(&question[..length], false),
            _ => None,
        };
        if let Some(answer) = answer {
            // Whoever does not wait any more does not matter.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// RFC 1035: the question's header and question, and an address if one was asked for and the name is known.
fn answer(question: &[u8], is_known: bool) -> Option<Vec<u8>> {
    let name_end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let end = name_end + 4;
    let asks_for_ipv4 = question.get(name_end..name_end + 2)? == [0, 1];
    let addresses = u8::from(is_known && asks_for_ipv4);
    let mut answer = question.get(..end)?.to_vec();
    // An answer, recursion available; name error (3) if it is not known.
    (answer[2], answer[3]) = (0x81, if is_known { 0x80 } else { 0x83 });
    answer[4..12].copy_from_slice(&[0, 1, 0, addresses, 0, 0, 0, 0]);
    if addresses == 1 {
        // The name as above, type A, class IN, not to be kept, four bytes.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
