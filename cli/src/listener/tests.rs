use std::io::{Read, Write};

use axum::routing::get;

use super::*;

#[tokio::test]
async fn requests_carry_the_address_they_come_from() {
    let router = Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
    let listener = bind("--listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, None, router, stop.clone()));
    let asked = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        (socket.local_addr().unwrap().to_string(), answer)
    });
    let (own, answer) = asked.await.unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n{own}")), "{answer}");
    stop.cancel();
    server.await.unwrap();
}
