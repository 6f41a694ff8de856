//! The hub's record of each request, and filters over it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{HeaderMap, Method};

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/v2/`.
    Ping,
    /// The token service.
    Token,
    /// A manifest, by tag or digest.
    Manifest,
    /// A blob at the registry itself.
    Blob,
    /// A blob at the CDN.
    Cdn,
    /// The list of tags.
    Tags,
    /// Referrers of a manifest.
    Referrers,
    /// Anything else.
    Other,
}

/// One request, and what became of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The kind.
    pub kind: Kind,
    /// Its method.
    pub method: Method,
    /// The repository, or empty.
    pub repository: String,
    /// Tag or digest, or empty.
    pub reference: String,
    /// Path and query as they came.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// When it came.
    pub at: Instant,
    pub(super) status: Arc<AtomicU16>,
    pub(super) sent: Arc<AtomicU64>,
}

impl Request {
    /// The status of the answer; 0 until it is known.
    pub fn status(&self) -> u16 {
        self.status.load(Ordering::SeqCst)
    }

    /// Body bytes handed out so far.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// A header as text, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, method, target, .. } = self;
        let range = self.header("range");
        write!(f, "{kind:?} {method} {target} {range} -> {} ({} bytes)", self.status(), self.bytes_sent())
    }
}

/// Selects requests, for counting and for faults. A field without a value matches everything.
#[derive(Clone, Debug, Default)]
pub struct When {
    kind: Option<Kind>,
    method: Option<Method>,
    repository: Option<String>,
    reference: Option<String>,
    header: Option<(&'static str, bool)>,
}

impl When {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests for `kind`.
    pub fn kind(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// `GET`s for `kind`.
    pub fn get(kind: Kind) -> Self {
        Self::kind(kind).method(Method::GET)
    }

    /// `HEAD`s for `kind`.
    pub fn head(kind: Kind) -> Self {
        Self::kind(kind).method(Method::HEAD)
    }

    /// Only with this method.
    pub fn method(self, method: Method) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only in this repository.
    pub fn of(self, repository: &str) -> Self {
        Self { repository: Some(repository.into()), ..self }
    }

    /// Only this tag or digest.
    pub fn at(self, reference: &str) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }

    /// Only with this header.
    pub fn with(self, header: &'static str) -> Self {
        Self { header: Some((header, true)), ..self }
    }

    /// Only without this header.
    pub fn without(self, header: &'static str) -> Self {
        Self { header: Some((header, false)), ..self }
    }

    pub(super) fn fits(&self, request: &Request) -> bool {
        self.kind.is_none_or(|kind| kind == request.kind)
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.repository.as_ref().is_none_or(|repository| *repository == request.repository)
            && self.reference.as_ref().is_none_or(|reference| *reference == request.reference)
            && self.header.is_none_or(|(name, is_there)| request.headers.contains_key(name) == is_there)
    }
}
