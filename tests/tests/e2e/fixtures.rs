//! The tools of chaos tests do what they say: PostgreSQL, SeaweedFS, links and the balancer.

use std::time::{Duration, Instant};

use roadstead_tests::{
    balancer::{Backend, Balancer},
    link::{Link, Mode},
    ports::free_address,
    postgres::Postgres,
    seaweed::Seaweed,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const MOMENT: Duration = Duration::from_millis(100);

/// A server that answers every connection with `name` and then with whatever it is sent.
async fn echo(name: u8) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    // A port that no other test gets when this server has ended.
    let address = free_address();
    let listener = TcpListener::bind(address).await.unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(&[name]).await.unwrap();
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    (address, task)
}

async fn first_byte(stream: &mut TcpStream) -> std::io::Result<u8> {
    timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap()
}

#[tokio::test]
async fn postgresql_starts_crashes_and_starts_again() {
    let server = Postgres::start().await;
    server.query("CREATE TABLE kept (n BIGINT); INSERT INTO kept VALUES (7)").await;
    server.query("CHECKPOINT").await;
    server.kill();
    server.restart().await;
    assert_eq!(server.query("SELECT n FROM kept").await.trim(), "7");
    assert_eq!(server.query("SHOW lc_collate").await.trim(), "C");
    let other = server.create_database("other").await;
    assert!(other.starts_with("postgres://") && other.ends_with("/other"), "{other}");
}

#[tokio::test]
async fn seaweedfs_starts_with_a_bucket_that_only_its_key_opens() {
    let store = Seaweed::start().await;
    store.create_bucket("test").await;
    assert!(store.objects("test").await.is_empty());
    let stranger = roadstead_tests::client::http().get(format!("{}/test/x", store.endpoint())).send().await.unwrap();
    assert_eq!(stranger.status().as_u16(), 403);
}

#[tokio::test]
async fn a_link_passes_refuses_resets_delays_and_swallows() {
    let (target, _echo) = echo(b'a').await;
    let link = Link::to(target).await;
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    assert_eq!(first_byte(&mut stream).await.unwrap(), b'a');
    stream.write_all(b"x").await.unwrap();
    assert_eq!(first_byte(&mut stream).await.unwrap(), b'x');
    assert_eq!((link.connections(), link.open(), link.bytes()), (1, 1, (1, 2)));

    // Nothing comes through, and nothing is lost.
    link.set(Mode::BlackHole).await;
    stream.write_all(b"y").await.unwrap();
    assert!(timeout(MOMENT, stream.read_u8()).await.is_err());
    let mut waiting = TcpStream::connect(link.address()).await.unwrap();
    assert!(timeout(MOMENT, waiting.read_u8()).await.is_err());
    link.set(Mode::Pass).await;
    assert_eq!(first_byte(&mut stream).await.unwrap(), b'y');
    assert_eq!(first_byte(&mut waiting).await.unwrap(), b'a');

    link.set(Mode::Delay(MOMENT)).await;
    let started = Instant::now();
    stream.write_all(b"z").await.unwrap();
    assert_eq!(first_byte(&mut stream).await.unwrap(), b'z');
    assert!(started.elapsed() >= 2 * MOMENT);

    link.set(Mode::Reset).await;
    assert!(first_byte(&mut stream).await.is_err());
    let mut reset = TcpStream::connect(link.address()).await.unwrap();
    assert!(first_byte(&mut reset).await.is_err());

    link.set(Mode::Refuse).await;
    assert!(TcpStream::connect(link.address()).await.is_err());

    link.set(Mode::status("503 Slow Down")).await;
    let answer = roadstead_tests::client::http().get(format!("http://{}/x", link.address())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);

    link.set(Mode::Pass).await;
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    assert_eq!(first_byte(&mut stream).await.unwrap(), b'a');
}

#[tokio::test]
async fn the_balancer_goes_round_and_skips_who_refuses() {
    let ((a, _a), (b, b_task), (c, _c)) = (echo(b'a').await, echo(b'b').await, echo(b'c').await);
    let backends = [a, b, c].map(|address| Backend { address, metrics: None });
    let balancer = Balancer::start(backends.into()).await;
    let round = async || {
        let mut seen = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
            seen.push(first_byte(&mut stream).await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    };
    assert_eq!(round().await, "abcabc");
    b_task.abort();
    let _ = b_task.await;
    assert_eq!(round().await, "accacc");
    assert_eq!(balancer.served(), [4, 2, 6]);
}
