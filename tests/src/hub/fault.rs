//! Faults of the hub.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Shared,
    record::{Request, When},
};

/// One way to misbehave. Several may apply to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is reset instead of answering.
    Reset,
    /// No answer, ever.
    Hang,
    /// No answer until the test opens the gate.
    HoldAnswer(Gate),
    /// This status with a registry error body.
    Status(u16),
    /// 429 with `Retry-After`, in seconds.
    RateLimited(u64),
    /// 200 with a web page.
    WebPage,
    /// 200 with this content type and body.
    Answer(&'static str, Bytes),
    /// This status with this `Location`.
    Redirect(u16, String),
    /// This status with the same path and query at another origin (`http://host:port`) as `Location`.
    RedirectTo(u16, String),
    /// The content goes out gzip-encoded, whatever the client takes.
    Gzip,
    /// This `WWW-Authenticate` with a 401.
    Challenge(String),
    /// The body's connection is cut before this byte of the content.
    CutAt(u64),
    /// The bit pattern of this byte of the content is inverted.
    Corrupt(u64),
    /// This is sent instead of the content, with a length that fits.
    Instead(Bytes),
    /// `Content-Length` is left out.
    NoLength,
    /// So many bytes of the body at a time, with a pause between.
    Slow(usize, Duration),
    /// The body goes on as the test opens the gate.
    Gated(Gate),
    /// `Range` is ignored: 200 with everything.
    NoRange,
    /// No `Docker-Content-Digest`.
    NoDigestHeader,
    /// This status with these headers and this body.
    Reply(u16, Vec<(&'static str, String)>, Bytes),
    /// The real answer with one more header.
    WithHeader(&'static str, String),
    /// The real answer without a header.
    WithoutHeader(&'static str),
    /// The answer begins so much later.
    Delay(Duration),
    /// The token's `expires_in`, as JSON.
    ExpiresIn(&'static str),
}

/// Holds bodies back: bytes before the released offset pass, the others wait.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<u64>);

impl Gate {
    /// Nothing passes yet.
    pub fn closed() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Passes the content's bytes up to `offset`.
    pub fn release(&self, offset: u64) {
        self.0.send_modify(|released| *released = offset.max(*released));
    }

    /// Passes everything.
    pub fn open(&self) {
        self.release(u64::MAX);
    }

    /// Waits until something after `offset` may pass; answers the end of what may.
    pub(super) async fn past(&self, offset: u64) -> u64 {
        let mut released = self.0.subscribe();
        *released.wait_for(|released| *released > offset).await.unwrap()
    }
}

/// A fault and the requests that it is for.
pub(super) struct Rule {
    pub(super) when: When,
    pub(super) fault: Fault,
    /// The number of further requests that it applies to; unlimited if `None`.
    pub(super) left: Option<u32>,
}

impl Shared {
    /// The faults for `request`, in the order they were set; each is used up by one.
    pub(super) fn faults_for(&self, request: &Request) -> Vec<Fault> {
        let mut rules = self.faults.lock().unwrap();
        let mut found = Vec::new();
        for rule in rules.iter_mut().filter(|rule| rule.left != Some(0) && rule.when.fits(request)) {
            rule.left = rule.left.map(|left| left - 1);
            found.push(rule.fault.clone());
        }
        found
    }
}
