//! The list of tags: passed through, page by page, under the name that the client uses.

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use url::form_urlencoded;

use super::{Pull, Puller};
use crate::{
    respond::{Answer, Code, OciError, json},
    route::TagsPage,
};

impl Puller {
    pub(super) async fn tags(&self, pull: &Pull, page: &TagsPage) -> Result<Answer, OciError> {
        pull.wanted.may_ask_upstream()?;
        let listed = self
            .upstream
            .get_tags(&pull.target, page.n.map(u64::from), page.last.as_deref())
            .await
            .map_err(|error| OciError::from_upstream(&error, Code::NameUnknown))?;
        let Ok(Value::Object(mut list)) = serde_json::from_slice(&listed.body) else {
            let message = format!("{} sent something that is no list of tags", pull.target.host());
            return Err(OciError::new(StatusCode::BAD_GATEWAY, Code::Unavailable, message));
        };
        // Some registries say null where there is none.
        let tags = list.remove("tags").filter(|tags| !tags.is_null()).unwrap_or_else(|| Value::Array(Vec::new()));
        let mut answer =
            json(StatusCode::OK, &serde_json::json!({ "name": *pull.wanted.permitted.name, "tags": tags }));
        if let Some(query) = listed.next_query
            && let Some(link) = next_link(&pull.wanted.permitted.name, &query)
        {
            answer.headers_mut().insert(header::LINK, link);
        }
        Ok(answer)
    }
}

/// The next page's address here, for upstream's address of it there.
fn next_link(name: &str, upstream_query: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in form_urlencoded::parse(upstream_query.as_bytes()) {
        if key == "n" || key == "last" {
            query.append_pair(&key, &value);
        }
    }
    HeaderValue::try_from(format!("</v2/{name}/tags/list?{}>; rel=\"next\"", query.finish())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_here_and_not_there() {
        let link = next_link("g/dependency_proxy/containers/alpine", "last=3.1%2B&n=2&secret=x").unwrap();
        assert_eq!(link, "</v2/g/dependency_proxy/containers/alpine/tags/list?last=3.1%2B&n=2>; rel=\"next\"");
    }
}
