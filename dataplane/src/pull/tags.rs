//! The list of tags: passed through, page by page, under the name that the client uses.
//!
//! The registry's own cursor is carried through: as `n` and `last` where it has that form and moves forward, otherwise
//! sealed in one of ours, which also finds out loops. While upstream is in trouble the last answer is given again, and at
//! the end the tags that are cached here.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    listings::{Listings, trouble, unconfirmed},
    request::Pull,
    tags_cursor::Place,
};
use crate::{
    control::Tags,
    respond::{API_VERSION, Answer, Code, OciError, json as json_answer, stale_headers},
    route::TagsPage,
    upstream::{UpstreamClient, UpstreamError},
};

/// The flow of lists of tags.
pub struct TagLists {
    pub upstream: Arc<UpstreamClient>,
    pub known: Arc<Tags>,
    pub listings: Arc<Listings>,
}

impl TagLists {
    /// Answers with a page of tags.
    pub async fn answer(&self, pull: &Pull, page: &TagsPage) -> Result<Answer, OciError> {
        pull.wanted.may_ask_upstream()?;
        let place = Place::of(page).ok_or_else(|| {
            OciError::new(StatusCode::BAD_REQUEST, Code::Unsupported, "the cursor is none that this cache has given")
        })?;
        let key = format!("{}?{}", place.cursor.path, place.cursor.query);
        let listed = match self.upstream.get_tags(&pull.target, &place.cursor).await {
            Ok(listed) => listed,
            Err(error) => return self.instead(pull, page, &key, &error),
        };
        let name = &pull.wanted.permitted.name;
        let Ok(Value::Object(mut list)) = serde_json::from_slice(&listed.body) else {
            let message = format!("{} sent something that is no list of tags", pull.target.host());
            return Err(OciError::new(StatusCode::BAD_GATEWAY, Code::Unavailable, message));
        };
        // Some registries say null where there is none.
        let tags = list.remove("tags").filter(|tags| !tags.is_null()).unwrap_or_else(|| Value::Array(Vec::new()));
        // An empty page leads nowhere: clients would follow such links for ever.
        let is_last = tags.as_array().is_none_or(Vec::is_empty);
        let body = Bytes::from(json!({ "name": **name, "tags": tags }).to_string());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(API_VERSION.0, API_VERSION.1);
        if let Some(link) = listed.next.filter(|_| !is_last).and_then(|next| place.link(name, next)) {
            headers.insert(header::LINK, link);
        }
        Ok(self.listings.told(pull, &key, headers, body))
    }

    /// Answers while the upstream is unavailable: the page as it was last told, or the tags that are cached.
    fn instead(&self, pull: &Pull, page: &TagsPage, key: &str, error: &UpstreamError) -> Result<Answer, OciError> {
        if let Some(answer) = self.listings.instead(pull, key, error) {
            return Ok(answer);
        }
        let failed = || OciError::from_upstream(error, Code::NameUnknown);
        let reason = trouble(error).ok_or_else(failed)?;
        let mut tags = self.known.remembered_tags(&pull.wanted.repository);
        if tags.is_empty() || page.cursor.is_some() {
            return Err(failed());
        }
        tags.sort_unstable();
        tags.retain(|tag| page.last.as_ref().is_none_or(|last| tag > last));
        let n = page.n.map_or(tags.len(), |n| n as usize);
        let has_more = tags.len() > n && n > 0;
        tags.truncate(n);
        let name = &pull.wanted.permitted.name;
        let mut answer = json_answer(StatusCode::OK, &json!({ "name": **name, "tags": tags }));
        if let Some(last) = tags.last().filter(|_| has_more) {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("n", &n.to_string()).append_pair("last", last);
            let link = HeaderValue::try_from(format!("</v2/{name}/tags/list?{}>; rel=\"next\"", query.finish()));
            answer.headers_mut().extend(link.ok().map(|link| (header::LINK, link)));
        }
        stale_headers(answer.headers_mut(), None, reason);
        answer.body_mut().describe(unconfirmed(error));
        Ok(answer)
    }
}
