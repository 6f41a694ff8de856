//! The upstream registry: answers GET and HEAD for what it was given, counts GETs, remembers when it sent the first
//! byte, and sends no faster than it is told. A thread per connection, no authentication.

mod request;

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use request::Request;

use crate::content::{Content, MIB};

/// Bytes written between two looks at the clock.
const WRITE_BYTES: usize = 256 << 10;

/// A running origin; it runs until the program ends.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    items: Mutex<HashMap<String, Item>>,
    /// The digests of tags.
    tags: Mutex<HashMap<String, String>>,
    /// Zero is as fast as it goes.
    bytes_per_second: AtomicU64,
    /// Tells large blobs apart.
    numbers: AtomicU64,
}

struct Item {
    content: Content,
    sent: Sent,
}

/// The requests for one item.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Number of GETs.
    pub gets: u64,
    /// When the first byte of a body left.
    pub first_byte: Option<Instant>,
}

impl Origin {
    /// Starts it on a port of its own.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let origin = Self { address: listener.local_addr()?, state: Arc::default() };
        let state = origin.state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                // A peer that hangs up is its own business: what matters is counted.
                thread::spawn(move || state.serve(stream));
            }
        });
        Ok(origin)
    }

    /// The address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Offers some content; answers its digest.
    pub fn add(&self, content: Content) -> String {
        let digest = content.digest();
        self.state.items().insert(digest.clone(), Item { content, sent: Sent::default() });
        digest
    }

    /// Lets a tag resolve to a digest, in every repository.
    pub fn tag(&self, tag: &str, digest: &str) {
        let mut tags = self.state.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.insert(tag.to_owned(), digest.to_owned());
    }

    /// Offers a large blob that nobody has seen before; answers its digest.
    pub fn add_large(&self, size: u64) -> String {
        self.add(Content::large(self.state.numbers.fetch_add(1, Ordering::Relaxed), size))
    }

    /// Limits what each connection sends from now on; zero is as fast as it goes.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.state.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Returns the requests for this digest.
    pub fn sent(&self, digest: &str) -> Sent {
        self.state.items().get(digest).map(|item| item.sent).unwrap_or_default()
    }
}

impl State {
    fn items(&self) -> MutexGuard<'_, HashMap<String, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut unread = Vec::new();
        while let Some(request) = Request::read(&mut stream, &mut unread)? {
            self.answer(&mut stream, &request)?;
        }
        Ok(())
    }

    fn answer(&self, stream: &mut TcpStream, request: &Request) -> io::Result<()> {
        // Peers and Roadstead ask for different repositories; content is the same in all of them.
        let named = request.path.rsplit('/').next().unwrap_or_default();
        let tagged = self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(named).cloned();
        let digest = tagged.as_deref().unwrap_or(named);
        let Some(content) = self.asked(digest, request.is_head) else {
            let status = if request.path == "/v2/" { "200 OK" } else { "404 Not Found" };
            return write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            );
        };
        let (size, media_type) = (content.size(), content.media_type());
        let from = request.from.unwrap_or(0).min(size);
        let length = size - from;
        let status = match request.from {
            Some(_) if from < size => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", size - 1),
            _ => "200 OK".to_owned(),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
             Docker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n"
        )?;
        if request.is_head { Ok(()) } else { self.send(stream, digest, &content, from) }
    }

    fn asked(&self, digest: &str, is_head: bool) -> Option<Content> {
        let mut items = self.items();
        let item = items.get_mut(digest)?;
        item.sent.gets += u64::from(!is_head);
        Some(item.content.clone())
    }

    fn send(&self, stream: &mut TcpStream, digest: &str, content: &Content, from: u64) -> io::Result<()> {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if let Some(item) = self.items().get_mut(digest) {
            item.sent.first_byte.get_or_insert_with(Instant::now);
        }
        let started = Instant::now();
        let mut offset = from;
        while offset < content.size() {
            let chunk = content.chunk(offset);
            let chunk = &chunk[..chunk.len().min(WRITE_BYTES)];
            stream.write_all(chunk)?;
            offset += chunk.len() as u64;
            if rate > 0 {
                let due = started + Duration::from_secs_f64((offset - from) as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }
}

/// Returns the time that an origin of this rate needs for a body of this size.
pub fn sending_time(size: u64, bytes_per_second: u64) -> Duration {
    Duration::from_secs_f64(size as f64 / bytes_per_second.max(MIB) as f64)
}
