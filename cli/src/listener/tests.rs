use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
};

use axum::routing::get;

use super::*;

/// Sends a request with these header lines and reads the whole answer; answers the own address, too.
fn ask(address: SocketAddr, path: &str, headers: &str) -> (SocketAddr, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    (socket.local_addr().unwrap(), answer)
}

#[tokio::test]
async fn requests_carry_their_clients_address() {
    let router = Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
    for (trusted, expected) in [(None, None), (Some(Ipv4Addr::LOCALHOST), Some("192.0.2.7:0"))] {
        let trusted_proxies: Arc<[IpNet]> = trusted.map(|proxy| IpNet::from(IpAddr::from(proxy))).into_iter().collect();
        let settings = PortSettings { trusted_proxies, ..PortSettings::default() };
        let socket = bind("--listen", SocketAddr::from(([127, 0, 0, 1], 0)), &settings).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_control(socket, None, router.clone(), settings, stop.clone()));
        let asked = move || ask(address, "/", "X-Forwarded-For: 192.0.2.7\r\n");
        let (own, answer) = tokio::task::spawn_blocking(asked).await.unwrap();
        let expected = expected.map_or_else(|| own.to_string(), str::to_owned);
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_metrics_port_answers_while_the_runtime_is_stuck_and_its_client_floods_it() {
    let router = Router::new().route("/livez", get(async || "ok\n"));
    let socket = MetricsPort::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    let port = MetricsPort::start(socket, router).unwrap();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    // The only thread of this test's runtime is blocked meanwhile.
    let (_, answer) = ask(address, "/livez", "");
    assert!(answer.ends_with("ok\n"), "{answer}");
    drop(silent);
    port.stop().await;
}
