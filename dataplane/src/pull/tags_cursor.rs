//! Cursors of tag lists, as clients carry them from page to page.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use roadstead_proto::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::{route::TagsPage, upstream::Cursor};

/// Most pages that are followed by cursors of a registry's own.
const MAX_PAGES: u32 = 10_000;
/// Longest cursor that is given out, in bytes.
const MAX_CURSOR_BYTES: usize = 2048;

/// A page's place: what upstream is asked for, and how the client came here.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub cursor: Cursor,
    last: Option<String>,
    trail: Option<Trail>,
}

/// Finds out loops of any length without remembering all pages, as Brent's algorithm does: a page is compared with one
/// before it, which moves up whenever the distance has doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Trail {
    /// The page that later ones are compared with.
    mark: String,
    /// Pages since then.
    steps: u32,
    /// At how many of them the mark moves.
    limit: u32,
    /// Pages in all.
    pages: u32,
}

/// The content of one of our cursors.
#[derive(Serialize, Deserialize)]
struct Sealed {
    path: String,
    query: String,
    trail: Trail,
}

impl Place {
    /// The place of a request; `None` if its cursor does not come from us.
    pub fn of(page: &TagsPage) -> Option<Self> {
        let Some(cursor) = &page.cursor else {
            let cursor = Cursor::of_tags(page.n, page.last.as_deref());
            return Some(Self { cursor, last: page.last.clone(), trail: None });
        };
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let Sealed { path, query, trail } = serde_json::from_slice(&sealed).ok()?;
        let cursor = Cursor { path, query };
        cursor.is_safe().then_some(Self { cursor, last: None, trail: Some(trail) })
    }

    /// The address here of the page `next` there; `None` if it leads back to a page before it.
    pub fn link(&self, name: &str, next: Cursor) -> Option<HeaderValue> {
        if let (None, Some(query)) = (&self.trail, self.forward(&next)) {
            return link(name, &query);
        }
        if next == self.cursor || !next.is_safe() {
            return None;
        }
        let trail = self.trail.clone().unwrap_or_else(|| Trail::from(&self.cursor)).reached(&next)?;
        let sealed = serde_json::to_vec(&Sealed { path: next.path, query: next.query, trail }).ok()?;
        let cursor = BASE64_URL_SAFE_NO_PAD.encode(sealed);
        (cursor.len() <= MAX_CURSOR_BYTES).then(|| link(name, &format!("cursor={cursor}")))?
    }

    /// The query of a cursor in the spec's own form that leads to later tags than this page's: such a list ends by itself.
    fn forward(&self, next: &Cursor) -> Option<String> {
        let pairs: Vec<_> = form_urlencoded::parse(next.query.as_bytes()).collect();
        let last = pairs.iter().find_map(|(key, value)| (key == "last").then_some(value))?;
        let is_plain = next.path == "tags/list" && pairs.iter().all(|(key, _)| key == "n" || key == "last");
        let is_forward = self.last.as_ref().is_none_or(|before| **last > **before);
        let query = || form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        (is_plain && is_forward).then(query)
    }
}

impl Trail {
    fn from(cursor: &Cursor) -> Self {
        Self { mark: mark(cursor), steps: 0, limit: 1, pages: 0 }
    }

    fn reached(mut self, next: &Cursor) -> Option<Self> {
        let reached = mark(next);
        self.pages = self.pages.checked_add(1).filter(|pages| *pages <= MAX_PAGES)?;
        if reached == self.mark {
            return None;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.limit {
            self = Self { mark: reached, steps: 0, limit: self.limit.saturating_mul(2), ..self };
        }
        Some(self)
    }
}

/// Tells pages apart.
fn mark(cursor: &Cursor) -> String {
    let digest = Digest::of(Algorithm::Sha256, format!("{}?{}", cursor.path, cursor.query).as_bytes());
    digest.hex().chars().take(16).collect()
}

fn link(name: &str, query: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("</v2/{name}/tags/list?{query}>; rel=\"next\"")).ok()
}

#[cfg(test)]
mod tests;
