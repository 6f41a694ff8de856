//! Connections as clients without manners make them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::*;

/// Answers when told to.
#[derive(Default)]
struct Held {
    go: Notify,
    asked: AtomicUsize,
}

impl Handler for Held {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/held" {
            self.asked.fetch_add(1, SeqCst);
            self.go.notified().await;
        }
        Response::new(Full::from("here"))
    }
}

struct Port {
    address: SocketAddr,
    handler: Arc<Held>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

fn start(limits: Limits) -> Port {
    let socket = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
    let settings = PortSettings { limits, ..PortSettings::default() };
    let (handler, stop) = (Arc::<Held>::default(), CancellationToken::new());
    let port = Listener::new(socket, None, settings, Arc::clone(&handler), Gauge::default()).unwrap();
    let address = port.local_addr();
    Port { address, handler, stop: stop.clone(), served: tokio::spawn(port.serve(stop)) }
}

/// Connects from one of this machine's addresses: all of 127.0.0.0/8 are.
async fn connect(port: &Port, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(port.address).await.unwrap()
}

/// Asks and reads to the end: empty if the server closed without an answer.
async fn ask(mut stream: TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}

#[tokio::test]
async fn silent_connections_of_one_client_shut_nobody_out_not_even_itself() {
    let port = start(Limits { connections: 20, per_client: 10, ..Limits::default() });
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(&port, [127, 0, 0, 1]).await);
    }
    for from in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        assert!(ask(connect(&port, from).await, "/").await.ends_with("here"), "{from:?}");
    }
}

#[tokio::test]
async fn silent_connections_of_many_clients_give_way() {
    let port = start(Limits { connections: 20, per_client: 10, ..Limits::default() });
    let mut silent = Vec::new();
    for client in 0..60 {
        silent.push(connect(&port, [127, 0, 1, client]).await);
    }
    assert!(ask(connect(&port, [127, 0, 0, 2]).await, "/").await.ends_with("here"));
}

#[tokio::test]
async fn busy_connections_stay_and_the_client_gets_no_more() {
    let port = start(Limits { per_client: 2, ..Limits::default() });
    let mut busy = Vec::new();
    for _ in 0..2 {
        let stream = connect(&port, [127, 0, 0, 1]).await;
        busy.push(tokio::spawn(ask(stream, "/held")));
        while port.handler.asked.load(SeqCst) < busy.len() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(ask(connect(&port, [127, 0, 0, 1]).await, "/").await, "");
    assert!(ask(connect(&port, [127, 0, 0, 2]).await, "/").await.ends_with("here"));
    for held in busy {
        port.handler.go.notify_one();
        assert!(held.await.unwrap().ends_with("here"));
    }
    port.stop.cancel();
    port.served.await.unwrap();
}
