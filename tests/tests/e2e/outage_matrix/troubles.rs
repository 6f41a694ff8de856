//! The troubles, and what they come to.

use bytes::Bytes;
use roadstead_tests::{
    dns::Says,
    hub::{Fault, Gate, Hub, Kind, When},
};

use super::stage::{Cell, Stage};

/// True if upstream's answer is its decision on a cached tag, and not only trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Only trouble.
    None,
    /// It refuses the tag, and so does the product, with this status.
    Refuses(u16),
}

/// The start of a trouble.
pub enum Start {
    /// The hub misbehaves from now on.
    Faults(Vec<(When, Fault)>),
    /// It redirects every request for content.
    Redirect(fn(&Stage) -> Fault),
    /// Something goes wrong once in each pull.
    BeforeEach(fn(&Hub)),
    /// Nothing listens there any more.
    Down,
    /// Nothing listens at the token service any more.
    TokenServiceDown,
    /// The name server says this.
    NameServer(Says),
    /// It answers with a certificate that nobody trusts.
    UntrustedCertificate,
}

/// One shape of trouble, and what it has to come to.
pub struct Trouble {
    pub name: &'static str,
    pub start: Start,
    pub word: Word,
    /// The cached tag cannot be confirmed.
    pub tag_is_stale: bool,
    /// The content that is not cached: tag, digest, blob.
    uncached: [&'static str; 3],
    /// The upstream is known by a name, so that the name server matters.
    pub by_name: bool,
    /// Tokens come from a listener of their own.
    pub separate_tokens: bool,
    /// A new token is needed for each pull.
    pub forget_tokens: bool,
    /// The group keeps tags that are gone upstream.
    pub keeps_missing: bool,
}

impl Trouble {
    fn new(name: &'static str, start: Start, uncached: [&'static str; 3]) -> Self {
        let (word, tag_is_stale) = (Word::None, true);
        let (by_name, separate_tokens, forget_tokens, keeps_missing) = (false, false, false, false);
        Self { name, start, word, tag_is_stale, uncached, by_name, separate_tokens, forget_tokens, keeps_missing }
    }

    fn at(name: &'static str, kind: Option<Kind>, fault: Fault, uncached: [&'static str; 3]) -> Self {
        let when = kind.map_or_else(When::any, When::kind);
        Self::new(name, Start::Faults(vec![(when, fault)]), uncached)
    }

    /// Only a GET works.
    fn of_heads(name: &'static str, fault: Fault) -> Self {
        Self::new(name, Start::Faults(vec![(When::head(Kind::Manifest), fault)]), GOOD).tag_is_confirmed()
    }

    fn of_tokens(name: &'static str, fault: Fault, uncached: [&'static str; 3]) -> Self {
        Self { forget_tokens: true, ..Self::at(name, Some(Kind::Token), fault, uncached) }
    }

    /// The HEAD for the tag is answered as ever.
    fn tag_is_confirmed(self) -> Self {
        Self { tag_is_stale: false, ..self }
    }

    fn taken_at_its_word(self, status: u16) -> Self {
        Self { word: Word::Refuses(status), ..self }
    }

    fn named(self) -> Self {
        Self { by_name: true, ..self }
    }

    /// The expected results of pulls of content that is not cached.
    pub fn expected(&self, cell: Cell) -> &'static str {
        match cell {
            Cell::Tag => self.uncached[0],
            Cell::Digest => self.uncached[1],
            _ => self.uncached[2],
        }
    }
}

const UNREACHABLE: [&str; 3] = ["503 `UNAVAILABLE`"; 3];
const LATE: [&str; 3] = ["504 `UNAVAILABLE`"; 3];
const SENSELESS: [&str; 3] = ["502 `UNAVAILABLE`"; 3];
const LIMITED: [&str; 3] = ["429 `TOOMANYREQUESTS`, `Retry-After`"; 3];
const DENIED: [&str; 3] = ["403 `DENIED`"; 3];
const MISSING: [&str; 3] = ["404 `MANIFEST_UNKNOWN`", "404 `MANIFEST_UNKNOWN`", "404 `BLOB_UNKNOWN`"];
const GOOD: [&str; 3] = ["200 `fill`"; 3];

