//! Lists of tags and of referrers, page by page. Protocol: OCI distribution-spec 1.1.
//!
//! The cursor of a next page is the registry's own: it is passed on as it came, whatever its form.

use bytes::Bytes;
use http::{HeaderMap, Method};
use roadstead_proto::Digest;
use url::{Url, form_urlencoded};

use super::{Target, UpstreamClient, UpstreamError, header::next_page, metrics::RequestKind};

/// Largest list of tags or referrers we buffer, in bytes.
const MAX_LISTING_BYTES: u64 = 4 * 1024 * 1024;
/// Most pages of referrers that are put together.
const MAX_REFERRERS_PAGES: usize = 20;

/// A page's place within a repository's list: the registry's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The path below the repository: `tags/list` as a rule.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
}

/// A page of tags or referrers, not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its bytes.
    pub body: Bytes,
    /// The next page.
    pub next: Option<Cursor>,
}

impl Cursor {
    /// The first page of tags: at most `n`, after `last`.
    pub fn of_tags(n: Option<u32>, last: Option<&str>) -> Self {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(n) = n {
            query.append_pair("n", &n.to_string());
        }
        if let Some(last) = last {
            query.append_pair("last", last);
        }
        Self { path: "tags/list".to_owned(), query: query.finish() }
    }

    /// The first page of what refers to a manifest.
    fn of_referrers(digest: &Digest, artifact_type: Option<&str>) -> Self {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(artifact_type) = artifact_type {
            query.append_pair("artifactType", artifact_type);
        }
        Self { path: format!("referrers/{digest}"), query: query.finish() }
    }

    /// The next page that a `Link` on this page leads to. Its host is not looked at, since many registries do not know
    /// their own; a path outside of this list is taken for this list's.
    fn following(&self, link: &str, own: &Url) -> Option<Self> {
        let url = own.join(link).ok()?;
        let first = self.path.split('/').next().unwrap_or_default();
        let path = url.path().rsplit_once(&format!("/{first}/")).map(|(_, rest)| format!("{first}/{rest}"));
        let path = path.filter(|path| is_within(path)).unwrap_or_else(|| self.path.clone());
        let next = Self { path, query: url.query().unwrap_or_default().to_owned() };
        (next != *self).then_some(next)
    }

    /// Returns whether it may be asked for: it stays within the list of one repository.
    pub fn is_safe(&self) -> bool {
        self.path.starts_with("tags/") && is_within(&self.path) && !self.query.contains(['#', ' ', '\r', '\n'])
    }
}

/// Returns whether a path has only plain segments, none of which leads upwards.
fn is_within(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~=:/".contains(&byte))
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

impl UpstreamClient {
    /// Fetches a page of tags.
    pub async fn get_tags(&self, target: &Target, cursor: &Cursor) -> Result<Listing, UpstreamError> {
        self.bounded(target, self.page(target, RequestKind::Tags, cursor)).await
    }

    /// Fetches what refers to a manifest, page by page, within one operation's time and one listing's size; at least one
    /// page. A failure after the first page is told as an answer that ended early: there are referrers.
    pub async fn get_referrers(
        &self,
        target: &Target,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Bytes>, UpstreamError> {
        self.bounded(target, async {
            let mut seen = vec![Cursor::of_referrers(digest, artifact_type)];
            let first = self.page(target, RequestKind::Referrers, &seen[0]).await?;
            let (mut pages, mut next) = (vec![first.body], first.next);
            while let Some(cursor) = next.filter(|next| !seen.contains(next)) {
                let cut = |reason: String| UpstreamError::Cut { upstream: target.host().clone(), reason };
                if pages.len() == MAX_REFERRERS_PAGES {
                    return Err(cut(format!("more than {MAX_REFERRERS_PAGES} pages of referrers")));
                }
                let page = self.page(target, RequestKind::Referrers, &cursor).await.map_err(|error| match error {
                    error if error.retryable() || matches!(error, UpstreamError::TooLarge { .. }) => error,
                    error => cut(format!("a next page of referrers: {error}")),
                })?;
                pages.push(page.body);
                if pages.iter().map(Bytes::len).sum::<usize>() as u64 > MAX_LISTING_BYTES {
                    return Err(cut(format!("referrers of more than {MAX_LISTING_BYTES} bytes")));
                }
                seen.push(cursor);
                next = page.next;
            }
            Ok(pages)
        })
        .await
    }

    async fn page(&self, target: &Target, kind: RequestKind, cursor: &Cursor) -> Result<Listing, UpstreamError> {
        let query = Some(cursor.query.as_str()).filter(|query| !query.is_empty());
        let answer = self.ask(target, kind, Method::GET, (&cursor.path, query), HeaderMap::new()).await?;
        let content = target.repository.to_string();
        let response = self.exchange.whole_content(target.host(), answer, &content).await?;
        let link = next_page(response.headers());
        let next = link.and_then(|link| cursor.following(&link, &target.url(&cursor.path)));
        let body = self.exchange.whole(target.host(), response, MAX_LISTING_BYTES, None).await?;
        Ok(Listing { body, next })
    }
}

#[cfg(test)]
mod tests;
