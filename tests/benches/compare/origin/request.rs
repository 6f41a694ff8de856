//! As much of HTTP/1.1 as the origin has to read: request line and `Range`.

use std::io::{self, Read};

/// Longest request head, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A request without a body.
pub struct Request {
    /// HEAD; anything else is taken for GET.
    pub is_head: bool,
    /// The path without its query.
    pub path: String,
    /// N of `Range: bytes=N-`.
    pub from: Option<u64>,
}

impl Request {
    /// Reads the next one; none if the client is done. `unread` keeps what came after it.
    pub fn read(stream: &mut impl Read, unread: &mut Vec<u8>) -> io::Result<Option<Self>> {
        loop {
            if let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = unread.drain(..end + 4).collect();
                return Ok(Some(Self::parse(&String::from_utf8_lossy(&head))));
            }
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer)?;
            if read == 0 || unread.len() > MAX_HEAD_BYTES {
                return Ok(None);
            }
            unread.extend_from_slice(&buffer[..read]);
        }
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let mut line = lines.next().unwrap_or_default().split(' ');
        let method = line.next().unwrap_or_default();
        let target = line.next().unwrap_or_default();
        let from = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("range"))
            .and_then(|(_, value)| value.trim().strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        Self { is_head: method == "HEAD", path: target.split('?').next().unwrap_or_default().to_owned(), from }
    }
}
