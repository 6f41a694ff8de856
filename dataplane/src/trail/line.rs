//! A line of the access log, by the process's own log: for people or as JSON, as `--log-format` says. Its target is `access`.

use std::fmt;

use super::{Trail, Who};
use crate::access::authenticate::Caller;

/// Writes the line of a request. Texts are written in quotes, with their control characters escaped.
pub(super) fn write(trail: &Trail, bytes: u64) {
    let (asked, answered) = (&trail.asked, &trail.answered);
    let subject = trail.subject.as_ref();
    tracing::info!(
        target: "access",
        method = asked.method.as_str(),
        route = asked.route,
        client = asked.client.map(display),
        caller = %Escaped(&trail.who),
        token_id = token_id(&trail.who),
        group = subject.map(|subject| subject.group.as_str()),
        image = subject.map(|subject| display(&subject.image)),
        reference = subject.and_then(|subject| subject.reference.as_ref()).map(display),
        digest = answered.served.as_ref().map(|served| display(&served.digest)),
        status = answered.status,
        x_cache = answered.cache.as_ref().and_then(|cache| cache.to_str().ok()),
        bytes,
        ms = u64::try_from(trail.elapsed().as_millis()).unwrap_or(u64::MAX),
        upstream = trail.upstream.as_ref().map(display),
        cause = answered.cause.as_deref(),
        "request"
    );
}

fn token_id(who: &Who) -> Option<&str> {
    match who {
        Who::Bearer(caller) => Caller::token_id(caller),
        _ => None,
    }
}

/// A name on one line: control characters and spaces are escaped.
struct Escaped<'a>(&'a Who);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.to_string();
        name.chars().try_for_each(|c| {
            if c.is_control() || c == ' ' { write!(f, "{}", c.escape_unicode()) } else { write!(f, "{c}") }
        })
    }
}
