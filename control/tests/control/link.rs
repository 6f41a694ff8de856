//! A line to the private PostgreSQL server that can be cut, and can go dead without a word.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

use crate::harness::private_postgres;

/// The state of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// As it should be.
    Good,
    /// Whatever is sent is swallowed, and nothing is answered.
    Dead,
}

/// The line. Dropping it cuts it.
pub struct Link {
    /// The state, and the number of cuts.
    line: Arc<watch::Sender<(Line, u32)>>,
    port: u16,
}

impl Link {
    /// A good one.
    pub async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Arc::new(watch::Sender::new((Line::Good, 0)));
        let state = line.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, state.clone()));
            }
        });
        Self { line, port }
    }

    /// The database at the other end of the line.
    pub fn url(&self, direct: &str) -> String {
        let name = direct.split_once(":///").and_then(|(_, rest)| rest.split_once('?')).unwrap().0;
        format!("postgres://roadstead@127.0.0.1:{}/{name}", self.port)
    }

    /// Makes the line so.
    pub fn set(&self, line: Line) {
        self.line.send_modify(|now| now.0 = line);
    }

    /// Ends all connections; new ones are as good as the line is.
    pub fn cut(&self) {
        self.line.send_modify(|now| now.1 += 1);
    }
}

async fn carry(mut client: TcpStream, mut line: watch::Receiver<(Line, u32)>) {
    let mut server = UnixStream::connect(private_postgres::socket()).await.unwrap();
    let (mut asked, mut answered) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let begun_after = line.borrow().1;
    loop {
        let (now, cuts) = *line.borrow_and_update();
        if cuts != begun_after {
            return;
        }
        let is_good = now == Line::Good;
        tokio::select! {
            changed = line.changed() => if changed.is_err() { return },
            read = client.read(&mut asked), if is_good => match read {
                Ok(1..) => if server.write_all(&asked[..read.unwrap()]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut answered), if is_good => match read {
                Ok(1..) => if client.write_all(&answered[..read.unwrap()]).await.is_err() { return },
                _ => return,
            },
        }
    }
}
