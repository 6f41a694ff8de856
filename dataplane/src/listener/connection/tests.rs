//! Time limits of a connection, on a clock of the test.

use bytes::Bytes;
use http_body_util::Full;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep},
};

use super::*;
use crate::listener::{Timeouts, connections::Connections};

const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
/// The preface, empty settings, and `GET /` on stream 1.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0roadwork";
const IDLE: Duration = Duration::from_secs(60);

/// Answers with `bytes` bytes after `delay`.
struct Slow {
    delay: Duration,
    bytes: usize,
}

impl Handler for Slow {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, _: Request<RequestBody>) -> Response<Full<Bytes>> {
        sleep(self.delay).await;
        Response::new(Full::from(vec![b'x'; self.bytes]))
    }
}

/// A client's end of a connection to a server that answers `bytes` bytes after `delay`, and when the server ends.
fn start(delay: Duration, bytes: usize) -> (DuplexStream, tokio::task::JoinHandle<Duration>) {
    start_with(IDLE * 100, delay, bytes)
}

/// Does the same with a time for the first request.
fn start_with(head: Duration, delay: Duration, bytes: usize) -> (DuplexStream, tokio::task::JoinHandle<Duration>) {
    let (theirs, ours) = duplex(16 * 1024);
    let handler = Arc::new(Slow { delay, bytes });
    let connection = Connection { peer: ([127, 0, 0, 1], 1).into(), tls: false };
    let timeouts = Timeouts { head, idle: IDLE, ..Timeouts::default() };
    let settings = PortSettings { timeouts, ..PortSettings::default() };
    let shared = Shared { http: http(&settings), timeouts, stop: Stop::default() };
    let entry = Connections::new(settings.limits, Arc::default(), Gauge::default()).admit_now(connection.peer.ip());
    let server = tokio::spawn(async move {
        let started = Instant::now();
        serve(ours, connection, handler, &entry.unwrap(), &shared).await;
        started.elapsed()
    });
    (theirs, server)
}

/// Takes all that comes until the server closes.
async fn take_all(mut client: DuplexStream) -> usize {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all.len()
}

fn assert_in_time(took: Duration, after: Duration) {
    assert!(took >= after + IDLE && took <= after + IDLE * 5 / 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_whatever_they_speak() {
    for request in [b"".as_slice(), HTTP1, HTTP2] {
        let (mut client, server) = start(Duration::ZERO, 10);
        client.write_all(request).await.unwrap();
        take_all(client).await;
        assert_in_time(server.await.unwrap(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn pings_keep_no_connection() {
    let (client, server) = start(Duration::ZERO, 10);
    let (mut read, mut write) = tokio::io::split(client);
    write.write_all(HTTP2).await.unwrap();
    let pings = async {
        while write.write_all(PING).await.is_ok() {
            sleep(Duration::from_secs(5)).await;
        }
    };
    let mut all = Vec::new();
    let (_, read) = tokio::join!(pings, read.read_to_end(&mut all));
    read.unwrap();
    assert_in_time(server.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_take_their_answer_are_cut() {
    for request in [HTTP1, HTTP2] {
        let (mut client, server) = start(Duration::ZERO, 1_000_000);
        client.write_all(request).await.unwrap();
        assert_in_time(server.await.unwrap(), Duration::ZERO);
    }
    // All that comes is read, but the window of the stream is never opened.
    let (mut client, server) = start(Duration::ZERO, 1_000_000);
    client.write_all(HTTP2).await.unwrap();
    assert!(take_all(client).await < 100_000);
    assert_in_time(server.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn clients_that_wait_for_us_or_take_their_time_are_not_cut() {
    for request in [HTTP1, HTTP2] {
        let (mut client, server) = start(IDLE * 5, 10);
        client.write_all(request).await.unwrap();
        assert!(take_all(client).await > 10);
        assert_in_time(server.await.unwrap(), IDLE * 5);
    }
    // The whole body is handed out at once; the client takes 8 KiB each half of the limit.
    let (mut client, server) = start(Duration::ZERO, 200_000);
    client.write_all(HTTP1).await.unwrap();
    let (mut taken, mut piece) = (0, vec![0; 8192]);
    while taken < 200_000 {
        sleep(IDLE / 2).await;
        taken += client.read(&mut piece).await.unwrap();
    }
    drop(client);
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_that_never_ask_are_closed_after_the_time_for_a_head() {
    let preface = HTTP2.len() - 12;
    for begun in [b"".as_slice(), b"P", b"GET / HT", &HTTP2[..10], &HTTP2[..preface]] {
        let (mut client, server) = start_with(IDLE / 6, Duration::ZERO, 10);
        client.write_all(begun).await.unwrap();
        take_all(client).await;
        let took = server.await.unwrap();
        assert!(took >= IDLE / 6 && took <= IDLE / 4, "{begun:?}: {took:?}");
    }
}