/// All of them, in the order of the table.
pub fn troubles() -> Vec<Trouble> {
    let new = Trouble::new;
    let at = Trouble::at;
    let (tokens, of_heads) = (Trouble::of_tokens, Trouble::of_heads);
    let junk = || Fault::Answer("application/json", Bytes::from_static(b"{\"not\": \"a token\""));
    vec![
        new("DNS: no such name", Start::NameServer(Says::NoSuchName), UNREACHABLE).named(),
        new("DNS: no answer", Start::NameServer(Says::Nothing), LATE).named(),
        new("connection refused", Start::Down, UNREACHABLE),
        new("TLS: certificate not trusted", Start::UntrustedCertificate, SENSELESS),
        Trouble {
            separate_tokens: true,
            forget_tokens: true,
            ..new("token service: connection refused", Start::TokenServiceDown, SENSELESS)
        },
        tokens("token service: 429, `Retry-After: 60`", Fault::RateLimited(60), LIMITED),
        tokens("token service: 503", Fault::Status(503), UNREACHABLE),
        tokens("token service: junk", junk(), SENSELESS),
        tokens("token service: a web page", Fault::WebPage, SENSELESS),
        tokens("token service: hangs", Fault::Hang, SENSELESS),
        of_heads("HEAD: 405", Fault::Status(405)),
        of_heads("HEAD: without a digest", Fault::NoDigestHeader),
        of_heads("HEAD: 401", Fault::Status(401)),
        of_heads("HEAD: 403", Fault::Status(403)),
        of_heads("HEAD: 404", Fault::Status(404)),
        of_heads("HEAD: 500", Fault::Status(500)),
        of_heads("HEAD: 503", Fault::Status(503)),
        of_heads("HEAD: the connection is reset", Fault::Reset),
        of_heads("HEAD: a web page with 200", Fault::WebPage),
        at("hangs before the headers", None, Fault::Hang, LATE),
        new("hangs in the body, once", Start::BeforeEach(|hub| once_in_body(hub, Fault::Gated(Gate::closed()))), GOOD)
            .tag_is_confirmed(),
        new("cut in the body, once", Start::BeforeEach(|hub| once_in_body(hub, Fault::CutAt(100))), GOOD)
            .tag_is_confirmed(),
        new(
            "cut in the body, once; `Range` ignored",
            Start::BeforeEach(|hub| {
                once_in_body(hub, Fault::CutAt(100));
                hub.fault(When::any(), Fault::NoRange);
            }),
            GOOD,
        )
        .tag_is_confirmed(),
        new(
            "cut in the body, once; `Range` refused with 416",
            Start::BeforeEach(|hub| {
                once_in_body(hub, Fault::CutAt(100));
                hub.fault(When::any().with("range"), Fault::Status(416));
            }),
            GOOD,
        )
        .tag_is_confirmed(),
        at(
            "cut in the body, always",
            None,
            Fault::CutAt(100),
            ["502 `UNAVAILABLE`", "502 `UNAVAILABLE`", "*broken off*"],
        )
        .tag_is_confirmed(),
        at(
            "another size than said",
            None,
            Fault::Instead(Bytes::from_static(b"{\"schemaVersion\": 2, \"config\": {}}")),
            ["502 `MANIFEST_INVALID`", "502 `MANIFEST_INVALID`", "502 `UNAVAILABLE`"],
        )
        .tag_is_confirmed(),
        at(
            "wrong bytes",
            None,
            Fault::Corrupt(30),
            ["502 `MANIFEST_INVALID`", "502 `MANIFEST_INVALID`", "*broken off*"],
        )
        .tag_is_confirmed(),
        new("redirects in a circle", Start::Redirect(|stage| Fault::RedirectTo(307, stage.hub.url())), SENSELESS),
        new(
            "redirects to a link-local address",
            Start::Redirect(|_| Fault::RedirectTo(307, "http://169.254.169.254".into())),
            SENSELESS,
        ),
        new(
            "redirects to a private address",
            Start::Redirect(|_| Fault::RedirectTo(307, "http://10.0.0.1".into())),
            SENSELESS,
        ),
        new("301 to another host", Start::Redirect(|stage| Fault::RedirectTo(301, stage.other.url())), GOOD)
            .tag_is_confirmed(),
        at("gzip-encoded answers", None, Fault::Gzip, GOOD).tag_is_confirmed(),
        at(
            "`Content-Encoding: gzip` on what is not encoded",
            None,
            Fault::WithHeader("content-encoding", "gzip".to_owned()),
            GOOD,
        )
        .tag_is_confirmed(),
        at(
            "a web page with 200",
            None,
            Fault::WebPage,
            ["502 `MANIFEST_INVALID`", "502 `MANIFEST_INVALID`", "502 `UNAVAILABLE`"],
        ),
        Trouble { forget_tokens: true, ..new("token expired early", Start::Faults(vec![]), GOOD).tag_is_confirmed() },
        Trouble {
            forget_tokens: true,
            ..at("token expired early, 401 without a challenge", None, Fault::WithoutHeader("www-authenticate"), GOOD)
                .tag_is_confirmed()
        },
        new("401 once, without a challenge", Start::BeforeEach(|hub| once(hub, 401)), GOOD).tag_is_confirmed(),
        new("403 once", Start::BeforeEach(|hub| once(hub, 403)), GOOD).tag_is_confirmed(),
        at("429, `Retry-After: 60`", None, Fault::RateLimited(60), LIMITED),
        at("500", None, Fault::Status(500), SENSELESS),
        at("503", None, Fault::Status(503), UNREACHABLE),
        new(
            "401, also with a new token",
            Start::Faults([Kind::Manifest, Kind::Blob].map(|kind| (When::kind(kind), Fault::Status(401))).to_vec()),
            DENIED,
        )
        .taken_at_its_word(403),
        at("403", None, Fault::Status(403), DENIED).taken_at_its_word(403),
        at("404", None, Fault::Status(404), MISSING).taken_at_its_word(404),
        Trouble {
            keeps_missing: true,
            ..at("404, where the group keeps such tags", None, Fault::Status(404), MISSING)
        },
    ]
}

/// The next answer to a request with a token refuses it.
fn once(hub: &Hub, status: u16) {
    hub.fault_times(When::any().with("authorization"), Fault::Status(status), 1);
}

/// The next answer with a body goes wrong, whatever it is for.
fn once_in_body(hub: &Hub, fault: Fault) {
    for kind in [Kind::Manifest, Kind::Blob] {
        hub.fault_times(When::get(kind), fault.clone(), 1);
    }
}
