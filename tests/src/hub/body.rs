//! Answers with content: ranges, and bodies that break off, crawl or wait for the test.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::sync::watch;

use super::{
    Shared,
    fault::{Fault, Gate},
    record::Request,
};
use crate::image::gzip;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Maximum number of bytes that a body returns at once.
const PIECE: u64 = 64 * 1024;

/// A body that is there at once.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// 200, 206 or 416 with `content`, as `request` asks and `faults` have it.
pub(super) fn content(shared: &Arc<Shared>, request: &Request, content: Bytes, faults: &[Fault]) -> Response<Body> {
    let content = faults.iter().fold(content, |content, fault| match fault {
        Fault::Instead(other) => other.clone(),
        Fault::Gzip => gzip(&content),
        Fault::Corrupt(at) => corrupted(&content, *at),
        _ => content,
    });
    let size = content.len() as u64;
    let ranges = shared.options.ranges && !faults.iter().any(|fault| matches!(fault, Fault::NoRange));
    let asked = if ranges { range(&request.headers, size) } else { Ok(None) };
    let Ok(asked) = asked else {
        let builder = Response::builder().status(416).header(header::CONTENT_RANGE, format!("bytes */{size}"));
        return builder.body(full("")).unwrap();
    };
    let (start, end) = asked.unwrap_or((0, size));
    let mut builder = Response::builder()
        .status(if asked.is_some() { 206 } else { 200 })
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if asked.is_some() {
        builder = builder.header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
    }
    if faults.iter().any(|fault| matches!(fault, Fault::Gzip)) {
        builder = builder.header(header::CONTENT_ENCODING, "gzip");
    }
    if ranges {
        builder = builder.header(header::ACCEPT_RANGES, "bytes");
    }
    if !faults.iter().any(|fault| matches!(fault, Fault::NoLength)) {
        builder = builder.header(header::CONTENT_LENGTH, end - start);
    }
    builder.body(Feed::new(shared, request, content, start..end).with(faults).into_body()).unwrap()
}

/// All of `content`, as `faults` let it out.
pub(super) fn whole(shared: &Shared, request: &Request, content: Bytes, faults: &[Fault]) -> Body {
    let end = content.len() as u64;
    Feed::new(shared, request, content, 0..end).with(faults).into_body()
}

/// With the bit pattern of one byte inverted.
pub(super) fn corrupted(content: &Bytes, at: u64) -> Bytes {
    let mut bytes = content.to_vec();
    bytes[usize::try_from(at).unwrap()] ^= 0xFF;
    bytes.into()
}

/// The part asked for by a single `Range`: start and end. Err: it cannot be satisfied.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = text.split_once('-') else { return Ok(None) };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) => (start, size.min(last + 1)),
        (Ok(start), Err(_)) => (start, size),
        (Err(_), Ok(suffix)) => (size.saturating_sub(suffix), size),
        (Err(_), Err(_)) => return Ok(None),
    };
    if start < end { Ok(Some((start, end))) } else { Err(()) }
}

/// A body under way.
struct Feed {
    content: Bytes,
    at: u64,
    end: u64,
    cut: Option<u64>,
    gate: Option<Gate>,
    pace: Option<(usize, Duration)>,
    sent: Arc<AtomicU64>,
    changed: watch::Sender<u64>,
}

impl Feed {
    fn new(shared: &Shared, request: &Request, content: Bytes, part: Range<u64>) -> Self {
        Self {
            content,
            at: part.start,
            end: part.end,
            cut: None,
            gate: None,
            pace: None,
            sent: Arc::clone(&request.sent),
            changed: shared.changed.clone(),
        }
    }

    fn with(mut self, faults: &[Fault]) -> Self {
        for fault in faults {
            match fault {
                Fault::CutAt(at) => self.cut = Some(*at),
                Fault::Gated(gate) => self.gate = Some(gate.clone()),
                Fault::Slow(bytes, pause) => self.pace = Some((*bytes, *pause)),
                _ => {}
            }
        }
        self
    }

    fn into_body(self) -> Body {
        let pieces = stream::unfold(self, |mut feed| async move {
            let piece = feed.next().await?;
            Some((piece.map(Frame::data), feed))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.at == self.end {
            return None;
        }
        let mut until = self.end.min(self.at + PIECE);
        if let Some(cut) = self.cut {
            if self.at >= cut {
                // hyper writes out what it has while the body is pending, and throws it away when the body fails.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            until = until.min(cut);
        }
        if let Some((bytes, pause)) = self.pace {
            tokio::time::sleep(pause).await;
            until = until.min(self.at + bytes as u64);
        }
        if let Some(gate) = &self.gate {
            until = until.min(gate.past(self.at).await);
        }
        let piece = self.content.slice(self.at as usize..until as usize);
        self.at = until;
        self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        self.changed.send_modify(|changes| *changes += 1);
        Some(Ok(piece))
    }
}
